"""Normalisation and rectifier fused into one operation with a custom gradient.

Only the input is stored for the backward pass. The normalised values and the sign of the rectifier's input are
recomputed, which is faster than reading them from memory. On CPU, sums over space follow the order of memory, whereas
XLA's own reductions use strided access.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from medjax.ops.by_platform import by_platform

EPSILON = 1e-5
PARTS = 8  # number of partial sums, for parallel execution


Moments = tuple[jax.Array, jax.Array]


def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array, batch: bool, slope: float,
              known: Moments | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises each channel by its mean and variance over space, then applies a (leaky) rectifier.

    Args:
      x: `[B, *S, C]`.
      scale: `[C]` float32.
      bias: `[C]` float32.
      batch: if True, statistics are over the batch as well (batch norm, Ioffe 2015), else per example (instance norm,
        Ulyanov 2016).
      slope: slope of the rectifier for negative values; 1 for none.
      known: precomputed `moments` of `x`. The gradient is the same as if they were computed here.

    Returns:
      `[B, *S, C]` of the dtype of `x`, and mean and (biased) variance, float32 `[B, C]`, or `[1, C]` for batch norm.
      Mean and variance are meant for running averages; no gradient flows through them.
    """
    known = known or moments(x, batch)
    return _normalise(x, scale, bias, known, batch, slope), *known


def moments(x: jax.Array, batch: bool) -> Moments:
    """Mean and (biased) variance of each channel of `[B, *S, C]`, float32 `[B, C]`, or `[1, C]` over the batch.

    No gradient flows through them.
    """
    wide = lax.stop_gradient(x).astype(jnp.float32)
    # One pass over the data: squares are relative to the mean of the image's first row, so that the variance loses few
    # digits to cancellation for images far from zero.
    near = wide[(slice(None), *[slice(1)] * (x.ndim - 3))].mean(tuple(range(1, x.ndim - 1)))
    near = near.mean(0, keepdims=True) if batch else near
    deviation = wide - _expand(near, x.ndim)
    first, second = (s / _count(x, batch) for s in (_sum(deviation, batch), _sum(deviation * deviation, batch)))
    return near + first, jnp.maximum(second - first * first, 0.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _normalise(x: jax.Array, scale: jax.Array, bias: jax.Array, known: Moments, batch: bool, slope: float) -> jax.Array:
    return _forward(x, scale, bias, known, batch, slope)[0]


def _forward(x, scale, bias, known, batch, slope):
    mean, variance = known
    inverse = lax.rsqrt(variance + EPSILON)
    y = rectify(_affine(x.astype(jnp.float32), mean, inverse, scale, bias), slope).astype(x.dtype)
    return y, (x, scale, bias, mean, inverse)


def _backward(batch, slope, residuals, dy):
    x, scale, bias, mean, inverse = residuals
    wide, dz = x.astype(jnp.float32), dy.astype(jnp.float32)
    if slope != 1:
        dz = jnp.where(_affine(wide, mean, inverse, scale, bias) > 0, dz, slope * dz)
    normal = (wide - _expand(mean, x.ndim)) * _expand(inverse, x.ndim)
    first, second = _sum(dz, batch), _sum(dz * normal, batch)
    count = _count(x, batch)
    dx = _expand(inverse * scale, x.ndim) * (
        dz - _expand(first / count, x.ndim) - normal * _expand(second / count, x.ndim))
    # dx includes the gradient through the moments, which are functions of x.
    return dx.astype(x.dtype), second.sum(0), first.sum(0), (jnp.zeros_like(mean), jnp.zeros_like(mean))


_normalise.defvjp(_forward, _backward)


def _affine(wide, mean, inverse, scale, bias):
    return (wide - _expand(mean, wide.ndim)) * _expand(inverse * scale, wide.ndim) + bias


def rectify(z: jax.Array, slope: float) -> jax.Array:
    """Multiplies negative values by the slope (leaky ReLU)."""
    return z if slope == 1 else jnp.where(z > 0, z, slope * z if slope else 0)


def _expand(values, ndim):
    """Reshapes `[B, C]` to broadcast over space."""
    return values.reshape(values.shape[0], *[1] * (ndim - 2), values.shape[-1])


def _count(x, batch):
    return math.prod(x.shape[:-1]) / (1 if batch else x.shape[0])


def _sum(x, batch):
    """Sums over space, and over the batch if `batch`: `[B, C]` or `[1, C]`."""
    per_example = by_platform(x, cpu=_sum_cpu, default=lambda x: x.sum(tuple(range(1, x.ndim - 1))))
    return per_example.sum(0, keepdims=True) if batch else per_example


def _sum_cpu(x):
    count, channels = x.shape[0], x.shape[-1]
    rows, row = math.prod(x.shape[1:-2]), x.shape[-2]
    parts = math.gcd(rows, PARTS)
    row_sums = x.reshape(count, parts, rows // parts, row * channels).sum(2)
    # Without the barrier the compiler merges the two sums.
    return lax.optimization_barrier(row_sums).reshape(count, parts * row, channels).sum(1)
