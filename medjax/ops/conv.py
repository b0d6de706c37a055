"""Convolution in one to three dimensions, with a fast implementation for 3D on CPU.

GPUs and TPUs use XLA's convolution, as do one and two dimensions on CPU. XLA's 3D convolutions on CPU reach only a
fraction of the throughput of its 2D convolutions. On CPU a 3D convolution is therefore computed as a sum of 2D
convolutions, and its gradient with respect to the kernel as a matrix product over shifted copies of the input, tile by
tile. Results differ only by the order of summation.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from medjax.ops.by_platform import by_platform

TILE_BYTES = 1 << 22  # memory limit for shifted copies: larger tiles mean fewer and larger matrix products
MIN_PRODUCTS = 10**8  # multiplications below which copying costs more compile time than it saves run time
MAX_NARROW = 4  # number of input channels up to which copying costs more than the matrix product saves

Pads = tuple[tuple[int, int], ...]


def conv(x: jax.Array, kernel: jax.Array, stride: Sequence[int] | None = None,
         padding: Sequence[tuple[int, int]] | None = None, dilation: Sequence[int] | None = None) -> jax.Array:
    """Convolves images with a kernel (cross-correlation, as usual in deep learning).

    Args:
      x: `[B, *S, C]` with one to three spatial axes.
      kernel: `[*K, C, F]`, of the same dtype as `x`.
      stride: stride along each spatial axis; 1 by default.
      padding: number of zeros before and after each spatial axis; none by default.
      dilation: kernel dilation along each spatial axis; 1 by default.

    Returns:
      `[B, *S', F]` of the dtype of `x`.
    """
    dims = x.ndim - 2
    stride, dilation = (tuple(n or (1,) * dims) for n in (stride, dilation))
    padding = tuple(map(tuple, padding or ((0, 0),) * dims))
    # Summing partial sums in a narrow dtype would lose precision.
    if dims < 3 or jnp.finfo(x.dtype).bits < 32:
        native = functools.partial(_native, stride=stride, padding=padding, dilation=dilation)
        if _is_pointwise(kernel, stride, padding):
            return by_platform(x, kernel, cpu=_pointwise, default=native)
        return native(x, kernel)
    return _conv(x, kernel, stride, padding, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, ...], padding: Pads, dilation: tuple[int, ...]):
    options = dict(stride=stride, padding=padding, dilation=dilation)
    in_planes = functools.partial(_cpu, **options)  # converters know convolutions in two dimensions
    return by_platform(x, kernel, cpu=in_planes, default=functools.partial(_native, **options), portable=in_planes)


def _forward(x, kernel, stride, padding, dilation):
    return _conv(x, kernel, stride, padding, dilation), (x, kernel)


def _backward(stride, padding, dilation, residuals, dy):
    x, kernel = residuals
    options = dict(stride=stride, padding=padding, dilation=dilation)

    def kernel_gradient(forward):
        return lambda x, dy: jax.linear_transpose(lambda kernel: forward(x, kernel, **options), kernel)(dy)[0]

    dx = by_platform(
        dy, kernel, cpu=functools.partial(_input_gradient_cpu, like=x, **options),
        default=lambda dy, kernel: jax.linear_transpose(lambda x: _native(x, kernel, **options), x)(dy)[0])
    large = dy.size * math.prod(kernel.shape[:-1]) >= MIN_PRODUCTS and x.shape[-1] > MAX_NARROW
    tiled = functools.partial(_kernel_gradient_cpu, shape=kernel.shape, **options)
    dk = by_platform(x, dy, cpu=tiled if large else kernel_gradient(_cpu), default=kernel_gradient(_native))
    return dx, dk


_conv.defvjp(_forward, _backward)


def _native(x, kernel, stride, padding, dilation):
    """XLA's convolution."""
    dims = 'DHW'[5 - x.ndim:]
    return lax.conv_general_dilated(x, kernel, stride, padding, rhs_dilation=dilation,
                                    dimension_numbers=(f'N{dims}C', f'{dims}IO', f'N{dims}C'))


def _is_pointwise(kernel, stride, padding):
    return all(n == 1 for n in (*kernel.shape[:-2], *stride)) and not any(map(any, padding))


def _pointwise(x, kernel):
    """A 1×1 convolution as a product of two matrices: with more axes, the kernel's gradient needs a transpose first."""
    return (x.reshape(-1, x.shape[-1]) @ kernel.reshape(kernel.shape[-2:])).reshape(*x.shape[:-1], -1)


def _cpu(x, kernel, stride, padding, dilation):
    """A 3D convolution as a sum of 2D convolutions of the planes across the first axis."""
    if _is_pointwise(kernel, stride, padding):
        return _pointwise(x, kernel)
    plane = stride[1:], padding[1:], dilation[1:]
    (before, behind), reach = padding[0], (len(kernel) - 1) * dilation[0]
    count = (x.shape[1] + before + behind - reach - 1) // stride[0] + 1
    if stride[0] == 1:
        # One 2D convolution computes the taps of the first axis as separate features, which are then shifted and added.
        features = _native(x.reshape(-1, *x.shape[2:]), jnp.concatenate(list(kernel), -1), *plane)
        parts = jnp.split(features.reshape(*x.shape[:2], *features.shape[1:]), len(kernel), -1)
        firsts = range(before, before - reach - 1, -dilation[0])
        return sum(lax.pad(part, jnp.zeros((), x.dtype), [
            (0, 0, 0), (first, count - x.shape[1] - first, 0), *[(0, 0, 0)] * 3]) for first, part in zip(firsts, parts))
    x = jnp.pad(x, [(0, 0), padding[0], (0, 0), (0, 0), (0, 0)])
    out = 0
    for first, tap in zip(range(0, reach + 1, dilation[0]), kernel):
        planes = lax.slice_in_dim(x, first, first + (count - 1) * stride[0] + 1, stride[0], axis=1)
        out += _native(planes.reshape(-1, *x.shape[2:]), tap, *plane)
    return out.reshape(x.shape[0], count, *out.shape[1:])


