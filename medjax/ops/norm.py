"""Normalisation and the rectifier behind it as one operation, with a gradient of its own.

Kept for the backward pass is the input alone: what is normalised, and which voxels the rectifier let through, is
computed again, which costs less than to read it. Sums over space are taken in the order that the CPU reads memory in;
XLA's own go through it with a stride.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

EPSILON = 1e-5
PARTS = 8  # that a sum is taken in, for several cores


Moments = tuple[jax.Array, jax.Array]


def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array, batch: bool, slope: float,
              known: Moments | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises each channel by its own mean and variance over space, then rectifies.

    Args:
      x: `[B, *S, C]`.
      scale: `[C]` float32.
      bias: `[C]` float32.
      batch: over the examples as well (batch norm, Ioffe 2015), or by example (instance norm, Ulyanov 2016).
      slope: of the rectifier below zero; 1 for none.
      known: x's `moments`, where they were measured before; the gradient is that of measuring them here.

    Returns:
      `[B, *S, C]` of x's type, and mean and (biased) variance, float32 `[B, C]`, or `[1, C]` over the batch; these two
      are for running averages and pass no gradient on.
    """
    known = known or moments(x, batch)
    return _normalise(x, scale, bias, known, batch, slope), *known


def moments(x: jax.Array, batch: bool) -> Moments:
    """Mean and (biased) variance of each channel of `[B, *S, C]`, float32 `[B, C]`, or `[1, C]` over the batch.

    They pass no gradient on.
    """
    wide = lax.stop_gradient(x).astype(jnp.float32)
    # One pass: squares about a value of the image's own, its first row's mean, so that few of the variance's digits
    # cancel however far from zero the image is.
    near = wide[(slice(None), *[slice(1)] * (x.ndim - 3))].mean(tuple(range(1, x.ndim - 1)))
    near = near.mean(0, keepdims=True) if batch else near
    off = wide - _spread(near, x.ndim)
    first, second = (s / _count(x, batch) for s in (_sum(off, batch), _sum(off * off, batch)))
    return near + first, jnp.maximum(second - first * first, 0.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _normalise(x: jax.Array, scale: jax.Array, bias: jax.Array, known: Moments, batch: bool, slope: float) -> jax.Array:
    return _forward(x, scale, bias, known, batch, slope)[0]


def _forward(x, scale, bias, known, batch, slope):
    mean, variance = known
    spread = lax.rsqrt(variance + EPSILON)
    y = rectify(_affine(x.astype(jnp.float32), mean, spread, scale, bias), slope).astype(x.dtype)
    return y, (x, scale, bias, mean, spread)


def _backward(batch, slope, kept, dy):
    x, scale, bias, mean, spread = kept
    wide, dz = x.astype(jnp.float32), dy.astype(jnp.float32)
    if slope != 1:
        dz = jnp.where(_affine(wide, mean, spread, scale, bias) > 0, dz, slope * dz)
    normal = (wide - _spread(mean, x.ndim)) * _spread(spread, x.ndim)
    first, second = _sum(dz, batch), _sum(dz * normal, batch)
    count = _count(x, batch)
    dx = _spread(spread * scale, x.ndim) * (
        dz - _spread(first / count, x.ndim) - normal * _spread(second / count, x.ndim))
    # The moments are x's own, so what passes through them is in dx.
    return dx.astype(x.dtype), second.sum(0), first.sum(0), (jnp.zeros_like(mean), jnp.zeros_like(mean))


_normalise.defvjp(_forward, _backward)


def _affine(wide, mean, spread, scale, bias):
    return (wide - _spread(mean, wide.ndim)) * _spread(spread * scale, wide.ndim) + bias


def rectify(z: jax.Array, slope: float) -> jax.Array:
    """Multiplies what is below zero by the slope."""
    return z if slope == 1 else jnp.where(z > 0, z, slope * z if slope else 0)


def _spread(values, ndim):
    """`[B, C]` for every voxel."""
    return values.reshape(values.shape[0], *[1] * (ndim - 2), values.shape[-1])


def _count(x, batch):
    return math.prod(x.shape[:-1]) / (1 if batch else x.shape[0])


def _sum(x, batch):
    """Over space, and the batch where asked for: `[B, C]`, or `[1, C]`."""
    each = lax.platform_dependent(x, cpu=_sum_cpu, default=lambda x: x.sum(tuple(range(1, x.ndim - 1))))
    return each.sum(0, keepdims=True) if batch else each


def _sum_cpu(x):
    count, channels = x.shape[0], x.shape[-1]
    rows, row = math.prod(x.shape[1:-2]), x.shape[-2]
    parts = math.gcd(rows, PARTS)
    whole_rows = x.reshape(count, parts, rows // parts, row * channels).sum(2)
    # Without the barrier the compiler makes one sum of the two again.
    return lax.optimization_barrier(whole_rows).reshape(count, parts * row, channels).sum(1)
