"""Simulated patients whose brain tumour grows from visit to visit, and who may get a second one.

The tumour is `ops.reaction_diffusion`'s: cells that divide, and wander in white matter ten times as fast as in grey, in one plane,
or in all, of the MNI152 template, which is turned, stretched and moved anew for each patient. When it is large enough
somebody sees it; two or three visits follow, at irregular times, and then the one that is to be told. The images have
noise and an uneven sensitivity; the masks are where the density is above a threshold, below which cells can be seen
only faintly. At some sites there is a small bright focus: the brighter, the likelier a new tumour arises there.
Nothing that is measured on them says anything of medicine.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from medjax.data.datasets.tumour_growth import Followed, Scans
from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, UNKNOWN, Case, Source
from medjax.data.sources import mni152
from medjax.errors import InputError
from medjax.ops import reaction_diffusion

NOTICE = ('A simulation: tumours grown by a reaction–diffusion equation on {map}. Its figures say how well that '
          'equation is told, and nothing of medicine: no mass effect, no treatment, one anatomy. The fitted '
          'simulation beside the network knows the equation, the tissue and the threshold that made the patients, '
          'which nobody knows of a real one.')
MAPS = {'mni152': 'the MNI152 template, the mean of 152 brains, turned and stretched for each patient',
        'drawn': 'a drawn map of two tissues'}
SITES = tuple(f'{side} {part}' for side in ('left', 'right') for part in ('posterior', 'middle', 'anterior'))
THRESHOLD = 0.25  # density from which a voxel is in a mask
GREY = 0.1  # of the diffusion in white matter
DIFFUSION = (0.03, 0.3)  # mm² / day in white matter: least and most
RATE = (0.008, 0.03)  # 1 / day
BETWEEN = (40.0, 120.0)  # days from a visit to the next
LONGEST = 1200.0  # days until a tumour is seen
FOUND = (6.0, 13.0)  # mm: radius of the disc, or ball, that is as large as a tumour when it is seen first
FOCI = 0.3  # of the sites have one
FOCUS = (0.15, 0.5)  # how bright they are
HAZARD = (0.0001, 0.008)  # of a new tumour, 1 / day: without a focus, and by the brightest
CHUNK = 32  # patients that are grown at once
NEW = 2  # tumours at most that arise anew in a patient
NOISE = 0.04


class Anatomy(NamedTuple):
    """A patient's brain on the network's grid, each `[*S]` float32 but the sites, uint8 from 1, 0 outside."""

    t1: np.ndarray
    white: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray
    sites: np.ndarray


class Course(NamedTuple):
    """What is drawn for a patient before anything grows."""

    seed: tuple[int, ...]
    diffusion: float
    rate: float
    size: float
    gaps: tuple[float, ...]
    foci: dict[int, tuple[tuple[int, ...], float]]
    arises: dict[int, float]


def source(*, cases: Sequence[int] = (600, 100, 150), shape: Sequence[int] = (64, 80), spacing: float = 2.5,
           template: str = 'mni152', planes: Sequence[int] = (62, 112), seed: int = 0) -> Source:
    """Grows the tumours of all patients, which takes some seconds.

    Args:
      cases: how many patients train, validate and test.
      shape: voxels of an image, x and y, or x, y and z.
      spacing: mm of a voxel.
      template: 'mni152', or 'drawn', which needs nothing to be installed.
      planes: of two axes, which axial planes of the template are shown, in mm from the lowest.
      seed: of all draws.
    """
    if template not in MAPS:
        raise InputError(f'config.data.source.template: {template!r}; expected one of: {", ".join(MAPS)}')
    if len(shape) not in (2, 3) or min(shape) < 16 or not 0.5 <= spacing <= 10:
        raise InputError(f'config.data.source: shape={tuple(shape)}, spacing={spacing}; expected two or three numbers '
                         'of 16 or more, and 0.5 to 10 mm')
    if len(cases) != 3 or min(cases) < 1 or not 0 < planes[0] < planes[1] < 150:
        raise InputError(f'config.data.source: cases={tuple(cases)}, planes={tuple(planes)}; expected how many '
                         'patients train, validate and test, and two planes within 1..149')
    made = _patients(tuple(cases), tuple(shape), float(spacing), template, tuple(planes), seed)
    return Source(cases=made, classes=('background', 'tumour'), notice=NOTICE.format(map=MAPS[template]),
                  channels=('T1', 'FLAIR'), problem='growth', unit='days')


@functools.lru_cache(2)
def _patients(counts: tuple[int, ...], shape: tuple[int, ...], spacing: float, template: str, planes: tuple[int, ...],
              seed: int) -> tuple[Case, ...]:
    drawn = []
    for part, split in enumerate(SPLITS):
        for number in range(counts[part]):
            rng = np.random.default_rng((seed, part, number))
            anatomy = _anatomy(rng, shape, spacing, template, planes)
            drawn.append((f'{split}{number:04d}', split, rng, anatomy, _course(rng, anatomy, spacing)))
    out = []
    for first in range(0, len(drawn), CHUNK):
        chunk = drawn[first:first + CHUNK]
        # Always as many at once: it is compiled once.
        filled = [chunk[min(place, len(chunk) - 1)] for place in range(min(CHUNK, len(drawn)))]
        grown = _grown([each[3] for each in filled], [each[4] for each in filled], spacing)
        out += [_case(*each, [part[place] for part in grown], spacing) for place, each in enumerate(chunk)]
    return tuple(out)


def _case(name: str, split: str, rng: np.random.Generator, anatomy: Anatomy, course: Course,
          grown: Sequence[np.ndarray], spacing: float) -> Case:
    """A patient, as a data set's case."""
    densities, second = grown
    visits = len(course.gaps) + 1
    densities = list(densities[:visits])
    densities[-1] = 1 - (1 - densities[-1]) * (1 - second)
    times = np.concatenate([[0.0], np.cumsum(course.gaps)])
    there = set(np.unique(anatomy.sites[np.max(densities[:-1], 0) > THRESHOLD]).tolist())
    chance = [_chance(course, site + 1) for site in range(len(SITES))]
    new = [UNKNOWN if site + 1 in there else int(course.arises[site + 1] < course.gaps[-1])
           for site in range(len(SITES))]
    image = np.stack([_image(rng, anatomy, course, density, spacing) for density in densities], -2)
    masks = np.stack([density > THRESHOLD for density in densities], -1).astype(np.uint8)
    flat = image.ndim == 4
    affine = np.diag([spacing, spacing, spacing, 1.0])
    tissue = anatomy.white + GREY * anatomy.grey

    def volume(array: np.ndarray) -> np.ndarray:
        return array[:, :, None] if flat else array

    scans = Scans(Image(volume(image), affine, name), Image(volume(masks), affine, name), volume(anatomy.sites),
                  volume(np.where(tissue > 0.02, tissue, 0).astype(np.float32)))
    columns = {'diffusion': f'{course.diffusion:.4g}', 'rate': f'{course.rate:.4g}'}
    return Case(id=name, patient=name, split=split, read=lambda: scans, columns=columns,
                target=Followed(tuple(times.tolist()), SITES, tuple(new), tuple(chance), THRESHOLD))


