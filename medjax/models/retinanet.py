"""RetinaNet: one-stage detection with a feature pyramid, in 2D and 3D (Lin 2018).

The classifiers of this package serve as encoders; their logits are not used.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from medjax.errors import InputError
from medjax.models import convnext, densenet, resnet, vgg
from medjax.nn.conv import Block, Conv, check_dims
from medjax.nn.fpn import FPN
from medjax.ops import boxes
from medjax.options import Count, Dims, NonNegativeInt, Positive, check_all

ENCODERS = {'convnext': convnext, 'densenet': densenet, 'resnet': resnet, 'vgg': vgg}
PRIOR = 0.01  # initial probability of each class, so that the many background anchors do not dominate the loss

VARIANTS: dict[str, dict[str, Any]] = {
    '18': dict(encoder=dict(name='resnet', variant='18')),
    '50': dict(encoder=dict(name='resnet', variant='50')),
}


class Pyramid(nn.Module):
    """An encoder and a feature pyramid network.

    Attributes:
      dims: number of spatial dimensions, 2 or 3.
      encoder: name, variant and options of a classifier.
      levels: indices of the encoder's features to use, increasing from 0, the finest.
      extra_levels: number of additional coarser levels.
      features: channels of each level.
      dtype: compute dtype.
    """

    dims: int
    encoder: Mapping[str, Any]
    levels: Sequence[int]
    extra_levels: int
    features: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """Maps images `[B, *S, C]` to levels `[B, *S', features]`, finest first."""
        check_dims(x, self.dims)
        feats = build_encoder(self.encoder, self.dims, self.dtype, 'encoder')(x, train=train)[1]
        maps = spatial_features(feats, x.ndim)
        if not self.levels or sorted({*self.levels}) != list(self.levels) or not 0 <= self.levels[-1] < len(maps):
            raise InputError(f'config.model.levels: {tuple(self.levels)}; expected rising numbers of the encoder\'s '
                             f'features, 0 to {len(maps) - 1}')
        return FPN(self.features, self.extra_levels, self.dtype, name='fpn')([maps[number] for number in self.levels])


def build_encoder(encoder: Mapping[str, Any], dims: int, dtype: str, name: str) -> nn.Module:
    """Builds the classifier that a detector's config specifies as its encoder.

    Args:
      encoder: name, variant and options of a classifier.
      dims: number of spatial dimensions.
      dtype: compute dtype.
      name: name of the submodule.

    Raises:
      InputError: the name, the variant or an option is unknown.
    """
    options = {'variant': '', **encoder}
    code = ENCODERS.get(options.pop('name', ''))
    if code is None:
        raise InputError(f'config.model.encoder: {dict(encoder)}; expected a name of {", ".join(ENCODERS)}')
    variant = options.pop('variant') or next(iter(code.VARIANTS))
    if variant not in code.VARIANTS:
        raise InputError(f'config.model.encoder: {dict(encoder)}; expected a name of {", ".join(ENCODERS)}, and a '
                         f'variant of {", ".join(code.VARIANTS)}')
    fields = {**code.VARIANTS[variant], **options}
    unknown = sorted(set(fields) - set(code.Model.__dataclass_fields__))
    if unknown:
        known = [field for field in code.Model.__dataclass_fields__ if field not in ('name', 'parent', 'dims', 'dtype')]
        raise InputError(f'config.model.encoder.{unknown[0]}: unknown key; config.model.encoder takes: '
                         + ', '.join(known))
    check_all(code.Model, options, 'config.model.encoder')
    return code.Model(**{'classes': 1, **fields, 'dims': dims, 'dtype': dtype}, name=name)


def spatial_features(feats: Mapping[str, jax.Array], ndim: int) -> list[jax.Array]:
    """The features that have spatial axes, finest first."""
    return [value for name, value in feats.items() if name != 'attention' and value.ndim == ndim]


class Head(nn.Module):
    """Predicts classes and boxes of the anchors at each location, by convolutions shared by all levels.

    Attributes:
      classes: number of logits of each anchor.
      shapes: extents of the anchors at a location, as multiples of the level's stride, `[A, D]`.
      depth: number of convolutions before the output layer.
      norm: norm after each of them.
      dtype: compute dtype; outputs are float32.
    """

    classes: int
    shapes: Sequence[Sequence[float]]
    depth: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array], space: Sequence[int], train: bool) -> list[dict[str, jax.Array]]:
        """Maps levels `[B, *S', C]` of images with extents `space` to the outputs described in `Model`."""
        dims, count = len(space), len(self.shapes)
        strides = [[2 ** round(math.log2(n / s)) for n, s in zip(space, level.shape[1:-1])] for level in levels]
        sizes = [[[a * s for a, s in zip(shape, stride)] for shape in self.shapes] for stride in strides]
        anchors = boxes.anchors([level.shape[1:-1] for level in levels], strides, sizes)
        out: list[dict[str, jax.Array]] = [{'anchors': jnp.asarray(a)} for a in anchors]
        # Initial biases: a low probability for all classes, and boxes equal to the anchors.
        biases = {'logits': (self.classes, nn.initializers.constant(-math.log(1 / PRIOR - 1))),
                  'deltas': (2 * dims, nn.initializers.zeros)}
        for name, (values, bias_init) in biases.items():
            tower = [Block(levels[0].shape[-1], (3,) * dims, norm=self.norm, activation='relu', dtype=self.dtype,
                           name=f'{name}_conv{number}') for number in range(self.depth)]
            last = Conv(count * values, (3,) * dims, init=nn.initializers.normal(0.01), name=name)
            bias = self.param(f'{name}_bias', bias_init, (count * values,), jnp.float32)
            for level, outputs in zip(levels, out):
                for block in tower:
                    level = block(level, train)
                prediction = last(level).astype(jnp.float32) + bias
                outputs[name] = prediction.reshape(len(prediction), -1, values)
        return out


class Model(nn.Module):
    """A RetinaNet.

    Attributes:
      classes: number of object classes, without background.
      dims: number of spatial dimensions, 2 or 3.
      encoder: see `Pyramid`, also for levels, extra_levels and features.
      levels: …
      extra_levels: …
      features: …
      scale: extent of the smallest anchor, in strides of its level.
      octaves: number of anchor sizes per octave.
      ratios: ratios of an anchor's first to its second extent, at constant area.
      depths: in 3D, third extents of an anchor, relative to its size.
      depth: number of convolutions before the output layer in both parts of the head.
      norm: norm of the head.
      dtype: compute dtype; parameters, statistics of norms, logits and boxes are float32.
    """

    classes: Count
    dims: Dims = 2
    encoder: Mapping[str, Any] = FrozenDict({'name': 'resnet'})
    levels: Sequence[NonNegativeInt] = (1, 2, 3)
    extra_levels: NonNegativeInt = 2
    features: Count = 256
    scale: Positive = 4.0
    octaves: Count = 3
    ratios: Sequence[Positive] = (0.5, 1.0, 2.0)
    depths: Sequence[Positive] = (1.0,)
    depth: NonNegativeInt = 4
    norm: str = 'none'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Maps images to classes and boxes of all anchors.

        Args:
          x: `[B, *S, C]`.
          train: for batch norm.

        Returns:
          'dense', a list with a dict for each level: 'anchors' `[A, 2D]`, 'logits' `[B, A, classes]` and 'deltas'
          `[B, A, 2D]` for `ops.boxes.decode`, float32; and the features 'level0' (finest) ….
        """
        levels = Pyramid(self.dims, self.encoder, self.levels, self.extra_levels, self.features, self.dtype,
                         name='pyramid')(x, train)
        shapes = anchor_shapes(self.dims, self.scale, self.octaves, self.ratios, self.depths)
        dense = Head(self.classes, shapes, self.depth, self.norm, self.dtype, name='head')(
            levels, x.shape[1:-1], train)
        return {'dense': dense}, {f'level{n}': level for n, level in enumerate(levels)}


def anchor_shapes(dims: int, scale: float, octaves: int, ratios: Sequence[float],
                  depths: Sequence[float]) -> list[tuple[float, ...]]:
    """Extents of the anchors at a location in strides; see `Model` for the arguments.

    Raises:
      InputError: a number is not positive.
    """
    if scale <= 0 or octaves < 1 or not ratios or not depths or min(*ratios, *depths) <= 0:
        raise InputError(f'config.model: scale={scale}, octaves={octaves}, ratios={tuple(ratios)}, '
                         f'depths={tuple(depths)}; expected numbers above 0')
    sizes = [scale * 2**(octave / octaves) for octave in range(octaves)]
    return [shape for size in sizes for shape in boxes.anchor_sizes(
        [size], ratios, [size * depth for depth in depths] if dims == 3 else ())]
