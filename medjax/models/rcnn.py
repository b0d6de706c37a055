"""Two-stage detection: proposals of where something is, then what it is, in 2D and 3D.

The variants differ by who proposes and by where a proposal's features come from.

- rcnn: given proposals, and for each a crop of the image that goes through the encoder (Girshick 2014).
- fast: given proposals; the encoder sees the image once, crops are taken from its features (Girshick 2015).
- faster: the network proposes as well, by the same features, and both are trained together (Ren 2015); with a feature
  pyramid (Lin 2017).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jax import lax

from medjax.errors import InputError
from medjax.models.retinanet import Head, Pyramid, anchor_shapes, encoded
from medjax.nn.dense import Dense
from medjax.nn.pool import pyramid
from medjax.ops import boxes
from medjax.ops.nms import nms
from medjax.ops.roi import roi_align, roi_pool

VARIANTS: dict[str, dict[str, Any]] = {
    'faster': dict(proposals='network', crops='features'),
    'fast': dict(proposals='given', crops='features', levels=(2,), pool='max'),
    'rcnn': dict(proposals='given', crops='image', size=64),
}
SMALL = 1.0  # voxels: proposals thinner than this are none

Regions = tuple[jax.Array, jax.Array]  # boxes [B, R, 2D] and mask [B, R]
Choose = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, Any]]


class Model(nn.Module):
    """A two-stage detector.

    Attributes:
      classes: of objects, without background.
      dims: spatial dimensions, 2 or 3.
      proposals: 'network' or 'given'.
      crops: of 'features' or of the 'image'.
      encoder: see `retinanet.Pyramid`, as for levels, extra and features; of the image's crops the encoder alone.
      levels: …
      extra: …
      features: …
      scale: see `retinanet.Model`, as for octaves, ratios and depths; of the network's proposals.
      octaves: …
      ratios: …
      depths: …
      size: extent of a crop along each axis, in features or in voxels.
      pool: how features are cropped: 'align' (He 2017), 'max' in each bin, or 'spp', the largest in 1, 2 and 4 bins
        along each axis (He 2014).
      hidden: features of the two dense layers behind a crop.
      candidates: proposals of each level that go into the suppression of doubles.
      kept: proposals that come out of it.
      overlap: IoU above which a proposal doubles a better one.
      norm: of the network that proposes.
      dtype: compute type; weights, logits and boxes are float32.
    """

    classes: int
    dims: int = 2
    proposals: str = 'network'
    crops: str = 'features'
    encoder: Mapping[str, Any] = FrozenDict({'name': 'resnet'})
    levels: Sequence[int] = (0, 1, 2, 3)
    extra: int = 0
    features: int = 256
    scale: float = 8.0
    octaves: int = 1
    ratios: Sequence[float] = (0.5, 1.0, 2.0)
    depths: Sequence[float] = (1.0,)
    size: int = 7
    pool: str = 'align'
    hidden: int = 1024
    candidates: int = 1000
    kept: int = 300
    overlap: float = 0.7
    norm: str = 'none'
    dtype: str = 'float32'

    @property
    def given(self) -> bool:
        """Whether proposals come from elsewhere."""
        return self.proposals == 'given'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, proposals: Regions | None = None,
                 choose: Choose | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Maps images to proposals, and to classes and boxes of them.

        Args:
          x: `[B, *S, C]`.
          train: for batch norm.
          proposals: boxes `[B, P, 2D]` and mask `[B, P]`, where they are given.
          choose: for training: of the proposals those to learn from, and whatever goes with them:
            `(boxes, mask) -> (boxes [B, R, 2D], mask [B, R], anything)`. All of them by default.

        Returns:
          'regions': 'boxes' `[B, R, 2D]` and 'mask' `[B, R]`, the proposals; 'logits' `[B, R, classes + 1]`, the
          background's last, and 'deltas' `[B, R, classes, 2D]`, which move the proposals, float32; and 'chosen',
          what `choose` gave beside them. Of the network's proposals 'dense' as of `retinanet.Model`, of one class.
          And the features 'level0' (finest) ….
        """
        known = {'proposals': ('network', 'given'), 'crops': ('features', 'image'), 'pool': ('align', 'max', 'spp')}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(f'config.model.{name}: {getattr(self, name)!r}; expected one of: {", ".join(values)}')
        if self.given and proposals is None:
            raise InputError('config.data.proposals: none; expected as many as an image is to have for this model')
        out, levels = {}, []
        if self.crops == 'features' or not self.given:
            levels = Pyramid(self.dims, self.encoder, self.levels, self.extra, self.features, self.dtype,
                             name='pyramid')(x, train)
        if not self.given:
            shapes = anchor_shapes(self.dims, self.scale, self.octaves, self.ratios, self.depths)
            out['dense'] = Head(1, shapes, 1, self.norm, self.dtype, name='propose')(levels, x.shape[1:-1], train)
            proposals = lax.stop_gradient(self._best(out['dense'], x.shape[1:-1]))
        found, mask = proposals
        if choose is not None:
            found, mask, out['chosen'] = lax.stop_gradient(choose(found, mask))
        crops = self._cropped(x, levels, found, train)
        for number in range(2):
            crops = nn.relu(Dense(self.hidden, dtype=self.dtype, name=f'dense{number}')(crops))
        small = nn.initializers.normal(0.01)
        logits = Dense(self.classes + 1, kernel_init=small, name='classes_of')(crops.astype(jnp.float32))
        deltas = Dense(self.classes * 2 * self.dims, kernel_init=small, name='boxes_of')(crops.astype(jnp.float32))
        out['regions'] = {'boxes': found, 'mask': mask, 'logits': logits,
                          'deltas': deltas.reshape(*found.shape[:2], self.classes, 2 * self.dims)}
        return out, {f'level{n}': level for n, level in enumerate(levels)}

    def _best(self, dense: Sequence[Mapping[str, jax.Array]], space: Sequence[int]) -> Regions:
        """The most probable boxes of all levels, without doubles."""
        def of_image(levels: Sequence[tuple[jax.Array, jax.Array]]) -> Regions:
            score, box = (jnp.concatenate(parts) for parts in zip(*levels))
            thin = (box[:, self.dims:] - box[:, :self.dims]).min(-1) < SMALL
            index, valid = nms(box, jnp.where(thin, -jnp.inf, score), self.overlap, self.kept)
            return jnp.where(valid[:, None], box[index], 0.0), valid.astype(jnp.float32)

        best = []
        for level in dense:
            score, at = lax.top_k(level['logits'][..., 0], min(self.candidates, level['logits'].shape[1]))
            delta = jnp.take_along_axis(level['deltas'], at[..., None], 1)
            best.append((score, boxes.clip(boxes.decode(delta, level['anchors'][at]), space)))
        return jax.vmap(of_image)(best)

    def _cropped(self, x: jax.Array, levels: Sequence[jax.Array], found: jax.Array, train: bool) -> jax.Array:
        """Features of each box, `[B, R, F]`."""
        count, regions = found.shape[:2]
        size = (self.size,) * self.dims
        if self.crops == 'image':
            cut = jax.vmap(lambda image, box: roi_align(image, box, size, (1.0,) * self.dims))(x, found)
            encoder = encoded(self.encoder, self.dims, self.dtype, 'encoder')
            return encoder(cut.reshape(-1, *cut.shape[2:]), train=train)[1]['pooled'].reshape(count, regions, -1)
        scales = [[s / n for s, n in zip(level.shape[1:-1], x.shape[1:-1])] for level in levels]
        if self.pool != 'align':
            # Bins of the finest level; for a pyramid of bins its finest grid holds all that the coarser ones need.
            size = size if self.pool == 'max' else (4,) * self.dims
            crop = jax.vmap(lambda level, box: roi_pool(level, box, size, scales[0]))(levels[0], found)
            crop = crop.reshape(-1, *crop.shape[2:])
            flat = pyramid(crop) if self.pool == 'spp' else crop.reshape(len(crop), -1)
            return flat.reshape(count, regions, -1)
        # A box of the size of an ImageNet picture's object belongs to the level of stride 32 (Lin 2017).
        extent = jnp.exp(jnp.log(jnp.maximum(found[..., self.dims:] - found[..., :self.dims], 1e-3)).mean(-1))
        finest = round(math.log2(x.shape[1] / levels[0].shape[1]))
        chosen = jnp.clip(jnp.floor(4 + jnp.log2(extent / 224)) - finest, 0, len(levels) - 1)
        crops = 0.0
        for number, (level, scale) in enumerate(zip(levels, scales)):
            cut = jax.vmap(lambda level, box, s=scale: roi_align(level, box, size, s))(level, found)
            crops = jnp.where((chosen == number).reshape(count, regions, *[1] * (self.dims + 1)), cut, crops)
        return crops.reshape(count, regions, -1)
