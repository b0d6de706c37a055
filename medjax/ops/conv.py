"""Convolution in one to three dimensions, by what is fastest on each backend.

GPUs and TPUs have convolutions of their own, and get them; so do one and two dimensions on the CPU. XLA's 3D
convolutions on the CPU run at a fraction of what its 2D ones do: there a 3D convolution is a sum of 2D ones, and its
gradient by the kernel is a matrix product over shifted copies, plane by plane. The values are the same but for the
order of sums.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

TILE = 1 << 22  # bytes of shifted copies at once: fewer and larger products, but no more memory than this
WORTH = 10**8  # multiplications of a gradient by the kernel; copying for fewer costs more to compile than it saves
FEW = 4  # channels with which there is too little to multiply for each number that is copied

Pads = tuple[tuple[int, int], ...]


def conv(x: jax.Array, kernel: jax.Array, stride: Sequence[int] | None = None,
         padding: Sequence[tuple[int, int]] | None = None, dilation: Sequence[int] | None = None) -> jax.Array:
    """Correlates images with a kernel.

    Args:
      x: `[B, *S, C]` with one to three spatial axes.
      kernel: `[*K, C, F]`, of x's type.
      stride: along each spatial axis; 1 by default.
      padding: zeros before and behind along each axis; none by default.
      dilation: distance of the kernel's taps along each axis; 1 by default.

    Returns:
      `[B, *S', F]` of x's type.
    """
    dims = x.ndim - 2
    stride, dilation = (tuple(n or (1,) * dims) for n in (stride, dilation))
    padding = tuple(map(tuple, padding or ((0, 0),) * dims))
    # Sums of sums would lose a narrow type's few digits.
    if dims < 3 or jnp.finfo(x.dtype).bits < 32:
        native = functools.partial(_native, stride=stride, padding=padding, dilation=dilation)
        if _pointwise(kernel, stride, padding):
            return lax.platform_dependent(x, kernel, cpu=_product, default=native)
        return native(x, kernel)
    return _conv(x, kernel, stride, padding, dilation)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv(x: jax.Array, kernel: jax.Array, stride: tuple[int, ...], padding: Pads, dilation: tuple[int, ...]):
    way = dict(stride=stride, padding=padding, dilation=dilation)
    return lax.platform_dependent(x, kernel, cpu=functools.partial(_cpu, **way),
                                  default=functools.partial(_native, **way))


def _forward(x, kernel, stride, padding, dilation):
    return _conv(x, kernel, stride, padding, dilation), (x, kernel)


def _backward(stride, padding, dilation, kept, dy):
    x, kernel = kept
    way = dict(stride=stride, padding=padding, dilation=dilation)

    def by_kernel(forward):
        return lambda x, dy: jax.linear_transpose(lambda kernel: forward(x, kernel, **way), kernel)(dy)[0]

    dx = lax.platform_dependent(
        dy, kernel, cpu=functools.partial(_by_image_cpu, like=x, **way),
        default=lambda dy, kernel: jax.linear_transpose(lambda x: _native(x, kernel, **way), x)(dy)[0])
    large = dy.size * math.prod(kernel.shape[:-1]) >= WORTH and x.shape[-1] > FEW
    copied = functools.partial(_by_kernel, shape=kernel.shape, **way)
    dk = lax.platform_dependent(x, dy, cpu=copied if large else by_kernel(_cpu), default=by_kernel(_native))
    return dx, dk


_conv.defvjp(_forward, _backward)


def _native(x, kernel, stride, padding, dilation):
    dims = 'DHW'[5 - x.ndim:]
    return lax.conv_general_dilated(x, kernel, stride, padding, rhs_dilation=dilation,
                                    dimension_numbers=(f'N{dims}C', f'{dims}IO', f'N{dims}C'))


def _pointwise(kernel, stride, padding):
    return all(n == 1 for n in (*kernel.shape[:-2], *stride)) and not any(map(any, padding))


def _product(x, kernel):
    """A pointwise convolution. As one matrix: of more axes the gradient by the kernel would be transposed first."""
    return (x.reshape(-1, x.shape[-1]) @ kernel.reshape(kernel.shape[-2:])).reshape(*x.shape[:-1], -1)


def _cpu(x, kernel, stride, padding, dilation):
    if _pointwise(kernel, stride, padding):
        return _product(x, kernel)
    plane = stride[1:], padding[1:], dilation[1:]
    (before, behind), reach = padding[0], (len(kernel) - 1) * dilation[0]
    count = (x.shape[1] + before + behind - reach - 1) // stride[0] + 1
    if stride[0] == 1:
        # All taps of the first axis in one convolution of the planes, side by side as features; then each to its plane.
        every = _native(x.reshape(-1, *x.shape[2:]), jnp.concatenate(list(kernel), -1), *plane)
        parts = jnp.split(every.reshape(*x.shape[:2], *every.shape[1:]), len(kernel), -1)
        firsts = range(before, before - reach - 1, -dilation[0])
        return sum(lax.pad(part, jnp.zeros((), x.dtype), [
            (0, 0, 0), (first, count - x.shape[1] - first, 0), *[(0, 0, 0)] * 3]) for first, part in zip(firsts, parts))
    x = jnp.pad(x, [(0, 0), padding[0], (0, 0), (0, 0), (0, 0)])
    out = 0
    for first, tap in zip(range(0, reach + 1, dilation[0]), kernel):
        met = lax.slice_in_dim(x, first, first + (count - 1) * stride[0] + 1, stride[0], axis=1)
        out += _native(met.reshape(-1, *x.shape[2:]), tap, *plane)
    return out.reshape(x.shape[0], count, *out.shape[1:])


def _by_image_cpu(dy, kernel, like, stride, padding, dilation):
    """The gradient by the image, of the shape of `like`."""
    if max(stride) > 1:
        return jax.linear_transpose(lambda x: _cpu(x, kernel, stride, padding, dilation), like)(dy)[0]
    reach = [(n - 1) * d for n, d in zip(kernel.shape, dilation)]
    rest = [(r - before, r - behind) for r, (before, behind) in zip(reach, padding)]
    return _cpu(dy, jnp.flip(kernel, (0, 1, 2)).swapaxes(-1, -2), stride, rest, dilation)


def _by_kernel(x, dy, shape, stride, padding, dilation):
    """The gradient by the kernel, of this shape.

    A tap's share is the product of x and dy, shifted against each other. Taps of the last axis, and those of axes with
    a stride, are shifts of x, the others shifts of dy: so each is copied a few times, and neither as often as there are
    taps.
    """
    taps, axes = shape[:-2], range(len(stride))
    on_x = [axis for axis in axes if axis == len(stride) - 1 or stride[axis] > 1]
    on_dy = [axis for axis in axes if axis not in on_x]
    reach = [(n - 1) * d for n, d in zip(taps, dilation)]

    def padded(array, sides):
        return lax.pad(array, jnp.zeros((), array.dtype), [(0, 0, 0), *((*side, 0) for side in sides), (0, 0, 0)])

    # Where dy is shifted, x's places are gone through, and dy has zeros around it where no place of the output is.
    places = [(dy if axis in on_x else x).shape[axis + 1] for axis in axes]
    padded_x = padded(x, [padding[axis] if axis in on_x else (0, 0) for axis in axes])
    padded_dy = padded(dy, [(0, 0) if axis in on_x else (reach[axis] - padding[axis][0], reach[axis] - padding[axis][1])
                            for axis in axes])
    row = places[-1] * (math.prod(taps[a] for a in on_x) * x.shape[-1]
                        + math.prod(taps[a] for a in on_dy) * dy.shape[-1]) * x.dtype.itemsize
    rows = max(n for n in range(1, places[-2] + 1) if places[-2] % n == 0 and (n == 1 or n * row <= TILE))
    tile = [1] * (len(stride) - 2) + [rows, places[-1]]
    grid = [x.shape[0], *(n // t for n, t in zip(places, tile))]

    def columns(array, place, shifted, step):
        """The tile at a place, once for each combination of the taps of the axes `shifted`: `[voxels, copies × C]`."""
        size = [(t - 1) * s + 1 + (reach[a] if a in shifted else 0) for a, (t, s) in enumerate(zip(tile, step))]
        first = [place[0], *(p * t * s for p, t, s in zip(place[1:], tile, step)), 0]
        box = lax.dynamic_slice(array, first, (1, *size, array.shape[-1]))[0]
        copies = []
        for tap in itertools.product(*(range(taps[axis]) for axis in shifted)):
            at = dict(zip(shifted, tap))
            copies.append(box[tuple(slice(at.get(a, 0) * dilation[a], at.get(a, 0) * dilation[a] + (t - 1) * s + 1, s)
                                    for a, (t, s) in enumerate(zip(tile, step)))])
        return jnp.concatenate([copy.reshape(tile[-2:] + [-1]) for copy in copies], -1).reshape(math.prod(tile), -1)

    def add(total, number):
        place = []  # not by jnp.unravel_index, whose care for signs took a third of the whole loop
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
    # A tap that is at the end of x's shifts is at the beginning of dy's.
    total = jnp.flip(total, range(len(on_dy)))
    order = [on_dy.index(a) if a in on_dy else len(on_dy) + 1 + on_x.index(a) for a in axes]
    return total.transpose(*order, total.ndim - 1, len(on_dy))
