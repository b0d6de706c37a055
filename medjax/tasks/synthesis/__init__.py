"""Image synthesis by GANs and diffusion."""
