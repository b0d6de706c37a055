"""Convolution in one to three dimensions, by what is fastest on each backend.

GPUs and TPUs have convolutions of their own, and get them. On the CPU, XLA's 3D convolutions and all its gradients by
the kernel run at a fraction of what its matrix product does; there a 3D convolution is a sum of 2D ones, and a
gradient by the kernel is a matrix product over gathered tiles. The values are the same but for the order of sums.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

TILE = 1 << 21  # bytes of gathered columns at once: what the caches hold
WORTH = 10**8  # multiplications of a gradient by the kernel; gathering for fewer costs more to compile than it saves
FEW = 4  # channels that are better laid side by side, plane by plane, than summed over

Pads = tuple[tuple[int, int], ...]


def conv(x: jax.Array, kernel: jax.Array, stride: Sequence[int] | None = None,
         padding: Sequence[tuple[int, int]] | None = None, dilation: Sequence[int] | None = None) -> jax.Array:
    """Correlates images with a kernel.

    Args:
      x: `[B, *S, C]` with one to three spatial axes; one is left to the backend.
      kernel: `[*K, C, F]`, of x's type.
      stride: along each spatial axis; 1 by default.
      padding: zeros before and behind along each axis; none by default.
      dilation: distance of the kernel's taps along each axis; 1 by default.

    Returns:
      `[B, *S', F]` of x's type.
    """
    dims = x.ndim - 2
    stride, dilation = (tuple(n or (1,) * dims) for n in (stride, dilation))
    return _conv(x, kernel, stride, tuple(map(tuple, padding or ((0, 0),) * dims)), dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, ...], padding: Pads, dilation: tuple[int, ...]):
    way = dict(stride=stride, padding=padding, dilation=dilation)
    return _by_platform(functools.partial(_cpu, **way), functools.partial(_native, **way), x, kernel)


def _forward(x, kernel, stride, padding, dilation):
    return _conv(x, kernel, stride, padding, dilation), (x, kernel)


def _backward(stride, padding, dilation, kept, dy):
    x, kernel = kept
    way = dict(stride=stride, padding=padding, dilation=dilation)

    def by_image(forward):
        return lambda dy, kernel: jax.linear_transpose(lambda x: forward(x, kernel, **way), x)(dy)[0]

    shaped = dict(way, shape=kernel.shape)
    dx = _by_platform(by_image(_cpu), by_image(_native), dy, kernel)
    dk = _by_platform(*(functools.partial(by, **shaped) for by in (_by_kernel_cpu, _by_kernel_native)), x, dy)
    return dx, dk


_conv.defvjp(_forward, _backward)


def _by_platform(cpu, default, *args):
    # Sums of sums would lose a narrow type's few digits, and one dimension has nothing to be cut into.
    if args[0].ndim < 4 or jnp.finfo(args[0].dtype).bits < 32:
        return default(*args)
    return lax.platform_dependent(*args, cpu=cpu, default=default)


def _native(x, kernel, stride, padding, dilation):
    dims = 'DHW'[5 - x.ndim:]
    return lax.conv_general_dilated(x, kernel, stride, padding, rhs_dilation=dilation,
                                    dimension_numbers=(f'N{dims}C', f'{dims}IO', f'N{dims}C'))


def _cpu(x, kernel, stride, padding, dilation):
    if all(n == 1 for n in (*kernel.shape[:-2], *stride)) and not any(map(any, padding)):
        return x @ kernel[(0,) * (x.ndim - 2)]
    if x.ndim == 4:
        return _native(x, kernel, stride, padding, dilation)
    planes = list(_planes(x, kernel.shape[0], stride[0], padding[0], dilation[0]))
    if x.shape[-1] <= FEW:
        planes, kernel = [jnp.concatenate(planes, -1)], [jnp.concatenate(list(kernel), -2)]
    out = sum(_cpu(plane, k, stride[1:], padding[1:], dilation[1:]) for plane, k in zip(planes, kernel))
    return out.reshape(x.shape[0], -1, *out.shape[1:])


def _planes(x, taps, stride, padding, dilation):
    """For each tap of the kernel along the first axis, the planes `[B * S0', S1, S2, C]` that it meets."""
    x = jnp.pad(x, [(0, 0), padding, (0, 0), (0, 0), (0, 0)])
    count = (x.shape[1] - (taps - 1) * dilation - 1) // stride + 1
    for first in range(0, taps * dilation, dilation):
        part = lax.slice_in_dim(x, first, first + (count - 1) * stride + 1, stride, axis=1)
        yield part.reshape(-1, *x.shape[2:])


def _by_kernel_native(x, dy, shape, stride, padding, dilation):
    kernel = jax.ShapeDtypeStruct(shape, x.dtype)
    return jax.linear_transpose(lambda kernel: _native(x, kernel, stride, padding, dilation), kernel)(dy)[0]


def _by_kernel_cpu(x, dy, shape, stride, padding, dilation):
    """The gradient by the kernel, of this shape."""
    if x.ndim == 5:
        flat = dy.reshape(-1, *dy.shape[2:])
        planes = _planes(x, shape[0], stride[0], padding[0], dilation[0])
        return jnp.stack([_by_kernel_cpu(plane, flat, shape[1:], stride[1:], padding[1:], dilation[1:])
                          for plane in planes])
    if dy.size * math.prod(shape[:-1]) < WORTH:
        return _by_kernel_native(x, dy, shape, stride, padding, dilation)
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    count, height, width, features = dy.shape
    taps = [(i * dilation[0], j * dilation[1]) for i in range(shape[0]) for j in range(shape[1])]
    row = width * len(taps) * x.shape[-1] * x.dtype.itemsize
    rows = max(n for n in range(1, height + 1) if height % n == 0 and (n == 1 or n * row <= TILE))
    images = 1 if rows < height else max(
        n for n in range(1, count + 1) if count % n == 0 and (n == 1 or n * rows * row <= TILE))
    across = (rows - 1) * stride[0] + 1 + (shape[0] - 1) * dilation[0]

    def add(total, number):
        image, first = number // (height // rows) * images, number % (height // rows) * rows
        seen = lax.dynamic_slice(x, (image, first * stride[0], 0, 0), (images, across, *x.shape[2:]))
        slope = lax.dynamic_slice(dy, (image, first, 0, 0), (images, rows, width, features))
        columns = [seen[:, i:i + (rows - 1) * stride[0] + 1:stride[0], j:j + (width - 1) * stride[1] + 1:stride[1]]
                   for i, j in taps]
        columns = jnp.concatenate(columns, -1).reshape(-1, len(taps) * x.shape[-1])
        return total + lax.dot_general(columns, slope.reshape(-1, features), (((0,), (0,)), ((), ()))), None

    start = jnp.zeros((len(taps) * x.shape[-1], features), x.dtype)
    steps = count // images * (height // rows)
    total = add(start, 0)[0] if steps == 1 else lax.scan(add, start, jnp.arange(steps))[0]
    return total.reshape(shape)
