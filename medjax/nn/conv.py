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

SLOPES = {'relu': 0.0, 'leaky': 0.01, 'none': 1.0}  # slopes for negative values
MOMENTUM = 0.9  # of batch norm's running averages
he_normal = nn.initializers.variance_scaling(2.0, 'fan_in', 'normal')  # He 2015, for rectifiers


def check_dims(x: jax.Array, dims: int, min_size: int = 1) -> None:
    """Checks the number of spatial dimensions of images `[B, *S, C]`, and their minimum extent along each axis.

    Raises:
      InputError: the images have another number of dimensions, or are too small.
    """
    if x.ndim != dims + 2:
        raise InputError(f'config.model.dims: {dims}, but images have {x.ndim - 2} spatial dimensions')
    if any(n < min_size for n in x.shape[1:-1]):
        raise InputError(f'config.data.size: {x.shape[1:-1]}; expected at least {min_size} along each axis')


def negative_slope(activation: str) -> float:
    """The slope of a named activation for negative values.

    Raises:
      InputError: the activation is unknown.
    """
    if activation not in SLOPES:
        raise InputError(f'config.model.activation: {activation!r}; expected one of: {", ".join(SLOPES)}')
    return SLOPES[activation]


def norm_moments(x: jax.Array, kind: str, train: bool) -> Moments | None:
    """The moments that `Norm` computes from `x`, to be shared by several norms; None if it computes none."""
    batch = kind == 'batch'
    return moments(x, batch) if kind == 'instance' or (batch and train) else None


class Norm(nn.Module):
    """Normalisation by mean and variance of each channel, with learned scale and bias, and an activation.

    Statistics are float32 regardless of the compute dtype.

    Attributes:
      kind: 'instance' for statistics over space per example (Ulyanov 2016); 'batch' for statistics over space and
        examples in training, and running averages otherwise (Ioffe 2015); 'none'.
      activation: activation after the norm: 'relu', 'leaky' (slope 0.01) or 'none'.
      dtype: compute dtype.
    """

    kind: str
    activation: str = 'none'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, known: Moments | None = None) -> jax.Array:
        """Normalises `[B, *S, C]`, optionally with precomputed moments; see `norm_moments`."""
        slope = negative_slope(self.activation)
        if self.kind == 'none':
            return rectify(x, slope)
        if self.kind not in ('instance', 'batch'):
            raise InputError(f"config.model.norm: {self.kind!r}; expected 'instance', 'batch' or 'none'")
        batch, size = self.kind == 'batch', x.shape[-1]
        scale = self.param('scale', nn.initializers.ones, (size,), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (size,), jnp.float32)
        if batch:
            averages = (self.variable('batch_stats', 'mean', jnp.zeros, (size,), jnp.float32),
                        self.variable('batch_stats', 'var', jnp.ones, (size,), jnp.float32))
        if batch and not train:
            factor = jax.lax.rsqrt(averages[1].value + EPSILON) * scale
            return rectify(((x.astype(jnp.float32) - averages[0].value) * factor + bias).astype(self.dtype), slope)
        out, *current = normalise(x.astype(self.dtype), scale, bias, batch, slope, known)
        if batch and not self.is_initializing():
            for average, moment in zip(averages, current):
                average.value = MOMENTUM * average.value + (1 - MOMENTUM) * moment[0]
        return out


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """Adds a float32 bias to each channel, in float32 regardless of the compute dtype.

    The gradient of the bias is a sum over all voxels; in bfloat16 it would stop growing after a few hundred of them.
    """
    return (x.astype(jnp.float32) + bias).astype(x.dtype)


class Conv(nn.Module):
    """Convolution with symmetric padding; even kernels have one more padded voxel at the end.

    Attributes:
      features: number of output channels.
      kernel: extent of the kernel along each spatial axis.
      stride: stride along each spatial axis; 1 by default.
      bias: whether to add a bias to each channel.
      init: initialiser of the kernel.
      pad: whether to pad; otherwise the kernel is applied only where it lies inside the image ('valid').
      groups: number of channel groups; equal to the number of channels for a depthwise convolution.
      dilation: dilation of the kernel along each spatial axis; 1 by default.
      dtype: compute dtype; parameters are float32.
    """

    features: int
    kernel: Sequence[int]
    stride: Sequence[int] | None = None
    bias: bool = False
    init: nn.initializers.Initializer = he_normal
    pad: bool = True
    groups: int = 1
    dilation: Sequence[int] | None = None
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / stride, features]`."""
        # 'SAME' pads a strided convolution at the end only. PyTorch weights, including nnU-Net's, were trained with
        # symmetric padding.
        dilation = self.dilation or (1,) * len(self.kernel)
        padding = [(reach // 2, reach - reach // 2) if self.pad else (0, 0)
                   for reach in ((size - 1) * step for size, step in zip(self.kernel, dilation))]
        shape = (*self.kernel, x.shape[-1] // self.groups, self.features)
        kernel = self.param('kernel', self.init, shape, jnp.float32).astype(self.dtype)
        x = x.astype(self.dtype)
        if self.groups == 1:
            x = conv(x, kernel, self.stride, padding, dilation)
        else:
            dims = 'DHW'[3 - len(self.kernel):]
            x = lax.conv_general_dilated(
                x, kernel, self.stride or (1,) * len(self.kernel), padding, rhs_dilation=dilation,
                feature_group_count=self.groups,
                dimension_numbers=(f'N{dims}C', f'{dims}IO', f'N{dims}C'))
        if self.bias:
            x = add_bias(x, self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32))
        return x


class Block(nn.Module):
    """Convolution, normalisation and activation.

    Attributes:
      features: number of output channels.
      kernel: extent of the kernel along each spatial axis.
      stride: stride along each spatial axis; 1 by default.
      norm: see `Norm`; with 'none' the convolution has a bias.
      activation: 'relu', 'leaky' or 'none'.
      dtype: compute dtype; parameters are float32.
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
        # A bias would be cancelled by a subsequent norm. nnU-Net has one nevertheless; here it is left out.
        x = Conv(self.features, self.kernel, self.stride, dtype=self.dtype, name='conv')(x)
        if self.norm == 'none':
            x = add_bias(x, self.param('bias', nn.initializers.zeros, (self.features,), jnp.float32))
        return Norm(self.norm, self.activation, self.dtype, name='norm')(x, train)


class TransposedConv(nn.Module):
    """Transposed convolution whose kernel size equals its stride, so that its outputs do not overlap.

    It is computed as a dense layer from each voxel to a box of `stride` voxels and a reshape. This is the same map, but
    its gradient is much faster where the compiler has no special case for it (XLA on CPU).

    Attributes:
      features: number of output channels.
      stride: upsampling factor along each spatial axis.
      dtype: compute dtype; parameters are float32.
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
        return add_bias(out, bias)


class Patches(nn.Module):
    """Patch embedding: a convolution whose kernel size equals its stride, computed by a reshape and a dense layer.

    Voxels at the end of an axis that do not fill a patch are dropped, as by an unpadded convolution.

    Attributes:
      features: number of output channels.
      size: extent of a patch along each spatial axis.
      kernel_init: initialiser of the kernel.
      dtype: compute dtype; parameters are float32.
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
        return add_bias(boxes @ kernel.reshape(-1, self.features).astype(self.dtype), bias)