def _anatomy(rng: np.random.Generator, shape: tuple[int, ...], spacing: float, template: str,
             planes: tuple[int, ...]) -> Anatomy:
    """Turns, stretches and moves the template, for one patient."""
    mirror, turn, stretch = rng.integers(2), rng.normal(0, np.deg2rad(5)), rng.normal(1, 0.05, 2)
    move, height = rng.normal(0, 3, 2), rng.uniform(*planes)
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * spacing for n in shape], indexing='ij')
    x, y = axes[0] * np.cos(turn) - axes[1] * np.sin(turn), axes[0] * np.sin(turn) + axes[1] * np.cos(turn)
    x, y = (x * stretch[0] + move[0]) * (-1 if mirror else 1), y * stretch[1] + move[1]
    if template == 'drawn':
        extent = np.array(shape[:2]) * spacing
        far = np.hypot(x / (0.42 * extent[0]), y / (0.42 * extent[1]))
        pool = np.hypot((np.abs(x) - 0.09 * extent[0]) / (0.045 * extent[0]), y / (0.12 * extent[1])) < 1
        fluid, grey, white = (part.astype(np.float32) for part in (
            (far < 1) & pool, (far < 1) & ~pool & (far > 0.75), (far < 1) & ~pool & (far <= 0.75)))
        t1, front = 0.25 * fluid + 0.55 * grey + 0.85 * white, 0.42 * extent[1] * np.array([-0.33, 0.33])
    else:
        # The brain's middle in the template's voxels, of 1 mm.
        z = np.full(x.shape, height) if len(shape) == 2 else axes[2] + 77
        t1, fluid, grey, white = (ndimage.map_coordinates(part, [x + 98, y + 117, z], order=1, mode='constant')
                                  for part in _template())
        front = np.array([-30.0, 30.0])
    third = np.searchsorted(front, y)
    inside = fluid + grey + white > 0.5
    # Of the patient as seen: a mirrored template's left is the patient's right.
    sites = np.where(inside, 1 + third + 3 * (axes[0] > 0), 0)
    return Anatomy(*(np.where(inside, part, 0).astype(np.float32) for part in (t1, white, grey, fluid)),
                   sites.astype(np.uint8))


