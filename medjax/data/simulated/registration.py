"""Simulated pairs of brains: one anatomy, the MNI152 template, deformed twice, with contrasts of their own.

Both images of a pair are the template seen through a random diffeomorphism, the moving one through an affine map too,
so that where each point of the one lies in the other is known. Then each gets a contrast, an uneven sensitivity and
noise. Pictures are axial planes of it: which ones train, validate and test are slabs that do not touch.
"""

import functools
from collections.abc import Sequence
from typing import Any

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

MAPS = {'mni152': 'the MNI152 template, the mean of 152 brains', 'drawn': 'a drawn map of three tissues'}
NOTICE = ('A simulation: pairs made of {map}, deformed by random diffeomorphisms, so that the truth is known at every '
          'point. The anatomy of both is one and the same: no fold of the cortex is there in the one and lacking in '
          'the other, nothing is removed or grown, and the deformations are as smooth as those that the methods look '
          'for. Errors on two people\'s brains are larger. n counts deformations, not people{slabs}.')
SLABS = '; test planes are of a slab of the template in which no training plane lies'
CENTRE = (98, 117, 77)  # the brain's middle in the template's voxels, of 1 mm
WAVES = ((40.0, 3.0), (20.0, 1.5))  # mm between control points, and the deviation of the velocity there, mm
TURN, STRETCH, SHIFT = np.deg2rad(4), 0.04, 3.0  # deviations of the affine part: radians, shares, mm
SQUARINGS = 7
NOISE, SENSITIVITY, TISSUE, GAMMA = 0.03, 0.1, 0.04, 0.2  # deviations


def source(*, cases: Sequence[int] = (300, 30, 60), shape: Sequence[int] = (80, 96), spacing: float = 2.0,
           template: str = 'mni152', planes: Sequence[Sequence[int]] = ((48, 84), (90, 96), (102, 116)),
           points: int = 100, strength: float = 1.0, inverted: bool = False, seed: int = 0) -> Source:
    """Deforms the template for all pairs, which takes some seconds.

    Args:
      cases: how many pairs train, validate and test.
      shape: voxels, x and y, or x, y and z.
      spacing: mm of a voxel.
      template: 'mni152', or 'drawn', which needs nothing to be installed.
      planes: of two axes, from which to which axial plane of the template pairs that train, validate and test are, in
        mm from the lowest.
      points: of each pair whose true place is known, within the brain.
      strength: factor on the deformations.
      inverted: whether what is bright in the fixed image is dark in the moving one.
      seed: of all draws.

    Raises:
      InputError: where one of them is out of its range, or slabs of several splits overlap.
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
    if len(cases) != 3 or min(cases) < 1 or points < 1 or not 0 < strength <= 3:
        raise InputError(f'{where}: cases={tuple(cases)}, points={points}, strength={strength}; expected how many '
                         'train, validate and test, points, and a strength above 0, up to 3')
    made = _cases(tuple(cases), tuple(shape), float(spacing), template, slabs, points, float(strength), inverted, seed)
    return Source(cases=made, classes=mni152.CLASSES, problem='registration', notice=NOTICE.format(
        map=MAPS[template], slabs=SLABS if len(shape) == 2 and template == 'mni152' else ''))


@functools.lru_cache(2)
def _cases(counts: tuple[int, ...], shape: tuple[int, ...], spacing: float, template: str,
           slabs: tuple[tuple[int, int], ...], points: int, strength: float, inverted: bool,
           seed: int) -> tuple[Case, ...]:
    names = [(split, part, number) for part, split in enumerate(SPLITS) for number in range(counts[part])]
    # On the host whatever the device: the same pairs everywhere.
    with jax.default_device(jax.local_devices(backend='cpu')[0]):
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(
            jnp.array([[2 * (1_000_003 * part + number) + of for of in range(2)] for _, part, number in names]).ravel())
        fields = np.asarray(jax.jit(lambda keys: jax.lax.map(
            lambda key: _field(key, shape, spacing, strength), keys))(keys))
    parts, out = _template(template), []
    for (split, part, number), both in zip(names, fields.reshape(len(names), 2, *fields.shape[1:])):
        rng = np.random.default_rng((seed, part, number))
        pair, plane = _pair(rng, both, shape, spacing, template, parts, slabs[part], points, inverted)
        out.append(Case(id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split,
                        read=lambda pair=pair: pair, columns={'plane': plane} if plane else {}))
    return tuple(out)


def _field(key: jax.Array, shape: tuple[int, ...], spacing: float, strength: float) -> jax.Array:
    """A random displacement `[D, *S]`, voxels, of a diffeomorphism."""
    velocity = sum(warp.elastic(jax.random.fold_in(key, number), shape, max(2, round(far / spacing))) * size
                   for number, (far, size) in enumerate(WAVES))
    return deformation.exponential(velocity * strength / spacing, SQUARINGS)


def _pair(rng: np.random.Generator, fields: np.ndarray, shape: tuple[int, ...], spacing: float, template: str,
          parts: Sequence[np.ndarray], slab: Sequence[int], count: int, inverted: bool) -> tuple[Pair, str]:
    """A pair, and which plane of the template it is of, where it is of one."""
    dims = len(shape)
    height = float(rng.uniform(*slab))
    matrix = np.eye(dims) + rng.normal(0, STRETCH, (dims, dims)) * np.eye(dims)
    for a in range(dims):
        for b in range(a):
            turn, angle = np.eye(dims), rng.normal(0, TURN)
            turn[[a, b], [a, b]], turn[a, b], turn[b, a] = np.cos(angle), np.sin(angle), -np.sin(angle)
            matrix = turn @ matrix
    shift, centre = rng.normal(0, SHIFT, dims) / spacing, (np.array(shape) - 1) / 2
    own = np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in shape], indexing='ij'))
    there = own + fields[0]  # where in the template's space each voxel of the fixed image is seen, in voxels
    moved = np.einsum('ab,b...->a...', matrix, own + fields[1] - _along(centre, dims)) + _along(centre + shift, dims)

    def seen(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T1 with a contrast of its own, and the tissues' numbers."""
        at = (places - _along(centre, dims)) * spacing
        if dims == 2:
            at = np.concatenate([at, np.full((1, *shape), height - CENTRE[2])])
        if template == 'drawn':
            at[2 if dims == 2 else 0] *= dims == 3  # one plane for all
        at = at + _along(np.array(CENTRE, float), dims)
        t1, *tissue = (ndimage.map_coordinates(part, at, order=1, mode='constant') for part in parts)
        label = np.where(sum(tissue) > 0.5, np.argmax(tissue, 0) + 1, 0).astype(np.uint8)
        return t1 ** np.exp(rng.normal(0, GAMMA)) + sum(rng.normal(0, TISSUE) * part for part in tissue), label

    (first, fixed_label), (second, moving_label) = seen(there), seen(moved)
    if inverted:
        second = 1.1 - second
    images = []
    for image, label in ((first, fixed_label), (second, moving_label)):
        field = ndimage.zoom(rng.normal(0, SENSITIVITY, (3,) * dims), np.array(shape) / 3, order=1)
        noisy = image * np.exp(field) + rng.normal(0, NOISE, shape)
        images.append(np.where(label > 0, np.maximum(noisy, 0.01), 0).astype(np.float32))
    inside = np.argwhere(fixed_label > 0)
    if not len(inside):
        raise InputError('config.data.source: no brain in the image of a simulated pair; expected a larger shape')
    points = inside[rng.integers(len(inside), size=count)].astype(float)
    # The template's place of each point; the voxel that the moving image shows it in solves y + u(y) = q.
    q = np.linalg.solve(matrix, there[(slice(None), *points.astype(int).T)]
                        - (centre + shift)[:, None]) + centre[:, None]
    y = _origin(fields[1], q)
    affine = np.diag([spacing] * 3 + [1.0])

    def image(array: np.ndarray) -> Image:
        return Image(array[..., None] if dims == 2 else array, affine, 'phantom_pairs')

    points, targets = (np.pad(of, [(0, 0), (0, 3 - dims)]) for of in (points, y.T))
    pair = Pair(image(images[0]), image(images[1]), image(fixed_label), image(moving_label), points, targets)
    return pair, f'{height:.1f}' if dims == 2 and template == 'mni152' else ''


