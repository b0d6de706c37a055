"""One-stage detection: classes and boxes from every place of a feature pyramid, in 2D and 3D (Lin 2018).

Classifiers of this folder are its encoders; their logits are left aside.
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

ENCODERS = {'convnext': convnext, 'densenet': densenet, 'resnet': resnet, 'vgg': vgg}
PRIOR = 0.01  # probability of each class at first: else the many empty anchors would drown the rest

VARIANTS: dict[str, dict[str, Any]] = {
    '18': dict(encoder=dict(name='resnet', variant='18')),
    '50': dict(encoder=dict(name='resnet', variant='50')),
}


class Pyramid(nn.Module):
    """An encoder's features at several levels, each with the context of the coarser ones.

    Attributes:
      dims: spatial dimensions, 2 or 3.
      encoder: name, variant and options of a classifier.
      levels: which of its features are used, from 0, the finest, in their order.
      extra: further, coarser levels.
      features: channels of each level.
      dtype: compute type.
    """

    dims: int
    encoder: Mapping[str, Any]
    levels: Sequence[int]
    extra: int
    features: int
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        """Maps images `[B, *S, C]` to levels `[B, *S', features]`, the finest first."""
        check_dims(x, self.dims)
        found = spatial(encoded(self.encoder, self.dims, self.dtype, 'encoder')(x, train=train)[1], x.ndim)
        if not self.levels or sorted({*self.levels}) != list(self.levels) or not 0 <= self.levels[-1] < len(found):
            raise InputError(f'config.model.levels: {tuple(self.levels)}; expected rising numbers of the encoder\'s '
                             f'features, 0 to {len(found) - 1}')
        return FPN(self.features, self.extra, self.dtype, name='fpn')([found[number] for number in self.levels])


def encoded(encoder: Mapping[str, Any], dims: int, dtype: str, name: str) -> nn.Module:
    """The classifier that a detector's config names as its encoder."""
    options = {'variant': '', **encoder}
    code = ENCODERS.get(options.pop('name', ''))
    variant = options.pop('variant') or (next(iter(code.VARIANTS)) if code else '')
    if code is None or variant not in code.VARIANTS:
        raise InputError(f'config.model.encoder: {dict(encoder)}; expected a name of {", ".join(ENCODERS)}'
                         + (f', and a variant of {", ".join(code.VARIANTS)}' if code else ''))
    fields = {**code.VARIANTS[variant], **options}
    unknown = sorted(set(fields) - set(code.Model.__dataclass_fields__))
    if unknown:
        raise InputError(f'config.model.encoder.{unknown[0]}: nothing reads this key')
    return code.Model(**{'classes': 1, **fields, 'dims': dims, 'dtype': dtype}, name=name)


def spatial(feats: Mapping[str, jax.Array], ndim: int) -> list[jax.Array]:
    """The features that have places, finest first."""
    return [value for name, value in feats.items() if name != 'attention' and value.ndim == ndim]


class Head(nn.Module):
    """Classes and boxes of the anchors at each place, by convolutions that all levels share.

    Attributes:
      classes: logits of each anchor.
      shapes: of the anchors at a place, as multiples of the level's stride, `[A, D]`.
      depth: convolutions ahead of the last one.
      norm: behind each of them.
      dtype: compute type; the last ones' outputs are float32.
    """

    classes: int
    shapes: Sequence[Sequence[float]]
    depth: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array], space: Sequence[int], train: bool) -> list[dict[str, jax.Array]]:
        """Maps levels `[B, *S', C]` of images of the extents `space` to what `Model` says."""
        dims, count = len(space), len(self.shapes)
        strides = [[2 ** round(math.log2(n / s)) for n, s in zip(space, level.shape[1:-1])] for level in levels]
        anchors = boxes.anchors([level.shape[1:-1] for level in levels], strides,
                                [[[a * s for a, s in zip(shape, stride)] for shape in self.shapes]
                                 for stride in strides])
        out: list[dict[str, jax.Array]] = [{'anchors': jnp.asarray(a)} for a in anchors]
        # A bias at which all is improbable, and no box moved.
        starts = {'logits': (self.classes, nn.initializers.constant(-math.log(1 / PRIOR - 1))),
                  'deltas': (2 * dims, nn.initializers.zeros)}
        for name, (values, start) in starts.items():
            tower = [Block(levels[0].shape[-1], (3,) * dims, norm=self.norm, activation='relu', dtype=self.dtype,
                           name=f'{name}_conv{number}') for number in range(self.depth)]
            last = Conv(count * values, (3,) * dims, init=nn.initializers.normal(0.01), name=name)
            bias = self.param(f'{name}_bias', start, (count * values,), jnp.float32)
            for level, found in zip(levels, out):
                for block in tower:
                    level = block(level, train)
                made = last(level).astype(jnp.float32) + bias
                found[name] = made.reshape(len(made), -1, values)
        return out


class Model(nn.Module):
    """A one-stage detector.

    Attributes:
      classes: of objects, without background.
      dims: spatial dimensions, 2 or 3.
      encoder: see `Pyramid`, as for levels, extra and features.
      levels: …
      extra: …
      features: …
      scale: extent of the smallest anchor, in strides of its level.
      octaves: sizes of anchors from one level to the next.
      ratios: of an anchor's first to its second extent, at the same area.
      depths: of a volume: an anchor's third extents, in its sizes.
      depth: convolutions of each of the head's two parts ahead of the last.
      norm: in the head.
      dtype: compute type; weights, norms' statistics, logits and boxes are float32.
    """

    classes: int
    dims: int = 2
    encoder: Mapping[str, Any] = FrozenDict({'name': 'resnet'})
    levels: Sequence[int] = (1, 2, 3)
    extra: int = 2
    features: int = 256
    scale: float = 4.0
    octaves: int = 3
    ratios: Sequence[float] = (0.5, 1.0, 2.0)
    depths: Sequence[float] = (1.0,)
    depth: int = 4
    norm: str = 'none'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Maps images to classes and boxes of all anchors.

        Args:
          x: `[B, *S, C]`.
          train: for batch norm.

        Returns:
          'dense': for each level 'anchors' `[A, 2D]`, 'logits' `[B, A, classes]` and 'deltas' `[B, A, 2D]`, which
          `ops.boxes.decode` moves the anchors by, float32; and the features 'level0' (finest) ….
        """
        levels = Pyramid(self.dims, self.encoder, self.levels, self.extra, self.features, self.dtype,
                         name='pyramid')(x, train)
        shapes = anchor_shapes(self.dims, self.scale, self.octaves, self.ratios, self.depths)
        dense = Head(self.classes, shapes, self.depth, self.norm, self.dtype, name='head')(
            levels, x.shape[1:-1], train)
        return {'dense': dense}, {f'level{n}': level for n, level in enumerate(levels)}


def anchor_shapes(dims: int, scale: float, octaves: int, ratios: Sequence[float],
                  depths: Sequence[float]) -> list[tuple[float, ...]]:
    """Extents of a place's anchors in strides, for a config's keys."""
    if scale <= 0 or octaves < 1 or not ratios or not depths or min(*ratios, *depths) <= 0:
        raise InputError(f'config.model: scale={scale}, octaves={octaves}, ratios={tuple(ratios)}, '
                         f'depths={tuple(depths)}; expected numbers above 0')
    sizes = [scale * 2**(octave / octaves) for octave in range(octaves)]
    return [shape for size in sizes for shape in boxes.shapes(
        [size], ratios, [size * depth for depth in depths] if dims == 3 else ())]
