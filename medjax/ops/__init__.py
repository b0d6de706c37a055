"""Pure array maths: convolutions, losses, warps, sliding windows, surface distances."""
