"""Pure array maths: losses, warps, sliding windows, surface distances."""
