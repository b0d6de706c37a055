"""Augmentation on the device, inside the train step: compiled with it, and keyed by sample.

Each sample draws from its own key, folded from its number in the run: sample i looks the same whatever batch it comes
in, and whatever the number of devices. Flips, and one warp made of rotation, shear, zoom, shift and elastic
deformation, go over the image, a label of its voxels and boxes in it alike; intensities are the image's alone, and a
label of the whole image stays as it is. Last, and only where it is asked for, samples are mixed with each other.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from medjax.data.transforms import boxes as transforms_boxes
from medjax.data.transforms import mixup as transforms_mixup
from medjax.data.transforms import randaugment
from medjax.errors import InputError
from medjax.ops import warp

# Isensee 2021, supplement, section 4, with two deviations: what lies outside of a patch is its mirror image where
# nnU-Net cuts larger patches before it turns them, and the elastic warp, which is not in that list, is off.
NNUNET = dict(rotate=0.2, zoom=0.2, noise=0.15, blur=0.2, brightness=0.15, contrast=0.15, low_resolution=0.25,
              gamma=0.15, gamma_inverted=0.15, flip=0.5)
# Ronneberger 2015: rotation, elastic deformation on a coarse grid, and grey values.
UNET = dict(flip=0.5, rotate=1.0, degrees=15.0, elastic=1.0, brightness=0.5)
# The classic of Keras' folder tutorials: rotation_range=20, width_shift_range, height_shift_range, shear_range and
# zoom_range=.2, horizontal_flip, fill_mode='nearest'. Keras' shear is in degrees: .2 of them move the edge of a picture
# of 224 pixels by .4. Two deviations: the magnification is uniform from .8 to 1.2, and Keras' 1 over such a number; and
# a shift goes along the picture's axes before it is turned.
KERAS = dict(rotate=1.0, degrees=20.0, shift=1.0, shift_range=0.2, shear=1.0, shear_range=0.2, zoom=1.0,
             zoom_range=(0.8, 1.2), zoom_apart=True, flip=0.5, flip_axes=(1,), fill='nearest')
# Cubuk 2020, with his choice for ResNet-50 on ImageNet; `policy` tells how its operations differ.
RANDAUGMENT = dict(policy_ops=2, policy_magnitude=9.0, fill='nearest')
RECIPES: dict[str, dict[str, Any]] = {'flip': dict(flip=0.5), 'unet': UNET, 'nnunet': NNUNET, 'keras': KERAS,
                                      'randaugment': RANDAUGMENT}

WARPS = ('rotate', 'zoom', 'shear', 'shift', 'elastic')
TRANSFORMS = (*WARPS, 'noise', 'blur', 'brightness', 'contrast', 'low_resolution', 'gamma_inverted', 'gamma')
DRAWS = (*TRANSFORMS, *(f'{name}?' for name in TRANSFORMS), 'blur channels', 'low_resolution channels',
         'flip 0', 'flip 1', 'flip 2')
BOXES = {'boxes': 'box_mask', 'proposals': 'proposal_mask'}  # what a batch has of them, and their masks
THIN = 3.0  # a patch this much thinner along an axis than along another is treated slice by slice, as nnU-Net does
BLUR_TAPS = 6  # to each side: four standard deviations of the broadest kernel


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A random transform of batches, `(batch, key) -> batch`; the defaults change nothing.

    The batch has `image [B, *S, C]` float; `label`, where there is one, of voxels `[B, *S]` integer or of whole images
    in any other shape; `target [B, *S, T]`, where the image has a partner, which moves with it, and keeps its
    intensities; `index [B]`, the number of each sample in the run; and, where voxels are not cubes,
    `spacing [B, len(S)]` in mm. Probabilities are per sample. Mixing adds `partner` and `share`; see `mix.mixed`.

    Boxes and proposals, `[B, M, 2 len(S)]` with `box_mask` and `proposal_mask` `[B, M]`, move with the image; see
    `moving.moved`. Those that leave it lose their masks where they are, and go to zeros. Nothing elastic or mixed then.

    Attributes:
      flip: probability of mirroring, for each axis by itself.
      flip_axes: axes that may be mirrored; all when None.
      rotate: probability.
      degrees: largest angle about each axis; None follows nnU-Net: 30 in 3D; in 2D and in thin patches, which are
        turned in their plane alone, 180, or 15 where the plane is longer one way than 1.5 times the other.
      zoom: probability.
      zoom_range: of the magnification.
      zoom_apart: whether each axis has a magnification of its own.
      shear: probability.
      shear_range: largest angle, in degrees: in 2D each column slides along the rows' axis by its tangent times the
        column's distance from the centre; in 3D there are three angles, see `warp.shear`.
      shift: probability.
      shift_range: largest shift along each axis, as a share of the extent; thin patches shift in their plane alone.
      elastic: probability of a smooth random displacement.
      elastic_mm: its standard deviation is uniform from 0 to this.
      fill: what lies outside of the image: 'mirror', its mirror image, or 'nearest', its border going on. By default
        the mirror image, or the border where there are boxes: objects in a mirror would have none.
      noise: probability of Gaussian noise.
      noise_variance: largest variance.
      blur: probability of a Gaussian blur; each channel then has it by 1/2.
      blur_voxels: range of its standard deviation.
      brightness: probability of multiplying by a factor.
      brightness_range: of the factor.
      contrast: probability of multiplying by a factor and clipping to the range that was.
      contrast_range: of the factor.
      low_resolution: probability of sampling down (nearest) and up again (cubic); each channel then has it by 1/2.
      low_resolution_range: of the factor down.
      gamma: probability of raising intensities, scaled to 0–1, to a power.
      gamma_range: of the power.
      gamma_inverted: probability of the same on the negative.
      policy_ops: number of RandAugment's operations (2D only) that each sample has; see `policy`.
      policy_magnitude: of those, from 0 to 10.
      mixup: of mixup's Beta(mixup, mixup); 0 is off. Where CutMix is on as well, each sample has one of them, by 1/2.
      cutmix: the same for CutMix.
    """

    flip: float = 0.0
    flip_axes: Sequence[int] | None = None
    rotate: float = 0.0
    degrees: float | None = None
    zoom: float = 0.0
    zoom_range: tuple[float, float] = (0.7, 1.4)
    zoom_apart: bool = False
    shear: float = 0.0
    shear_range: float = 10.0
    shift: float = 0.0
    shift_range: float = 0.1
    elastic: float = 0.0
    elastic_mm: float = 3.0
    fill: Literal['mirror', 'nearest', ''] = ''
    noise: float = 0.0
    noise_variance: float = 0.1
    blur: float = 0.0
    blur_voxels: tuple[float, float] = (0.5, 1.5)
    brightness: float = 0.0
    brightness_range: tuple[float, float] = (0.7, 1.3)
    contrast: float = 0.0
    contrast_range: tuple[float, float] = (0.65, 1.5)
    low_resolution: float = 0.0
    low_resolution_range: tuple[float, float] = (1.0, 2.0)
    gamma: float = 0.0
    gamma_range: tuple[float, float] = (0.7, 1.5)
    gamma_inverted: float = 0.0
    policy_ops: int = 0
    policy_magnitude: float = 9.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self):
        for name in ('flip', *TRANSFORMS):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f'config.augment.{name}: {getattr(self, name)}; expected a probability')
        for name in ('zoom_range', 'blur_voxels', 'brightness_range', 'contrast_range', 'low_resolution_range',
                     'gamma_range'):
            values = tuple(getattr(self, name))
            if len(values) != 2 or not 0 < values[0] <= values[1]:
                raise InputError(f'config.augment.{name}: {values}; expected two numbers above 0, the lower first')
        if self.blur_voxels[1] > BLUR_TAPS / 3:
            raise InputError(f'config.augment.blur_voxels: {self.blur_voxels}; expected at most {BLUR_TAPS / 3:g}')
        most = len(randaugment.OPERATIONS)
        for name, fine, expected in (
                ('fill', self.fill in ('mirror', 'nearest', ''), "'mirror' or 'nearest'"),
                ('shear_range', 0 <= self.shear_range < 90, 'degrees, from 0 and below 90'),
                ('shift_range', 0 <= self.shift_range <= 1, 'a share of the extent, from 0 to 1'),
                ('policy_ops', self.policy_ops in range(most + 1), f'a whole number from 0 to {most}'),
                ('policy_magnitude', 0 <= self.policy_magnitude <= 10, 'a number from 0 to 10'),
                ('mixup', self.mixup >= 0, 'a number above 0, or 0 for none'),
                ('cutmix', self.cutmix >= 0, 'a number above 0, or 0 for none')):
            if not fine:
                raise InputError(f'config.augment.{name}: {getattr(self, name)!r}; expected {expected}')

    def __call__(self, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
        """Transforms a batch; traceable."""
        image, dims = batch['image'], batch['image'].ndim - 2
        if self.flip_axes is not None and not set(self.flip_axes) <= set(range(dims)):
            raise InputError(f'config.augment.flip_axes: {tuple(self.flip_axes)}; expected some of 0 to {dims - 1}')
        voxels = 'label' in batch and batch['label'].shape == image.shape[:-1]
        mixing = 'mixup' if self.mixup else 'cutmix' if self.cutmix else ''
        if self.policy_ops and dims != 2:
            raise InputError(f'config.augment.policy_ops: {self.policy_ops}; expected 0 for images that are not 2D')
        names = [name for pair in BOXES.items() if pair[0] in batch for name in pair]
        for name in ('elastic', 'mixup', 'cutmix'):
            if names and getattr(self, name):
                raise InputError(f'config.augment.{name}: {getattr(self, name)}; expected 0 where images have boxes')
        if mixing and (voxels or 'label' not in batch):
            raise InputError(f'config.augment.{mixing}: {getattr(self, mixing)}; expected 0 where whole images have no '
                             'label')
        partner = 'target' in batch and batch['target'].shape[:-1] == image.shape[:-1]
        arrays = {name: batch[name] for name in ['image', *['label'] * voxels, *['target'] * partner, *names]}
        spacing = batch['spacing'] if 'spacing' in batch else jnp.ones((len(image), dims))

        # One draw for all, by the names' checksums: a new transform leaves what the others draw as it was, and the
        # generator is compiled once and not thirty times.
        drawn = (*DRAWS, *(f'policy {name}' for name in randaugment.OPERATIONS if self.policy_ops),
                 *(f'mix {name}' for name in transforms_mixup.DRAWS if mixing))
        names = jnp.array([_checksum(name) for name in drawn], jnp.uint32)
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(batch['index'])
        tables = jax.vmap(lambda key: jax.vmap(lambda name: jax.random.uniform(
            jax.random.fold_in(key, name), (max(image.shape[-1], 3),)))(names))(keys)

        # A CPU takes sample after sample and skips what was not drawn, five transforms in six; an accelerator, or
        # several devices, which would each have to wait for the others' samples, compute all and choose.
        samples = arrays, spacing, keys, tables
        together = functools.partial(jax.vmap(self._sample), *samples)
        one_by_one = functools.partial(jax.lax.map, lambda sample: self._sample(*sample), samples)
        batch = {**batch, **(jax.lax.platform_dependent(cpu=one_by_one, default=together)
                             if jax.device_count() == 1 else together())}
        return transforms_mixup.mixed(batch, tables[:, -len(transforms_mixup.DRAWS):], mixup=self.mixup, cutmix=self.cutmix) if mixing else batch

    def _sample(self, arrays: dict[str, jax.Array], spacing: jax.Array, key: jax.Array,
                table: jax.Array) -> dict[str, jax.Array]:
        """One sample: `image [*S, C]` and, where there are any, `label [*S]`, `target [*S, T]` and `BOXES` with masks.

        `table` has a row for each of `DRAWS`, and behind them one for each of a policy's operations.
        """
        shape, channels = arrays['image'].shape[:-1], arrays['image'].shape[-1]
        inplane = [axis for axis, n in enumerate(shape) if n * THIN > max(shape) or len(shape) == 2]

        def draw(name: str, low: float = 0.0, high: float = 1.0, size: int = 0) -> jax.Array:
            row = low + (high - low) * table[DRAWS.index(name)]
            return row[:size] if size else row[0]

        def maybe(name: str, change: Callable[[jax.Array], jax.Array], each: bool = False) -> None:
            """Applies a change of intensities by its probability; to `each` channel by 1/2."""
            if not getattr(self, name):
                return
            on = draw(f'{name}?') < getattr(self, name)
            if each:
                on = on & (draw(f'{name} channels', size=channels) < 0.5)
            arrays['image'] = jax.lax.cond(on.any(), lambda x: jnp.where(on, change(x), x).astype(x.dtype),
                                           lambda x: x, arrays['image'])

        def warped(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
            matrix, away = self._affine(shape, inplane, spacing, drawn, signs, draw)
            where = warp.positions(shape, spacing, matrix, self._field(shape, inplane, away, drawn, draw, key))
            out, boxed = dict(arrays), [name for name in BOXES if name in arrays]
            fill = self.fill or ('nearest' if boxed else 'mirror')
            for name in ('image', 'target'):
                if name in arrays:
                    out[name] = warp.sample(arrays[name], where, 'linear', fill)
            if 'label' in arrays:
                out['label'] = warp.sample(arrays['label'][..., None], where, 'nearest', fill)[..., 0]
            for name in boxed:
                out[name], out[BOXES[name]] = transforms_boxes.moved(
                    arrays[name], arrays[BOXES[name]], shape, spacing, matrix,
                    jnp.zeros(len(shape)) if away is None else away)
            return out

        def flipped(axis: int, arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
            masks = {name: mask for name, mask in arrays.items() if name in BOXES.values()}
            boxes = {name: transforms_boxes.mirrored(arrays[name], arrays[BOXES[name]], axis, shape[axis])
                     for name in BOXES if name in arrays}
            return {name: jnp.flip(x, axis) for name, x in arrays.items()
                    if name in ('image', 'label', 'target')} | boxes | masks

        signs = randaugment.chosen(table[len(DRAWS):][:len(randaugment.OPERATIONS)], self.policy_ops) if self.policy_ops else None
        if self.policy_ops or any(getattr(self, name) for name in WARPS):
            drawn = jnp.stack([draw(f'{name}?') < getattr(self, name) for name in WARPS])
            some = drawn.any() if signs is None else drawn.any() | randaugment.moves(signs)
            arrays = jax.lax.cond(some, warped, lambda x: x, arrays)
        # Drawn flat: XLA on CPU takes seconds to compile a generator of several dimensions.
        maybe('noise', lambda x: x + jnp.sqrt(draw('noise', 0, self.noise_variance)) * jax.random.normal(
            jax.random.fold_in(key, _checksum('noise voxels')), (x.size,)).reshape(x.shape))
        maybe('blur', lambda x: _blur(x, draw('blur', *self.blur_voxels, size=channels)), each=True)
        maybe('brightness', lambda x: x * draw('brightness', *self.brightness_range))
        maybe('contrast', lambda x: jnp.clip(x * draw('contrast', *self.contrast_range), *_range(x)))
        maybe('low_resolution', lambda x: _coarsen(x, draw('low_resolution', *self.low_resolution_range,
                                                           size=channels), inplane), each=True)
        maybe('gamma_inverted', lambda x: -_power(-x, draw('gamma_inverted', *self.gamma_range)))
        maybe('gamma', lambda x: _power(x, draw('gamma', *self.gamma_range)))
        if signs is not None:
            arrays['image'] = randaugment.intensities(arrays['image'], signs, self.policy_magnitude)
        if self.flip:
            for axis in range(len(shape)) if self.flip_axes is None else self.flip_axes:
                arrays = jax.lax.cond(draw(f'flip {axis}') < self.flip, functools.partial(flipped, axis),
                                      lambda x: x, arrays)
        return arrays

    def _affine(self, shape: Sequence[int], inplane: Sequence[int], spacing: jax.Array, drawn: jax.Array,
                signs: jax.Array | None, draw: Callable[..., jax.Array]) -> tuple[jax.Array, jax.Array | None]:
        """The composed warp's matrix, and its shift in mm where there may be one, both as `warp.positions` has them.

        `drawn` says which of `WARPS` it is made of, `signs` what a policy adds.
        """
        dims, plane = len(shape), len(shape) == 2 or len(inplane) == 2
        longest = max(shape[a] for a in inplane) / min(shape[a] for a in inplane)
        limit = self.degrees if self.degrees is not None else 30.0 if not plane else 15.0 if longest > 1.5 else 180.0
        turned, zoomed, sheared, shifted, _ = drawn
        angles = jnp.where(turned, jnp.deg2rad(draw('rotate', -limit, limit, 1 if plane else 3)), 0.0)
        matrix = warp.rotation(angles)
        if self.shear:
            slants = jnp.deg2rad(draw('shear', -self.shear_range, self.shear_range, len(angles)))
            slide = warp.shear(jnp.where(sheared, jnp.tan(slants), 0.0))
            matrix = jnp.matmul(matrix, slide, precision=warp.HIGHEST)
        apart = len(matrix) if self.zoom_apart else 0
        matrix = matrix / jnp.where(zoomed, draw('zoom', *self.zoom_range, apart), 1.0)
        if dims == 3 and plane:
            # Turned and zoomed in its plane alone: across it the slices stay what they are.
            matrix = jnp.eye(3).at[jnp.ix_(jnp.array(inplane), jnp.array(inplane))].set(matrix)
        away = jnp.zeros(dims)
        if self.shift:
            away = jnp.where(shifted, draw('shift', -self.shift_range, self.shift_range, dims), 0.0)
        if signs is not None:
            more, shift = randaugment.geometry(signs, self.policy_magnitude)
            matrix, away = jnp.matmul(matrix, more, precision=warp.HIGHEST), away + shift
        if not self.shift and signs is None:
            return matrix, None
        return matrix, away * jnp.array(shape) * spacing * _across(shape, inplane)

    def _field(self, shape: Sequence[int], inplane: Sequence[int], away: jax.Array | None, drawn: jax.Array,
               draw: Callable[..., jax.Array], key: jax.Array) -> jax.Array | None:
        """The composed warp's displacement at each voxel, or what is broadcast to it; None where there is none."""
        ones = [1] * len(shape)
        field = None if away is None else away.reshape(-1, *ones)
        if self.elastic:
            bent = drawn[WARPS.index('elastic')]
            deviation = jnp.where(bent, draw('elastic', 0, self.elastic_mm), 0.0)
            bend = deviation * _across(shape, inplane).reshape(-1, *ones) * warp.elastic(
                jax.random.fold_in(key, _checksum('elastic field')), shape)
            field = bend if field is None else field + bend
        return field


def _across(shape: Sequence[int], inplane: Sequence[int]) -> jax.Array:
    return jnp.array([float(axis in inplane) for axis in range(len(shape))])


def _checksum(name: str) -> int:
    return zlib.crc32(name.encode())


def _range(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    space = tuple(range(image.ndim - 1))
    return image.min(space), image.max(space)


def _power(image: jax.Array, gamma: jax.Array) -> jax.Array:
    low, high = _range(image)
    extent = jnp.maximum(high - low, 1e-7)
    share = jnp.clip((image - low) / extent, 0, 1)
    return jnp.exp(gamma * jnp.log(share)) * extent + low  # XLA's power is twice as slow on a CPU


def _blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
    """Gaussian blur of each channel by its own `sigma [C]`, in voxels; the border is continued outwards."""
    def matrix(n: int) -> jax.Array:
        away = jnp.arange(-BLUR_TAPS, n + BLUR_TAPS) - jnp.arange(n)[:, None]
        weights = jnp.where(jnp.abs(away) <= BLUR_TAPS, jnp.exp(-0.5 * (away / sigma[:, None, None]) ** 2), 0.0)
        inner = weights[..., BLUR_TAPS:-BLUR_TAPS]
        inner = inner.at[..., 0].add(weights[..., :BLUR_TAPS].sum(-1))
        inner = inner.at[..., -1].add(weights[..., -BLUR_TAPS:].sum(-1))
        return inner / inner.sum(-1, keepdims=True)
    return _separable(image, matrix, range(image.ndim - 1))


def _coarsen(image: jax.Array, factor: jax.Array, axes: Sequence[int]) -> jax.Array:
    """Samples each channel down by its own `factor [C]`, to the nearest voxel, and up again by cubics (Keys 1981)."""
    def matrix(n: int) -> jax.Array:
        coarse = jnp.maximum(jnp.round(n / factor), 1.0)[:, None]
        place = (jnp.arange(n) + 0.5) * coarse / n - 0.5
        out = jnp.zeros((image.shape[-1], n, n))
        for tap in range(-1, 3):
            t = jnp.abs(place - jnp.floor(place) - tap)
            weight = jnp.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)
            source = (jnp.clip(jnp.floor(place) + tap, 0, coarse - 1) + 0.5) * n / coarse - 0.5
            out += weight[..., None] * (jnp.clip(jnp.round(source), 0, n - 1)[..., None] == jnp.arange(n))
        return out
    return _separable(image, matrix, axes)


def _separable(image: jax.Array, matrix: Callable[[int], jax.Array], axes: Sequence[int]) -> jax.Array:
    """Multiplies each channel, along axes, by its own matrix `[C, n, n]`: cheaper to compile and to run than taps."""
    for axis in axes:
        n = image.shape[axis]
        moved = jnp.moveaxis(image, (-1, axis), (0, 1))
        flat = jnp.matmul(matrix(n), moved.reshape(moved.shape[0], n, -1), precision=jax.lax.Precision.HIGHEST)
        image = jnp.moveaxis(flat.reshape(moved.shape), (0, 1), (-1, axis))
    return image
