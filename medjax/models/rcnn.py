"""R-CNNs: two-stage detection by region proposals and their classification, in 2D and 3D.

The variants differ in the source of the proposals and in how their features are computed.

- rcnn: external proposals; each is cropped from the image and passed through the encoder (Girshick 2014).
- fast: external proposals; they are cropped from the encoder's features of the whole image (Girshick 2015).
- faster: proposals from a region proposal network that shares the features and is trained jointly (Ren 2015), with a
  feature pyramid (Lin 2017).
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
from medjax.models.retinanet import Head, Pyramid, anchor_shapes, build_encoder
from medjax.nn.dense import Dense
from medjax.nn.pool import spatial_pyramid_pool
from medjax.ops import boxes
from medjax.ops.nms import nms
from medjax.ops.roi import roi_align, roi_pool
from medjax.options import Count, Dims, NonNegativeInt, Positive, Probability

VARIANTS: dict[str, dict[str, Any]] = {
    'faster': dict(proposals='network', crops='features'),
    'fast': dict(proposals='external', crops='features', levels=(2,), pool='max'),
    'rcnn': dict(proposals='external', crops='image', size=64),
}
CHOICES = {'proposals': ('network', 'external'), 'crops': ('features', 'image'), 'pool': ('align', 'max', 'spp')}
MIN_EXTENT = 1.0  # voxels: proposals with a smaller extent are discarded

Regions = tuple[jax.Array, jax.Array]  # boxes [B, R, 2D] and mask [B, R]
Choose = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, Any]]


class Model(nn.Module):
    """A two-stage detector.

    Attributes:
      classes: number of object classes, without background.
      dims: number of spatial dimensions, 2 or 3.
      proposals: source of proposals, 'network' or 'external'.
      crops: what proposals are cropped from, 'features' or 'image'.
      encoder: see `retinanet.Pyramid`, also for levels, extra_levels and features; image crops use the encoder only.
      levels: …
      extra_levels: …
      features: …
      scale: see `retinanet.Model`, also for octaves, ratios and depths; anchors of the proposal network.
      octaves: …
      ratios: …
      depths: …
      size: extent of a crop along each axis, in features or in voxels of the image.
      pool: cropping of features: 'align' (He 2017), 'max' in each bin, or 'spp', the maximum in 1, 2 and 4 bins along
        each axis (He 2014).
      hidden: features of the two dense layers after a crop.
      pre_nms_top_n: number of proposals per level before non-maximum suppression.
      post_nms_top_n: number of proposals after non-maximum suppression.
      nms_threshold: IoU threshold of the non-maximum suppression.
      norm: norm of the proposal network.
      dtype: compute dtype; parameters, logits and boxes are float32.
    """

    classes: Count
    dims: Dims = 2
    proposals: str = 'network'
    crops: str = 'features'
    encoder: Mapping[str, Any] = FrozenDict({'name': 'resnet'})
    levels: Sequence[NonNegativeInt] = (0, 1, 2, 3)
    extra_levels: NonNegativeInt = 0
    features: Count = 256
    scale: Positive = 8.0
    octaves: Count = 1
    ratios: Sequence[Positive] = (0.5, 1.0, 2.0)
    depths: Sequence[Positive] = (1.0,)
    size: Count = 7
    pool: str = 'align'
    hidden: Count = 1024
    pre_nms_top_n: Count = 1000
    post_nms_top_n: Count = 300
    nms_threshold: Probability = 0.7
    norm: str = 'none'
    dtype: str = 'float32'

    regions = True  # it has a second stage

    @property
    def external_proposals(self) -> bool:
        """Whether proposals are inputs."""
        return self.proposals == 'external'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, proposals: Regions | None = None,
                 choose: Choose | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Maps images to proposals with class logits and box deltas.

        Args:
          x: `[B, *S, C]`.
          train: for batch norm.
          proposals: boxes `[B, P, 2D]` and mask `[B, P]`, if they are inputs.
          choose: for training, selects the proposals to learn from and may return further data about them:
            `(boxes, mask) -> (boxes [B, R, 2D], mask [B, R], anything)`. All proposals by default.

        Returns:
          A dict of 'regions': the proposals 'boxes' `[B, R, 2D]` and 'mask' `[B, R]`, 'logits' `[B, R, classes + 1]`,
          background last, and 'deltas' `[B, R, classes, 2D]` relative to the proposals, float32; 'chosen', the further
          data returned by `choose`; and with a proposal network 'dense', its outputs as in `retinanet.Model` with one
          class. And the features 'level0' (finest) ….

        Raises:
          InputError: an attribute has an unknown value, or proposals are missing.
        """
        for name, values in CHOICES.items():
            if getattr(self, name) not in values:
                raise InputError(f'config.model.{name}: {getattr(self, name)!r}; expected one of: {", ".join(values)}')
        if self.external_proposals and proposals is None:
            raise InputError('config.data.proposals: none; expected as many as an image is to have for this model')
        out, levels = {}, []
        if self.crops == 'features' or not self.external_proposals:
            levels = Pyramid(self.dims, self.encoder, self.levels, self.extra_levels, self.features, self.dtype,
                             name='pyramid')(x, train)
        if not self.external_proposals:
            shapes = anchor_shapes(self.dims, self.scale, self.octaves, self.ratios, self.depths)
            out['dense'] = Head(1, shapes, 1, self.norm, self.dtype, name='propose')(levels, x.shape[1:-1], train)
            proposals = lax.stop_gradient(self._best_proposals(out['dense'], x.shape[1:-1]))
        rois, mask = proposals
        if choose is not None:
            rois, mask, out['chosen'] = lax.stop_gradient(choose(rois, mask))
        crops = self._crop(x, levels, rois, train)
        for number in range(2):
            crops = nn.relu(Dense(self.hidden, dtype=self.dtype, name=f'dense{number}')(crops))
        small = nn.initializers.normal(0.01)
        logits = Dense(self.classes + 1, kernel_init=small, name='classes_of')(crops.astype(jnp.float32))
        deltas = Dense(self.classes * 2 * self.dims, kernel_init=small, name='boxes_of')(crops.astype(jnp.float32))
        out['regions'] = {'boxes': rois, 'mask': mask, 'logits': logits,
                          'deltas': deltas.reshape(*rois.shape[:2], self.classes, 2 * self.dims)}
        return out, {f'level{n}': level for n, level in enumerate(levels)}

    def _best_proposals(self, dense: Sequence[Mapping[str, jax.Array]], space: Sequence[int]) -> Regions:
        """The boxes with the largest scores of all levels, after non-maximum suppression."""
        def select(levels: Sequence[tuple[jax.Array, jax.Array]]) -> Regions:
            score, box = (jnp.concatenate(parts) for parts in zip(*levels))
            thin = (box[:, self.dims:] - box[:, :self.dims]).min(-1) < MIN_EXTENT
            index, valid = nms(box, jnp.where(thin, -jnp.inf, score), self.nms_threshold, self.post_nms_top_n)
            return jnp.where(valid[:, None], box[index], 0.0), valid.astype(jnp.float32)

        candidates = []
        for level in dense:
            score, at = lax.top_k(level['logits'][..., 0], min(self.pre_nms_top_n, level['logits'].shape[1]))
            delta = jnp.take_along_axis(level['deltas'], at[..., None], 1)
            candidates.append((score, boxes.clip(boxes.decode(delta, level['anchors'][at]), space)))
        return jax.vmap(select)(candidates)

    def _crop(self, x: jax.Array, levels: Sequence[jax.Array], rois: jax.Array, train: bool) -> jax.Array:
        """Features of each region, `[B, R, F]`."""
        count, regions = rois.shape[:2]
        size = (self.size,) * self.dims
        if self.crops == 'image':
            crop = jax.vmap(lambda image, box: roi_align(image, box, size, (1.0,) * self.dims))(x, rois)
            encoder = build_encoder(self.encoder, self.dims, self.dtype, 'encoder')
            return encoder(crop.reshape(-1, *crop.shape[2:]), train=train)[1]['pooled'].reshape(count, regions, -1)
        scales = [[s / n for s, n in zip(level.shape[1:-1], x.shape[1:-1])] for level in levels]
        if self.pool != 'align':
            # The finest level only. The coarser grids of a spatial pyramid are computed from its finest grid.
            size = size if self.pool == 'max' else (4,) * self.dims
            crop = jax.vmap(lambda level, box: roi_pool(level, box, size, scales[0]))(levels[0], rois)
            crop = crop.reshape(-1, *crop.shape[2:])
            flat = spatial_pyramid_pool(crop) if self.pool == 'spp' else crop.reshape(len(crop), -1)
            return flat.reshape(count, regions, -1)
        # A box of the size of ImageNet's images, 224, is assigned to the level with stride 16 (k0 = 4; Lin 2017).
        extent = jnp.exp(jnp.log(jnp.maximum(rois[..., self.dims:] - rois[..., :self.dims], 1e-3)).mean(-1))
        finest = round(math.log2(x.shape[1] / levels[0].shape[1]))
        assigned = jnp.clip(jnp.floor(4 + jnp.log2(extent / 224)) - finest, 0, len(levels) - 1)
        crops = 0.0
        for number, (level, scale) in enumerate(zip(levels, scales)):
            crop = jax.vmap(lambda level, box, s=scale: roi_align(level, box, size, s))(level, rois)
            crops = jnp.where((assigned == number).reshape(count, regions, *[1] * (self.dims + 1)), crop, crops)
        return crops.reshape(count, regions, -1)
