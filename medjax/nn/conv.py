"""Convolution blocks for two and three spatial dimensions."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.ops.conv import conv

ACTIVATIONS = {'relu': nn.relu, 'leaky': lambda x: nn.leaky_relu(x, 0.01), 'none': lambda x: x}
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')  # He 2015, for rectifiers


def activate(kind: str, x: jax.Array) -> jax.Array:
    """Applies an activation by name: 'relu', 'leaky' (slope 0.01) or 'none'."""
    if kind not in ACTIVATIONS:
        raise InputError(f'config.model.activation: {kind!r}; expected one of: {", ".join(ACTIVATIONS)}')
    return ACTIVATIONS[kind](x)


class InstanceNorm(nn.Module):
    """Instance normalisation (Ulyanov 2016): each channel of each example by its own mean and variance over space.

    Statistics are float32 whatever the compute type; scale and bias are learned.
    """

    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises `[B, *S, C]`."""
        axes, size = tuple(range(1, x.ndim - 1)), x.shape[-1]
        scale = self.param('scale', nn.initializers.ones, (size,), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (size,), jnp.float32)
        wide = x.astype(jnp.float32)
        mean = wide.mean(axes, keepdims=True)
        # Two passes: the mean of squares minus the squared mean cancels digits where the mean is large.
        variance = jnp.square(wide - mean).mean(axes, keepdims=True)
        return ((wide - mean) * (jax.lax.rsqrt(variance + 1e-5) * scale) + bias).astype(self.dtype)


def add(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds a float32 bias to each channel, in float32 whatever the compute type.

    The bias's gradient is a sum over all voxels; in bfloat16 it would stop growing after some hundreds of them.
    """
    return (x.astype(jnp.float32) + bias).astype(x.dtype)


def norm(kind: str, train: bool, dtype: str, name: str) -> Any:
    """A normalisation by name: 'instance', 'batch' (running averages in evaluation) or 'none'."""
    if kind == 'instance':
        return InstanceNorm(dtype=dtype, name=name)
    if kind == 'batch':
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=dtype, name=name)
    if kind == 'none':
        return lambda x: x
    raise InputError(f"config.model.norm: {kind!r}; expected 'instance', 'batch' or 'none'")


class Conv(nn.Module):
    """Convolution, padded by as much at both ends of each axis, or one more behind for an even kernel.

    Attributes:
      features: output channels.
      kernel: its extent along each spatial axis.
      stride: along each spatial axis; 1 by default.
      bias: add a learned number to each channel.
      init: initial kernel.
      dtype: compute type; weights are float32.
    """

    features: int
    kernel: Sequence[int]
    stride: Sequence[int] | None = None
    bias: bool = False
    init: nn.initializers.Initializer = he_normal
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / stride, features]`."""
        # 'SAME' would pad a strided convolution at the far end alone; PyTorch's weights, nnU-Net's among them, were
        # trained with as much at both ends.
        padding = [((size - 1) // 2, size // 2) for size in self.kernel]
        kernel = self.param('kernel', self.init, (*self.kernel, x.shape[-1], self.features), jnp.float32)
        x = conv(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, padding)
        return add(x, self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)) if self.bias else x


class Block(nn.Module):
    """Convolution, normalisation, activation; optionally strided.

    Attributes:
      features: output channels.
      kernel: extent of the kernel along each spatial axis.
      stride: along each spatial axis.
      norm: see `norm`; with 'none' the convolution has a bias.
      activation: 'relu', 'leaky' or 'none'.
      dtype: compute type; weights are float32.
    """

    features: int
    kernel: Sequence[int]
    stride: Sequence[int] | None = None
    norm: str = 'instance'
    activation: str = 'leaky'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / stride, features]`."""
        # With a norm behind it a bias would be taken off again at once; nnU-Net keeps one all the same, we do not.
        x = Conv(self.features, self.kernel, self.stride, dtype=self.dtype, name='conv')(x)
        if self.norm == 'none':
            x = add(x, self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32))
        x = norm(self.norm, train, self.dtype, 'norm')(x)
        return activate(self.activation, x)


class Up(nn.Module):
    """Transposed convolution whose kernel is as large as its stride, so that its outputs never overlap.

    That makes it a dense layer from each voxel to a box of `stride` voxels, and a reshape: the same map, and much
    cheaper to differentiate where the compiler treats transposed convolutions generally (XLA on CPU).
    """

    features: int
    stride: Sequence[int]
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S * stride, features]`."""
        stride, space = tuple(self.stride), x.shape[1:-1]
        kernel = self.param('kernel', he_normal, (*stride, x.shape[-1], self.features), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        kernel = jnp.moveaxis(kernel, -2, 0).reshape(x.shape[-1], -1).astype(self.dtype)
        boxes = (x.astype(self.dtype) @ kernel).reshape(x.shape[0], *space, *stride, self.features)
        dims = len(space)
        order = [0, *(axis for pair in zip(range(1, dims + 1), range(dims + 1, 2 * dims + 1)) for axis in pair)]
        out = boxes.transpose(*order, 2 * dims + 1)
        out = out.reshape(x.shape[0], *(n * s for n, s in zip(space, stride)), self.features)
        return add(out, bias)