@functools.cache
def _template() -> list[np.ndarray]:
    """T1 as a share of its largest value, and how much of a voxel fluid, grey and white matter are, each smoothed."""
    t1, label, _, _ = mni152.template()
    parts = [t1 / np.float32(t1.max()), *((label == number).astype(np.float32) for number in (1, 2, 3))]
    return [ndimage.gaussian_filter(part.astype(np.float32), 0.9) for part in parts]


def _course(rng: np.random.Generator, anatomy: Anatomy, spacing: float) -> Course:
    white = np.argwhere(anatomy.white > 0.6)
    if not len(white):
        raise InputError('config.data.source: the brain of a simulated patient has no white matter in the image; '
                         'expected a larger shape, or a smaller spacing')
    seed = tuple(white[rng.integers(len(white))].tolist())
    diffusion, rate = (float(np.exp(rng.uniform(*np.log(span)))) for span in (DIFFUSION, RATE))
    radius, dims = rng.uniform(*FOUND), anatomy.t1.ndim
    size = (np.pi * radius**2 if dims == 2 else 4 / 3 * np.pi * radius**3) / spacing**dims
    gaps = tuple(rng.uniform(*BETWEEN, rng.integers(2, 4)).round().tolist())
    foci, arises = {}, {}
    for site in range(1, len(SITES) + 1):
        places = np.argwhere((anatomy.sites == site) & (anatomy.fluid < 0.2))
        has, bright, when = rng.random() < FOCI, rng.uniform(*FOCUS), rng.exponential()
        if len(places):
            place = tuple(places[rng.integers(len(places))].tolist())
            # Where there is no focus a new tumour may arise all the same.
            foci[site] = place, bright if has else 0.0
        arises[site] = float(when / _hazard(foci, site)) if site in foci else np.inf
    for site in sorted(arises, key=arises.get)[NEW:]:
        arises[site] = np.inf
    return Course(seed, diffusion, rate, float(size), gaps, foci, arises)


def _hazard(foci: dict[int, tuple[tuple[int, ...], float]], site: int) -> float:
    """Of a new tumour at a site, 1 / day."""
    return HAZARD[0] + (HAZARD[1] - HAZARD[0]) * (foci[site][1] / FOCUS[1]) ** 2


def _chance(course: Course, site: int) -> float:
    """That a new tumour arises at a site before the visit that is to be told."""
    return float(-np.expm1(-_hazard(course.foci, site) * course.gaps[-1])) if site in course.foci else 0.0


def _ball(shape: Sequence[int], centre: Sequence[int], spacing: float, sigma: float) -> np.ndarray:
    """A Gaussian about a voxel, 1 at its top."""
    axes = [np.exp(-((np.arange(n) - c) * spacing) ** 2 / (2 * sigma**2)) for n, c in zip(shape, centre)]
    return functools.reduce(np.multiply.outer, axes).astype(np.float32)