def _origin(field: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The places `[D, P]` that a displacement `[D, *S]` of a diffeomorphism takes to others.

    By half steps: whole ones go ever further away where space is stretched to more than twice its size.
    """
    y = ends.copy()
    for _ in range(200):
        there = y + np.stack([ndimage.map_coordinates(part, y, order=1, mode='nearest') for part in field])
        y = y + (ends - there) / 2
    return y


def _along(vector: np.ndarray, dims: int) -> np.ndarray:
    return vector.reshape(-1, *[1] * dims)


@functools.lru_cache(2)
def _template(name: str) -> tuple[Any, ...]:
    """T1 from 0 to 1, and the shares of fluid, grey and white matter, each `[197, 233, 189]` float32, 1 mm."""
    if name == 'mni152':
        t1, label, _, _ = mni152.template()
        parts = [t1 / np.float32(t1.max()), *((label == number).astype(np.float32) for number in (1, 2, 3))]
        return tuple(ndimage.gaussian_filter(part.astype(np.float32), 0.7) for part in parts)
    x, y, z = np.meshgrid(*[np.arange(n, dtype=np.float32) - c for n, c in zip((197, 233, 189), CENTRE)],
                          indexing='ij', sparse=True)
    far = np.sqrt((x / 64)**2 + (y / 80)**2 + (z / 62)**2)
    folds = 0.78 + 0.06 * np.cos(9 * np.arctan2(y, x)) * np.cos(z / 12)
    pools = np.sqrt(((np.abs(x) - 14) / 8)**2 + (y / 26)**2 + (z / 20)**2) < 1
    nuclei = np.sqrt(((np.abs(x) - 26) / 9)**2 + ((y - 4) / 16)**2 + (z / 14)**2) < 1
    inside = far < 1
    fluid, grey = inside & (pools | (far > 0.94)), inside & (nuclei | (far > folds))
    tissue = [(part).astype(np.float32) for part in (fluid, grey & ~fluid, inside & ~fluid & ~grey)]
    tissue = [ndimage.uniform_filter(part, 2) for part in tissue]
    return 0.25 * tissue[0] + 0.55 * tissue[1] + 0.85 * tissue[2], *tissue
