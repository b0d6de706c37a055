"""Array operations: convolutions, warps, boxes, sliding windows, diffusion steps."""
