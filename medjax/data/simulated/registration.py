"""Simulated pairs of brains: the MNI152 template, deformed twice and with two contrasts.

Both images of a pair are the template under a random diffeomorphism, the moving one under an affine map too, so the
corresponding point in the other image is known everywhere. Each image has its own contrast, sensitivity field and
noise. 2D images are axial planes; the planes that train, validate and test lie in separate slabs.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from medjax.data.datasets.registration import Pair
from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, Case, Source
from medjax.data.sources import mni152
from medjax.errors import InputError
from medjax.ops import deformation, warp
from medjax.options import Count, NonNegativeInt, Range

MAPS = {'mni152': 'the MNI152 template, the mean of 152 brains', 'synthetic': 'a drawn map of three tissues'}
NOTICE = ('A simulation: pairs from {map}, deformed by random diffeomorphisms, so the true deformation is known at '
          'every point. The anatomy of both images is the same: no fold of the cortex is missing in one of them, '
          'nothing is removed or grown, and the deformations are as smooth as the methods assume. Errors between the '
          'brains of two people are larger. n counts deformations, not people{slabs}.')
SLABS = '; test planes are of a slab of the template without training planes'
CENTRE = (98, 117, 77)  # centre of the brain in voxels of the template, of 1 mm
WAVES = ((40.0, 3.0), (20.0, 1.5))  # spacing of control points, and standard deviation of the velocity there; mm
TURN, STRETCH, SHIFT = np.deg2rad(4), 0.04, 3.0  # standard deviations of the affine map: radians, fractions, mm
SQUARINGS = 7
NOISE, SENSITIVITY, TISSUE, GAMMA = 0.03, 0.1, 0.04, 0.2  # standard deviations


def source(*, cases: tuple[Count, Count, Count] = (300, 30, 60), shape: Sequence[Count] = (80, 96),
           spacing: Annotated[float, Range(low=0.5, high=10)] = 2.0, template: str = 'mni152',
           planes: Sequence[tuple[NonNegativeInt, NonNegativeInt]] = ((48, 84), (90, 96), (102, 116)),
           points: Count = 100, deformation_scale: Annotated[float, Range(low=0, high=3, open_low=True)] = 1.0,
           invert_contrast: bool = False, seed: NonNegativeInt = 0) -> Source:
    """A registration source of simulated pairs; the simulation takes some seconds.

    Args:
      cases: numbers of training, validation and test pairs.
      shape: voxels, x and y, or x, y and z.
      spacing: mm of a voxel.
      template: 'mni152', or 'synthetic', which needs no other package.
      planes: for 2D, the first and last axial plane of the template in training, validation and test pairs, in mm from
        the lowest.
      points: number of corresponding points in a pair, within the brain.
      deformation_scale: factor on the deformations.
      invert_contrast: invert the contrast of the moving image.
      seed: of all draws.

    Raises:
      InputError: an option out of its range, or overlapping slabs.
    """
    where = 'config.data.source'
    if template not in MAPS:
        raise InputError(f'{where}.template: {template!r}; expected one of: {", ".join(MAPS)}')
    if len(shape) not in (2, 3) or min(shape) < 16 or not 0.5 <= spacing <= 10:
        raise InputError(f'{where}: shape={tuple(shape)}, spacing={spacing}; expected two or three numbers of 16 or '
                         'more, and 0.5 to 10 mm')
    slabs = tuple(tuple(slab) for slab in planes)
    order = sorted(slabs)
    if len(slabs) != 3 or any(len(slab) != 2 or not 0 < slab[0] <= slab[1] < 188 for slab in slabs) or any(
            low[1] >= high[0] for low, high in zip(order, order[1:])):
        raise InputError(f'{where}.planes: {slabs}; expected three slabs within 1..187 that do not touch')
    if len(cases) != 3 or min(cases) < 1 or points < 1 or not 0 < deformation_scale <= 3:
        raise InputError(f'{where}: cases={tuple(cases)}, points={points}, deformation_scale={deformation_scale}; '
                         'expected numbers of training, validation and test pairs, points, and a deformation_scale '
                         'above 0, up to 3')
    pairs = _cases(tuple(cases), tuple(shape), float(spacing), template, slabs, points, float(deformation_scale),
                   invert_contrast, seed)
    notice = NOTICE.format(map=MAPS[template], slabs=SLABS if len(shape) == 2 and template == 'mni152' else '')
    return Source(cases=pairs, classes=mni152.CLASSES, problem='registration', least_classes=1, notice=notice,
                  analysis_unit='deformation')


@functools.lru_cache(2)
def _cases(counts: tuple[int, ...], shape: tuple[int, ...], spacing: float, template: str,
           slabs: tuple[tuple[int, int], ...], points: int, deformation_scale: float, invert_contrast: bool,
           seed: int) -> tuple[Case, ...]:
    names = [(split, part, number) for part, split in enumerate(SPLITS) for number in range(counts[part])]
    # Computed on the host, so the pairs are the same whatever the device.
    with jax.default_device(jax.local_devices(backend='cpu')[0]):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(
            jnp.array([[2 * (1_000_003 * part + number) + of for of in range(2)] for _, part, number in names]).ravel())
        fields = np.asarray(jax.jit(lambda keys: jax.lax.map(
            lambda key: _field(key, shape, spacing, deformation_scale), keys))(keys))
    maps, out = _template(template), []
    for (split, part, number), pair_fields in zip(names, fields.reshape(len(names), 2, *fields.shape[1:])):
        rng = np.random.default_rng((seed, part, number))
        pair, plane = _pair(rng, pair_fields, shape, spacing, template, maps, slabs[part], points, invert_contrast)
        out.append(Case(id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split,
                        read=lambda pair=pair: pair, columns={'plane': plane} if plane else {}))
    return tuple(out)


def _field(key: jax.Array, shape: tuple[int, ...], spacing: float, deformation_scale: float) -> jax.Array:
    """A random displacement `[D, *S]`, voxels, of a diffeomorphism."""
    velocity = sum(
        warp.elastic_displacement(jax.random.fold_in(key, number), shape, max(2, round(wave / spacing))) * size
        for number, (wave, size) in enumerate(WAVES))
    return deformation.exponential(velocity * deformation_scale / spacing, SQUARINGS)


def _pair(rng: np.random.Generator, fields: np.ndarray, shape: tuple[int, ...], spacing: float, template: str,
          maps: Sequence[np.ndarray], slab: Sequence[int], count: int, invert_contrast: bool) -> tuple[Pair, str]:
    """A pair, and for 2D images of MNI152 the plane of the template."""
    dims = len(shape)
    height = float(rng.uniform(*slab))
    matrix, shift = _affine_map(rng, dims, spacing)
    centre = (np.array(shape) - 1) / 2
    own = np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in shape], indexing='ij'))
    # Where in the template each voxel of the fixed and of the moving image lies, in voxels of the images.
    fixed_places = own + fields[0]
    moving_places = np.einsum('ab,b...->a...', matrix, own + fields[1] - _along(centre, dims)) + _along(
        centre + shift, dims)

    def positions(places: np.ndarray) -> np.ndarray:
        """Places as voxels of the template `[3, *S]`."""
        at = (places - _along(centre, dims)) * spacing
        if dims == 2:
            # The drawn map shows one plane in all pairs.
            plane = 0.0 if template == 'synthetic' else height - CENTRE[2]
            at = np.concatenate([at, np.full((1, *shape), plane)])
        return at + _along(np.array(CENTRE, float), dims)

    fixed, fixed_label = _contrast(rng, maps, positions(fixed_places))
    moving, moving_label = _contrast(rng, maps, positions(moving_places))
    if invert_contrast:
        moving = 1.1 - moving
    fixed, moving = _acquire(rng, fixed, fixed_label), _acquire(rng, moving, moving_label)
    inside = np.argwhere(fixed_label > 0)
    if not len(inside):
        raise InputError('config.data.source: no brain in the image of a simulated pair; expected a larger shape')
    points = inside[rng.integers(len(inside), size=count)].astype(float)
    # q is the place of each point in the template; the voxel y of the moving image that shows it solves y + u(y) = q.
    q = np.linalg.solve(matrix, fixed_places[(slice(None), *points.astype(int).T)]
                        - (centre + shift)[:, None]) + centre[:, None]
    y = _inverse_positions(fields[1], q)
    affine = np.diag([spacing] * 3 + [1.0])

    def image(array: np.ndarray) -> Image:
        return Image(array[..., None] if dims == 2 else array, affine, 'simulated_registration')

    points, targets = (np.pad(places, [(0, 0), (0, 3 - dims)]) for places in (points, y.T))
    pair = Pair(image(fixed), image(moving), image(fixed_label), image(moving_label), points, targets)
    return pair, f'{height:.1f}' if dims == 2 and template == 'mni152' else ''


def _affine_map(rng: np.random.Generator, dims: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """A random affine map about the centre: a matrix `[D, D]` and a shift `[D]` in voxels."""
    matrix = np.eye(dims) + rng.normal(0, STRETCH, (dims, dims)) * np.eye(dims)
    for a in range(dims):
        for b in range(a):
            turn, angle = np.eye(dims), rng.normal(0, TURN)
            turn[[a, b], [a, b]], turn[a, b], turn[b, a] = np.cos(angle), np.sin(angle), -np.sin(angle)
            matrix = turn @ matrix
    return matrix, rng.normal(0, SHIFT, dims) / spacing


def _contrast(rng: np.random.Generator, maps: Sequence[np.ndarray],
              positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The template at some positions with a random contrast, and its tissues' numbers."""
    t1, *tissues = (ndimage.map_coordinates(part, positions, order=1, mode='constant') for part in maps)
    label = np.where(sum(tissues) > 0.5, np.argmax(tissues, 0) + 1, 0).astype(np.uint8)
    return t1 ** np.exp(rng.normal(0, GAMMA)) + sum(rng.normal(0, TISSUE) * part for part in tissues), label