def _grown(anatomies: Sequence[Anatomy], courses: Sequence[Course], spacing: float) -> list[np.ndarray]:
    """Densities at up to four visits, `[B, 4, *S]`, and of new tumours at the last one, `[B, *S]`."""
    shape = anatomies[0].t1.shape
    tissue = np.stack([a.white + GREY * a.grey for a in anatomies])
    tissue = np.where(tissue > 0.02, tissue, 0)
    begin = np.stack([0.5 * _ball(shape, c.seed, spacing, max(3.0, spacing)) for c in courses]) * (tissue > 0)
    gaps = np.array([[*c.gaps, 0.0][:3] for c in courses])
    last = [c.gaps[-1] for c in courses]
    extra, left = np.zeros((NEW, *begin.shape), np.float32), np.zeros((NEW, len(courses)))
    for number, course in enumerate(courses):
        come = [site for site in course.foci if course.arises[site] < last[number]]
        for slot, site in enumerate(come):
            extra[slot, number] = 0.9 * _ball(shape, course.foci[site][0], spacing, 4.0)
            left[slot, number] = last[number] - course.arises[site]
    extra *= tissue > 0
    numbers = [np.array([getattr(c, name) for c in courses]) for name in ('diffusion', 'rate', 'size')]
    # On the host whatever the device: the same patients everywhere.
    with jax.default_device(jax.local_devices(backend='cpu')[0]):
        made = _compiled(spacing, len(shape))(*(jnp.asarray(part, jnp.float32) for part in (
            begin, tissue, *numbers, gaps, extra, left)))
    return [np.asarray(part) for part in made]


@functools.cache
def _compiled(spacing: float, dims: int) -> Any:
    steps = functools.partial(reaction_diffusion.steps, diffusion=DIFFUSION[1], rate=RATE[1], spacing=(spacing,) * dims)
    grow = functools.partial(reaction_diffusion.simulate, spacing=(spacing,) * dims)
    short, count = steps(BETWEEN[1]), steps(LONGEST)

    def one(begin: jax.Array, tissue: jax.Array, diffusion: jax.Array, rate: jax.Array, size: jax.Array,
            gaps: jax.Array, extra: jax.Array, left: jax.Array) -> tuple[jax.Array, jax.Array]:
        wander = diffusion * tissue

        def until(u: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jnp.where((u > THRESHOLD).sum() >= size, u, grow(u, wander, rate, LONGEST / count, steps=1)), None

        seen = [jax.lax.scan(until, begin, None, length=count)[0]]
        for gap in gaps:
            seen.append(grow(seen[-1], wander, rate, gap, steps=short))
        second = jax.lax.map(lambda each: grow(each[0], wander, rate, each[1], steps=short), (extra, left))
        return jnp.stack(seen), 1 - jnp.prod(1 - second, 0)

    return jax.jit(jax.vmap(one, (0, 0, 0, 0, 0, 0, 1, 1)))


def _image(rng: np.random.Generator, anatomy: Anatomy, course: Course, density: np.ndarray,
           spacing: float) -> np.ndarray:
    """How a visit's images show a brain with a tumour, `[*S, 2]` float32; 0 outside of the brain."""
    shape, inside = density.shape, anatomy.sites > 0
    bright = sum((amount * _ball(shape, place, spacing, 3.0) for place, amount in course.foci.values()),
                 np.zeros(shape, np.float32))
    first = anatomy.t1 * (1 - 0.4 * density) + 0.3 * bright
    second = 0.12 * anatomy.fluid + 0.45 * anatomy.grey + 0.38 * anatomy.white
    second = second + 0.5 * np.sqrt(density) + bright
    made = []
    for channel in (first, second):
        field = ndimage.zoom(rng.normal(0, 0.08, (3,) * len(shape)), np.array(shape) / 3, order=1)
        noisy = channel * np.exp(field) + rng.normal(0, NOISE, shape)
        made.append(np.where(inside, np.maximum(noisy, 0.01), 0).astype(np.float32))
    return np.stack(made, -1)
