"""Augmentation on the device, inside the train step: compiled with it, and keyed by sample.

Each sample draws from its own key, folded from its number in the run: it is augmented in the same way in any batch and
on any number of devices. Flips, and one warp composed of rotation, shear, zoom, shift and elastic deformation, apply to
the image, to a voxel label and to boxes alike. Intensity transforms apply to the image only; a label of the whole image
is not changed. Mixing of samples (mixup, CutMix) comes last.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp

from medjax.data.transforms import intensity, randaugment, spatial
from medjax.data.transforms import mixup as transforms_mixup
from medjax.data.transforms.draws import DRAWS, WARPS, Draws, checksum
from medjax.data.transforms.spatial import BOXES, unchanged
from medjax.errors import InputError
from medjax.options import NonNegative, NonNegativeInt, Positive, Probability, Range

# Isensee 2021, supplement, section 4, with two deviations: beyond the border of a patch is its mirror image, where
# nnU-Net cuts larger patches before rotating them; and the elastic warp, which is not in that list, is off.
NNUNET = dict(rotate=0.2, zoom=0.2, noise=0.15, blur=0.2, brightness=0.15, contrast=0.15, low_resolution=0.25,
              gamma=0.15, gamma_inverted=0.15, flip=0.5)
# Ronneberger 2015: rotation, elastic deformation on a coarse grid, and grey values.
UNET = dict(flip=0.5, rotate=1.0, degrees=15.0, elastic=1.0, brightness=0.5)
# Keras' tutorials on folders of images: rotation_range=20, width_shift_range, height_shift_range, shear_range and
# zoom_range=.2, horizontal_flip, fill_mode='nearest'. Keras' shear is in degrees: .2 degrees move the edge of an image
# of 224 pixels by .4. Two deviations: the magnification is uniform from .8 to 1.2, where Keras divides by such a
# number; and a shift is along the image's axes before the rotation.
KERAS = dict(rotate=1.0, degrees=20.0, shift=1.0, shift_range=0.2, shear=1.0, shear_range=0.2, zoom=1.0,
             zoom_range=(0.8, 1.2), zoom_per_axis=True, flip=0.5, flip_axes=(1,), fill='nearest')
# Cubuk 2020, with the paper's choice for ResNet-50 on ImageNet; `randaugment` lists how the operations differ.
RANDAUGMENT = dict(randaugment_ops=2, randaugment_magnitude=9.0, fill='nearest')
RECIPES: dict[str, dict[str, Any]] = {'flip': dict(flip=0.5), 'unet': UNET, 'nnunet': NNUNET, 'keras': KERAS,
                                      'randaugment': RANDAUGMENT}

RANGES = ('zoom_range', 'blur_voxels', 'brightness_range', 'contrast_range', 'low_resolution_range', 'gamma_range')

Arrays = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A random transform of batches, `(batch, key) -> batch`; the defaults change nothing.

    The batch has `image [B, *S, C]` float; optionally `label`, of voxels `[B, *S]` integer or of whole images in any
    other shape; `target [B, *S, T]`, the image's second contrast, which is warped and flipped with it but keeps its
    intensities; `index [B]`, the number of each sample in the run; and, where voxels are not isotropic,
    `spacing [B, len(S)]` in mm. Probabilities are per sample. Mixing adds `partner` and `share`; see
    `mixup.mix_images`.

    Boxes and proposals, `[B, M, 2 len(S)]` with `box_mask` and `proposal_mask` `[B, M]`, are transformed with the
    image; see `boxes.warp_boxes`. Those that leave the image become zeros with mask 0. Elastic deformation and mixing
    are not available then.

    Attributes:
      flip: probability of mirroring, for each axis independently.
      flip_axes: axes that may be mirrored; all when None.
      rotate: probability.
      degrees: largest angle about each axis; None follows nnU-Net: 30 in 3D; in 2D and in thin patches, which are
        rotated in their plane only, 180, or 15 where the plane's longer side exceeds 1.5 times the shorter.
      zoom: probability.
      zoom_range: of the magnification.
      zoom_per_axis: whether each axis has its own magnification.
      shear: probability.
      shear_range: largest angle, in degrees: in 2D each column slides along the rows' axis by its tangent times the
        column's distance from the centre; in 3D there are three angles, see `warp.shear_matrix`.
      shift: probability.
      shift_range: largest shift along each axis, as a fraction of the extent; thin patches shift in their plane only.
      elastic: probability of a smooth random displacement.
      elastic_mm: the displacement's standard deviation is uniform from 0 to this.
      fill: values beyond the border: 'mirror', the mirror image, or 'nearest', the border's values. By default the
        mirror image, or the border's values where there are boxes: mirrored objects would have no box.
      noise: probability of Gaussian noise.
      noise_variance: largest variance.
      blur: probability of a Gaussian blur; each channel is then blurred with probability 1/2.
      blur_voxels: range of the blur's standard deviation.
      brightness: probability of multiplying by a factor.
      brightness_range: of the factor.
      contrast: probability of multiplying by a factor and clipping to the previous range.
      contrast_range: of the factor.
      low_resolution: probability of downsampling (nearest) and upsampling (cubic); each channel is then changed with
        probability 1/2.
      low_resolution_range: of the downsampling factor.
      gamma: probability of raising intensities, scaled to 0–1, to a power.
      gamma_range: of the power.
      gamma_inverted: probability of the same on the negative.
      randaugment_ops: number of RandAugment operations (2D only) for each sample; see `randaugment`.
      randaugment_magnitude: magnitude of these, from 0 to 10.
      mixup: of mixup's Beta(mixup, mixup); 0 is off. With CutMix on as well, each sample has one of them, by 1/2.
      cutmix: the same for CutMix.
      label_channels: how many of the last channels are labels of a first stage, whose values are not changed;
        they are warped and mirrored with the others.
    """

    flip: Probability = 0.0
    flip_axes: Sequence[NonNegativeInt] | None = None
    rotate: Probability = 0.0
    degrees: Annotated[float, Range(low=0, high=180)] | None = None
    zoom: Probability = 0.0
    zoom_range: tuple[Positive, Positive] = (0.7, 1.4)
    zoom_per_axis: bool = False
    shear: Probability = 0.0
    shear_range: Annotated[float, Range(low=0, high=90, open_high=True)] = 10.0
    shift: Probability = 0.0
    shift_range: Probability = 0.1
    elastic: Probability = 0.0
    elastic_mm: NonNegative = 3.0
    fill: Literal['mirror', 'nearest', ''] = ''
    noise: Probability = 0.0
    noise_variance: NonNegative = 0.1
    blur: Probability = 0.0
    blur_voxels: tuple[Positive, Positive] = (0.5, 1.5)
    brightness: Probability = 0.0
    brightness_range: tuple[Positive, Positive] = (0.7, 1.3)
    contrast: Probability = 0.0
    contrast_range: tuple[Positive, Positive] = (0.65, 1.5)
    low_resolution: Probability = 0.0
    low_resolution_range: tuple[Positive, Positive] = (1.0, 2.0)
    gamma: Probability = 0.0
    gamma_range: tuple[Positive, Positive] = (0.7, 1.5)
    gamma_inverted: Probability = 0.0
    randaugment_ops: NonNegativeInt = 0
    randaugment_magnitude: Annotated[float, Range(low=0, high=10)] = 9.0
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0
    label_channels: NonNegativeInt = 0

    def __post_init__(self):
        for name in RANGES:
            values = tuple(getattr(self, name))
            if values[0] > values[1]:
                raise InputError(f'config.augment.{name}: {values}; expected two numbers, the lower first')
        if self.blur_voxels[1] > intensity.BLUR_TAPS / 3:
            raise InputError(f'config.augment.blur_voxels: {self.blur_voxels}; expected at most '
                             f'{intensity.BLUR_TAPS / 3:g}')
        most = len(randaugment.OPERATIONS)
        if self.randaugment_ops > most:
            raise InputError(f'config.augment.randaugment_ops: {self.randaugment_ops}; expected at most {most}')

    def __call__(self, batch: Arrays, key: jax.Array) -> Arrays:
        """Transforms a batch; traceable."""
        image, dims = batch['image'], batch['image'].ndim - 2
        mixes = bool(self.mixup or self.cutmix)
        arrays = {name: batch[name] for name in self._transformed(batch)}
        spacing = batch['spacing'] if 'spacing' in batch else jnp.ones((len(image), dims))

        # One draw for all transforms, by the checksums of their names: a new transform does not change the draws of the
        # others, and the generator is compiled once instead of thirty times.
        drawn = list(DRAWS)
        if self.randaugment_ops:
            drawn += [f'policy {name}' for name in randaugment.OPERATIONS]
        if mixes:
            drawn += [f'mix {name}' for name in transforms_mixup.DRAWS]
        names = jnp.array([checksum(name) for name in drawn], jnp.uint32)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(batch['index'])
        tables = jax.vmap(lambda key: jax.vmap(lambda name: jax.random.uniform(
            jax.random.fold_in(key, name), (max(image.shape[-1], 3),)))(names))(keys)

        # A CPU transforms sample by sample and skips transforms that were not drawn, five in six. An accelerator, or
        # several devices, which would wait for each other's samples, compute all of them and select.
        samples = arrays, spacing, keys, tables
        together = functools.partial(jax.vmap(self._sample), *samples)
        one_by_one = functools.partial(jax.lax.map, lambda sample: self._sample(*sample), samples)
        if jax.device_count() == 1:
            batch = {**batch, **jax.lax.platform_dependent(cpu=one_by_one, default=together)}
        else:
            batch = {**batch, **together()}
        if not mixes:
            return batch
        return transforms_mixup.mix_images(batch, tables[:, -len(transforms_mixup.DRAWS):], mixup=self.mixup,
                                           cutmix=self.cutmix)

    def _transformed(self, batch: Arrays) -> list[str]:
        """The batch's entries that are transformed sample by sample; refuses options that the batch does not allow."""
        image, dims = batch['image'], batch['image'].ndim - 2
        if self.flip_axes is not None and not set(self.flip_axes) <= set(range(dims)):
            raise InputError(f'config.augment.flip_axes: {tuple(self.flip_axes)}; expected some of 0 to {dims - 1}')
        if self.randaugment_ops and dims != 2:
            raise InputError(f'config.augment.randaugment_ops: {self.randaugment_ops}; expected 0 for images that are '
                             'not 2D')
        boxes = [name for pair in BOXES.items() if pair[0] in batch for name in pair]
        for name in ('elastic', 'mixup', 'cutmix'):
            if boxes and getattr(self, name):
                raise InputError(f'config.augment.{name}: {getattr(self, name)}; expected 0 where images have boxes')
        voxel_label = 'label' in batch and batch['label'].shape == image.shape[:-1]
        if voxel_label or 'label' not in batch:
            for name in ('mixup', 'cutmix'):
                if getattr(self, name):
                    raise InputError(f'config.augment.{name}: {getattr(self, name)}; expected 0 where whole images '
                                     'have no label')
        names = ['image']
        if voxel_label:
            names.append('label')
        if 'target' in batch and batch['target'].shape[:-1] == image.shape[:-1]:
            names.append('target')
        return names + boxes

    def _sample(self, arrays: Arrays, spacing: jax.Array, key: jax.Array, table: jax.Array) -> Arrays:
        """Transforms one sample.

        Args:
          arrays: see `spatial.random_warp`.
          spacing: `[len(S)]`, mm.
          key: the sample's.
          table: uniform draws, a row for each name of `DRAWS`, then one for each operation of RandAugment.
        """
        draws = Draws(table, key, arrays['image'].shape[:-1], arrays['image'].shape[-1])
        signs = None
        if self.randaugment_ops:
            policy = table[len(DRAWS):][:len(randaugment.OPERATIONS)]
            signs = randaugment.draw_operations(policy, self.randaugment_ops)
        if signs is not None or any(getattr(self, name) for name in WARPS):
            arrays = spatial.random_warp(self, arrays, spacing, draws, signs)
        image = self._change_intensities(arrays['image'], draws)
        if signs is not None:
            image = randaugment.apply_intensities(image, signs, self.randaugment_magnitude)
        if self.label_channels:
            kept = arrays['image'][..., -self.label_channels:]
            image = jnp.concatenate([image[..., :-self.label_channels], kept], -1)
        arrays = {**arrays, 'image': image}
        if self.flip:
            axes = range(len(draws.shape)) if self.flip_axes is None else self.flip_axes
            for axis in axes:
                arrays = jax.lax.cond(draws.uniform(f'flip {axis}') < self.flip,
                                      functools.partial(spatial.flip, axis), unchanged, arrays)
        return arrays

    def _change_intensities(self, image: jax.Array, draws: Draws) -> jax.Array:
        """Applies each intensity transform by its probability, in a fixed order."""
        channels = draws.channels

        def noise(x: jax.Array) -> jax.Array:
            # Drawn flat: XLA on CPU takes seconds to compile a generator of several dimensions.
            normal = jax.random.normal(draws.named_key('noise voxels'), (x.size,)).reshape(x.shape)
            return x + jnp.sqrt(draws.uniform('noise', 0, self.noise_variance)) * normal

        def blur(x: jax.Array) -> jax.Array:
            return intensity.blur(x, draws.uniform('blur', *self.blur_voxels, size=channels))

        def brightness(x: jax.Array) -> jax.Array:
            return x * draws.uniform('brightness', *self.brightness_range)

        def contrast(x: jax.Array) -> jax.Array:
            return jnp.clip(x * draws.uniform('contrast', *self.contrast_range), *intensity.channel_range(x))

        def low_resolution(x: jax.Array) -> jax.Array:
            factor = draws.uniform('low_resolution', *self.low_resolution_range, size=channels)
            return intensity.low_resolution(x, factor, draws.inplane)

        def gamma_inverted(x: jax.Array) -> jax.Array:
            return -intensity.gamma(-x, draws.uniform('gamma_inverted', *self.gamma_range))

        def gamma(x: jax.Array) -> jax.Array:
            return intensity.gamma(x, draws.uniform('gamma', *self.gamma_range))

        for name, change in (('noise', noise), ('blur', blur), ('brightness', brightness), ('contrast', contrast),
                             ('low_resolution', low_resolution), ('gamma_inverted', gamma_inverted), ('gamma', gamma)):
            if getattr(self, name):
                image = self._apply_by_probability(name, change, image, draws)
        return image

    def _apply_by_probability(self, name: str, change: Callable[[jax.Array], jax.Array], image: jax.Array,
                              draws: Draws) -> jax.Array:
        """Applies an intensity transform by its probability; blur and low resolution to each channel by 1/2."""
        occurs = draws.occurs(name, getattr(self, name))
        if f'{name} channels' in DRAWS:
            occurs = occurs & (draws.uniform(f'{name} channels', size=draws.channels) < 0.5)

        def changed(x: jax.Array) -> jax.Array:
            return jnp.where(occurs, change(x), x).astype(x.dtype)

        return jax.lax.cond(occurs.any(), changed, unchanged, image)