def _acquire(rng: np.random.Generator, image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """An image with a sensitivity field and noise, float32; 0 outside the brain."""
    field = ndimage.zoom(rng.normal(0, SENSITIVITY, (3,) * image.ndim), np.array(image.shape) / 3, order=1)
    noisy = image * np.exp(field) + rng.normal(0, NOISE, image.shape)
    return np.where(label > 0, np.maximum(noisy, 0.01), 0).astype(np.float32)


def _inverse_positions(field: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The places `[D, P]` that a displacement `[D, *S]` of a diffeomorphism moves to `ends`.

    The fixed-point iteration takes half steps: whole steps diverge where space is stretched to more than twice its
    size.
    """
    y = ends.copy()
    for _ in range(200):
        there = y + np.stack([ndimage.map_coordinates(part, y, order=1, mode='nearest') for part in field])
        y = y + (ends - there) / 2
    return y


def _along(vector: np.ndarray, dims: int) -> np.ndarray:
    """A vector `[D]` as `[D, 1, …]`, to be added to positions `[D, *S]`."""
    return vector.reshape(-1, *[1] * dims)


@functools.lru_cache(2)
def _template(name: str) -> tuple[Any, ...]:
    """T1 from 0 to 1, and the fractions of fluid, grey and white matter, each `[197, 233, 189]` float32, 1 mm."""
    if name == 'mni152':
        t1, label, _, _ = mni152.template()
        maps = [t1 / np.float32(t1.max()), *((label == number).astype(np.float32) for number in (1, 2, 3))]
        return tuple(ndimage.gaussian_filter(part.astype(np.float32), 0.7) for part in maps)
    x, y, z = np.meshgrid(*[np.arange(n, dtype=np.float32) - c for n, c in zip((197, 233, 189), CENTRE)],
                          indexing='ij', sparse=True)
    radius = np.sqrt((x / 64)**2 + (y / 80)**2 + (z / 62)**2)
    cortex = 0.78 + 0.06 * np.cos(9 * np.arctan2(y, x)) * np.cos(z / 12)
    ventricles = np.sqrt(((np.abs(x) - 14) / 8)**2 + (y / 26)**2 + (z / 20)**2) < 1
    nuclei = np.sqrt(((np.abs(x) - 26) / 9)**2 + ((y - 4) / 16)**2 + (z / 14)**2) < 1
    inside = radius < 1
    fluid, grey = inside & (ventricles | (radius > 0.94)), inside & (nuclei | (radius > cortex))
    tissues = [part.astype(np.float32) for part in (fluid, grey & ~fluid, inside & ~fluid & ~grey)]
    tissues = [ndimage.uniform_filter(part, 2) for part in tissues]
    return 0.25 * tissues[0] + 0.55 * tissues[1] + 0.85 * tissues[2], *tissues