def _input_gradient_cpu(dy, kernel, like, stride, padding, dilation):
    """Gradient with respect to the input, which has the shape of `like`."""
    if max(stride) > 1:
        return jax.linear_transpose(lambda x: _cpu(x, kernel, stride, padding, dilation), like)(dy)[0]
    reach = [(n - 1) * d for n, d in zip(kernel.shape, dilation)]
    rest = [(r - before, r - behind) for r, (before, behind) in zip(reach, padding)]
    return _cpu(dy, jnp.flip(kernel, (0, 1, 2)).swapaxes(-1, -2), stride, rest, dilation)


def _kernel_gradient_cpu(x, dy, shape, stride, padding, dilation):
    """Gradient with respect to the kernel, of the given shape.

    The gradient of a tap is the product of x and dy, shifted relative to each other. The taps of the last axis and of
    strided axes shift x, all others shift dy. Each array is then copied a few times only, instead of once per tap.
    """
    taps, axes = shape[:-2], range(len(stride))
    on_x = [axis for axis in axes if axis == len(stride) - 1 or stride[axis] > 1]
    on_dy = [axis for axis in axes if axis not in on_x]
    reach = [(n - 1) * d for n, d in zip(taps, dilation)]

    # Along axes that shift dy the loop runs over the locations of x, and dy is padded with zeros outside of the output.
    places = [(dy if axis in on_x else x).shape[axis + 1] for axis in axes]
    padded_x = _pad(x, [padding[axis] if axis in on_x else (0, 0) for axis in axes])
    padded_dy = _pad(dy, [(0, 0) if axis in on_x else (reach[axis] - padding[axis][0], reach[axis] - padding[axis][1])
                          for axis in axes])
    row = places[-1] * (math.prod(taps[a] for a in on_x) * x.shape[-1]
                        + math.prod(taps[a] for a in on_dy) * dy.shape[-1]) * x.dtype.itemsize
    rows = max(n for n in range(1, places[-2] + 1) if places[-2] % n == 0 and (n == 1 or n * row <= TILE_BYTES))
    tile = [1] * (len(stride) - 2) + [rows, places[-1]]
    grid = [x.shape[0], *(n // t for n, t in zip(places, tile))]
    columns = functools.partial(_columns, tile=tile, taps=taps, dilation=dilation)

    def add(total, number):
        place = []  # instead of jnp.unravel_index, whose handling of signs took a third of the loop's time
        for size in reversed(grid):
            number, here = number // size, number % size
            place.insert(0, here)
        from_x = columns(padded_x, place, on_x, stride)
        from_dy = columns(padded_dy, place, on_dy, (1,) * len(stride))
        return total + lax.dot_general(from_dy, from_x, (((0,), (0,)), ((), ()))), None

    start = jnp.zeros((math.prod(taps[a] for a in on_dy) * dy.shape[-1],
                       math.prod(taps[a] for a in on_x) * x.shape[-1]), x.dtype)
    total = lax.scan(add, start, jnp.arange(math.prod(grid)))[0]
    total = total.reshape(*(taps[a] for a in on_dy), dy.shape[-1], *(taps[a] for a in on_x), x.shape[-1])
    # The last shift of x corresponds to the first shift of dy.
    total = jnp.flip(total, range(len(on_dy)))
    order = [on_dy.index(a) if a in on_dy else len(on_dy) + 1 + on_x.index(a) for a in axes]
    return total.transpose(*order, total.ndim - 1, len(on_dy))


def _pad(array, sides):
    """Pads (or, for negative numbers, crops) the spatial axes with zeros."""
    return lax.pad(array, jnp.zeros((), array.dtype), [(0, 0, 0), *((*side, 0) for side in sides), (0, 0, 0)])


def _columns(array, place, shifted, step, tile, taps, dilation):
    """Copies of a tile, one per combination of taps along the axes `shifted`: `[voxels, copies × C]`."""
    reach = [(n - 1) * d for n, d in zip(taps, dilation)]
    size = [(t - 1) * s + 1 + (reach[a] if a in shifted else 0) for a, (t, s) in enumerate(zip(tile, step))]
    first = [place[0], *(p * t * s for p, t, s in zip(place[1:], tile, step)), 0]
    box = lax.dynamic_slice(array, first, (1, *size, array.shape[-1]))[0]
    copies = []
    for tap in itertools.product(*(range(taps[axis]) for axis in shifted)):
        at = dict(zip(shifted, tap))
        copies.append(box[tuple(slice(at.get(a, 0) * dilation[a], at.get(a, 0) * dilation[a] + (t - 1) * s + 1, s)
                                for a, (t, s) in enumerate(zip(tile, step)))])
    return jnp.concatenate([copy.reshape(tile[-2:] + [-1]) for copy in copies], -1).reshape(math.prod(tile), -1)
