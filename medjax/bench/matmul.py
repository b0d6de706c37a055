"""The peak performance of the machine: a product of two square matrices."""

import numpy as np

from medjax.bench.side import Side


def medjax_side(size: int, precision: str = 'float32') -> Side:
    """The product by XLA."""
    import jax
    a = jax.device_put(np.random.default_rng(0).normal(size=(size, size)).astype(precision))
    product = jax.jit(lambda a: a @ a)
    return Side(lambda: jax.block_until_ready(product(a)), flops=lambda: 2.0 * size**3)


def torch_side(size: int, device: str = 'cpu') -> Side:
    """The product by PyTorch, in bfloat16 on an accelerator."""
    import torch
    a = torch.from_numpy(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)).to(device)
    a = a if device == 'cpu' else a.bfloat16()

    def run() -> None:
        a @ a
        if device != 'cpu':
            torch.cuda.synchronize()

    return Side(run, flops=lambda: 2.0 * size**3)
