"""Configs planned from the data: what the images are like, the rules of nnU-Net, and the memory of a training step."""
