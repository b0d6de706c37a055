"""What the machine can do at most: a product of two square matrices, float32."""

import numpy as np

from medjax.bench.side import Side

SIZE = 2048


def ours() -> Side:
    """By XLA."""
    import jax
    a = jax.device_put(np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32))
    product = jax.jit(lambda a: a @ a)
    return Side(lambda: jax.block_until_ready(product(a)), flops=lambda: 2.0 * SIZE**3)


def torch() -> Side:
    """By PyTorch."""
    import torch
    a = torch.from_numpy(np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32))
    return Side(lambda: a @ a, flops=lambda: 2.0 * SIZE**3)
