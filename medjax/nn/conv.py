"""Convolution blocks for two and three spatial dimensions."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from medjax.errors import InputError
from medjax.ops.conv import conv
from medjax.ops.norm import EPSILON, Moments, moments, normalise, rectify

SLOPES = {'relu': 0.0, 'leaky': 0.01, 'none': 1.0}  # below zero
MOMENTUM = 0.9  # of batch norm's running averages
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')  # He 2015, for rectifiers


def check_dims(x: jax.Array, dims: int, least: int = 1) -> None:
    """Refuses images `[B, *S, C]` that have not so many spatial dimensions, or not so many voxels along each."""
    if x.ndim != dims + 2:
        raise InputError(f'config.model.dims: {dims}, but images have {x.ndim - 2} spatial dimensions')
    if min(x.shape[1:-1]) < least:
        raise InputError(f'config.data.size: {x.shape[1:-1]}; expected at least {least} along each axis')


def slope_of(activation: str) -> float:
    """The slope below zero of an activation by name."""
    if activation not in SLOPES:
        raise InputError(f'config.model.activation: {activation!r}; expected one of: {", ".join(SLOPES)}')
    return SLOPES[activation]


def measured(x: jax.Array, kind: str, train: bool) -> Moments | None:
    """What a norm would measure of x, for several norms of the same; None where it would measure nothing."""
    batch = kind == 'batch'
    return moments(x, batch) if kind == 'instance' or (batch and train) else None


class Norm(nn.Module):
    """Normalises each channel by its mean and variance, and rectifies.

    Statistics are float32 whatever the compute type; scale and bias are learned.

    Attributes:
      kind: 'instance', over space by example (Ulyanov 2016); 'batch', over the examples too, by running averages when
        not training (Ioffe 2015); 'none'.
      activation: behind it: 'relu', 'leaky' (slope 0.01) or 'none'.
      dtype: compute type.
    """

    kind: str
    activation: str = 'none'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, known: Moments | None = None) -> jax.Array:
        """Normalises `[B, *S, C]`, of which the moments may be known where they are asked for: see `measured`."""
        slope = slope_of(self.activation)
        if self.kind == 'none':
            return rectify(x, slope)
        if self.kind not in ('instance', 'batch'):
            raise InputError(f"config.model.norm: {self.kind!r}; expected 'instance', 'batch' or 'none'")
        batch, size = self.kind == 'batch', x.shape[-1]
        scale = self.param('scale', nn.initializers.ones, (size,), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (size,), jnp.float32)
        if batch:
            old = (self.variable('batch_stats', 'mean', jnp.zeros, (size,), jnp.float32),
                   self.variable('batch_stats', 'var', jnp.ones, (size,), jnp.float32))
        if batch and not train:
            spread = jax.lax.rsqrt(old[1].value + EPSILON) * scale
            return rectify(((x.astype(jnp.float32) - old[0].value) * spread + bias).astype(self.dtype), slope)
        out, *seen = normalise(x.astype(self.dtype), scale, bias, batch, slope, known)
        if batch and not self.is_initializing():
            for average, now in zip(old, seen):
                average.value = MOMENTUM * average.value + (1 - MOMENTUM) * now[0]
        return out


def add(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds a float32 bias to each channel, in float32 whatever the compute type.

    The bias's gradient is a sum over all voxels; in bfloat16 it would stop growing after some hundreds of them.
    """
    return (x.astype(jnp.float32) + bias).astype(x.dtype)


class Conv(nn.Module):
    """Convolution, padded by as much at both ends of each axis, or one more behind for an even kernel.

    Attributes:
      features: output channels.
      kernel: its extent along each spatial axis.
      stride: along each spatial axis; 1 by default.
      bias: add a learned number to each channel.
      init: initial kernel.
      pad: or else only places where the kernel lies wholly within the image ('valid').
      groups: of channels, each of which makes its share of the features; as many as channels is a depthwise one.
      dtype: compute type; weights are float32.
    """

    features: int
    kernel: Sequence[int]
    stride: Sequence[int] | None = None
    bias: bool = False
    init: nn.initializers.Initializer = he_normal
    pad: bool = True
    groups: int = 1
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / stride, features]`."""
        # 'SAME' would pad a strided convolution at the far end alone; PyTorch's weights, nnU-Net's among them, were
        # trained with as much at both ends.
        padding = [((size - 1) // 2, size // 2) if self.pad else (0, 0) for size in self.kernel]
        shape = (*self.kernel, x.shape[-1] // self.groups, self.features)
        kernel = self.param('kernel', self.init, shape, jnp.float32).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.groups == 1:
            x = conv(x, kernel, self.stride, padding)
        else:
            dims = 'DHW'[3 - len(self.kernel):]
            x = lax.conv_general_dilated(
                x, kernel, self.stride or (1,) * len(self.kernel), padding, feature_group_count=self.groups,
                dimension_numbers=(f'N{dims}C', f'{dims}IO', f'N{dims}C'))
        return add(x, self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)) if self.bias else x


class Block(nn.Module):
    """Convolution, normalisation, activation; optionally strided.

    Attributes:
      features: output channels.
      kernel: extent of the kernel along each spatial axis.
      stride: along each spatial axis.
      norm: see `Norm`; with 'none' the convolution has a bias.
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
        return Norm(self.norm, self.activation, self.dtype, name='norm')(x, train)


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


class Patches(nn.Module):
    """Convolution whose kernel is as large as its stride: a reshape and a dense layer for each box of voxels.

    What does not fill a box at the far end of an axis is left out, as by an unpadded convolution.

    Attributes:
      features: output channels.
      size: of a box along each spatial axis.
      kernel_init: initial kernel.
      dtype: compute type; weights are float32.
    """

    features: int
    size: Sequence[int]
    kernel_init: nn.initializers.Initializer = he_normal
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S // size, features]`."""
        size, dims, channels = tuple(self.size), len(self.size), x.shape[-1]
        kernel = self.param('kernel', self.kernel_init, (*size, channels, self.features), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32)
        grid = [n // s for n, s in zip(x.shape[1:-1], size)]
        x = x[(slice(None), *(slice(n * s) for n, s in zip(grid, size)))].astype(self.dtype)
        boxes = x.reshape(x.shape[0], *(n for pair in zip(grid, size) for n in pair), channels)
        boxes = boxes.transpose(0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1)
        boxes = boxes.reshape(x.shape[0], *grid, math.prod(size) * channels)
        return add(boxes @ kernel.reshape(-1, self.features).astype(self.dtype), bias)
