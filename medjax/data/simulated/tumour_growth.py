"""Simulated patients with a brain tumour that grows from visit to visit, and sometimes a second one.

The tumour follows `ops.reaction_diffusion`: cells divide, and diffuse ten times as fast in white as in grey matter, in
one plane, or in all, of the MNI152 template, which is rotated, stretched and shifted for each patient. The first visit
is when the tumour has reached a certain size; one or two visits follow at irregular times, and then the one to predict.
The images have noise and a sensitivity field; the masks are where the density is above a threshold, below which cells
are only faintly visible. Some sites have a small bright focus: the brighter it is, the likelier a new tumour arises
there.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from medjax.data.datasets.tumour_visits import FollowUp, Scans
from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, UNKNOWN, Case, Source
from medjax.data.sources import mni152
from medjax.errors import InputError
from medjax.ops import reaction_diffusion
from medjax.options import Count, NonNegativeInt, Range

NOTICE = ('A simulation: tumours grown by a reaction–diffusion equation on {map}. The results show how well that '
          'equation is predicted, and have no medical meaning: no mass effect, no treatment, one anatomy. The fitted '
          'simulation beside the network knows the equation, the tissue and the threshold that generated the patients, '
          'which are unknown for real patients.')
MAPS = {'mni152': 'the MNI152 template, the mean of 152 brains, rotated and stretched for each patient',
        'synthetic': 'a drawn map of two tissues'}
SITES = tuple(f'{side} {part}' for side in ('left', 'right') for part in ('posterior', 'middle', 'anterior'))
THRESHOLD = 0.25  # density from which a voxel is in a mask
GREY = 0.1  # diffusion in grey matter, as a fraction of that in white matter
DIFFUSION = (0.03, 0.3)  # mm² / day in white matter: range
RATE = (0.008, 0.03)  # 1 / day
BETWEEN = (40.0, 120.0)  # days between visits
LONGEST = 1200.0  # days until the first visit
FOUND = (6.0, 13.0)  # mm: radius of the disc, or ball, of the tumour's size at the first visit
FOCI = 0.3  # fraction of the sites with a focus
FOCUS = (0.15, 0.5)  # brightness of a focus
HAZARD = (0.0001, 0.008)  # of a new tumour, 1 / day: without a focus, and with the brightest
CHUNK = 32  # patients that are simulated at once
NEW = 2  # largest number of new tumours in a patient
NOISE = 0.04


class Anatomy(NamedTuple):
    """A patient's brain on the image grid, each `[*S]` float32; sites are uint8 from 1, and 0 outside."""

    t1: np.ndarray
    white: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray
    sites: np.ndarray


class Course(NamedTuple):
    """The random parameters of a patient's tumours.

    Attributes:
      seed: voxel at which the tumour starts.
      diffusion: in white matter, mm² / day.
      rate: of cell division, 1 / day.
      size: voxels of the tumour at the first visit.
      gaps: days between visits.
      foci: place and brightness of the focus of each site; brightness 0 where there is none.
      arises: days after the last but one visit at which a new tumour arises at each site; infinite for none.
    """

    seed: tuple[int, ...]
    diffusion: float
    rate: float
    size: float
    gaps: tuple[float, ...]
    foci: dict[int, tuple[tuple[int, ...], float]]
    arises: dict[int, float]


def source(*, cases: tuple[Count, Count, Count] = (600, 100, 150), shape: Sequence[Count] = (64, 80),
           spacing: Annotated[float, Range(low=0.5, high=10)] = 2.5, template: str = 'mni152',
           planes: tuple[Count, Count] = (62, 112), seed: NonNegativeInt = 0) -> Source:
    """A tumour growth source of simulated patients; the simulation takes some seconds.

    Args:
      cases: numbers of training, validation and test patients.
      shape: voxels of an image, x and y, or x, y and z.
      spacing: mm of a voxel.
      template: 'mni152', or 'synthetic', which needs no other package.
      planes: for 2D, the range of axial planes of the template, in mm from the lowest.
      seed: of all draws.

    Raises:
      InputError: an option out of its range.
    """
    if template not in MAPS:
        raise InputError(f'config.data.source.template: {template!r}; expected one of: {", ".join(MAPS)}')
    if len(shape) not in (2, 3) or min(shape) < 16 or not 0.5 <= spacing <= 10:
        raise InputError(f'config.data.source: shape={tuple(shape)}, spacing={spacing}; expected two or three numbers '
                         'of 16 or more, and 0.5 to 10 mm')
    if len(cases) != 3 or min(cases) < 1 or not 0 < planes[0] < planes[1] < 150:
        raise InputError(f'config.data.source: cases={tuple(cases)}, planes={tuple(planes)}; expected numbers of '
                         'training, validation and test patients, and two planes within 1..149')
    patients = _patients(tuple(cases), tuple(shape), float(spacing), template, tuple(planes), seed)
    return Source(cases=patients, classes=('background', 'tumour'), notice=NOTICE.format(map=MAPS[template]),
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
        # Every chunk has the same size, so the simulation compiles once.
        filled = [chunk[min(place, len(chunk) - 1)] for place in range(min(CHUNK, len(drawn)))]
        densities, second = _simulate([each[3] for each in filled], [each[4] for each in filled], spacing)
        out += [_case(*each, densities[place], second[place], spacing) for place, each in enumerate(chunk)]
    return tuple(out)


def _case(name: str, split: str, rng: np.random.Generator, anatomy: Anatomy, course: Course, densities: np.ndarray,
          second: np.ndarray, spacing: float) -> Case:
    """The case of a patient.

    Args:
      name: of the patient.
      split: of the patient.
      rng: draws the images.
      anatomy: of the patient.
      course: of the patient.
      densities: of the tumour at up to four visits, `[4, *S]`.
      second: of new tumours at the last visit, `[*S]`.
      spacing: mm of a voxel.
    """
    visits = list(densities[:len(course.gaps) + 1])
    visits[-1] = 1 - (1 - visits[-1]) * (1 - second)
    times = np.concatenate([[0.0], np.cumsum(course.gaps)])
    occupied = set(np.unique(anatomy.sites[np.max(visits[:-1], 0) > THRESHOLD]).tolist())
    probabilities = [_probability(course, site + 1) for site in range(len(SITES))]
    new = [UNKNOWN if site + 1 in occupied else int(course.arises[site + 1] < course.gaps[-1])
           for site in range(len(SITES))]
    image = np.stack([_image(rng, anatomy, course, density, spacing) for density in visits], -2)
    masks = np.stack([density > THRESHOLD for density in visits], -1).astype(np.uint8)
    flat = image.ndim == 4
    affine = np.diag([spacing, spacing, spacing, 1.0])
    tissue = anatomy.white + GREY * anatomy.grey

    def volume(array: np.ndarray) -> np.ndarray:
        return array[:, :, None] if flat else array

    scans = Scans(Image(volume(image), affine, name), Image(volume(masks), affine, name), volume(anatomy.sites),
                  volume(np.where(tissue > 0.02, tissue, 0).astype(np.float32)))
    columns = {'diffusion': f'{course.diffusion:.4g}', 'rate': f'{course.rate:.4g}'}
    return Case(id=name, patient=name, split=split, read=lambda: scans, columns=columns,
                target=FollowUp(tuple(times.tolist()), SITES, tuple(new), tuple(probabilities), THRESHOLD))


def _anatomy(rng: np.random.Generator, shape: tuple[int, ...], spacing: float, template: str,
             planes: tuple[int, ...]) -> Anatomy:
    """The template, rotated, stretched and shifted for one patient."""
    mirror, turn, stretch = rng.integers(2), rng.normal(0, np.deg2rad(5)), rng.normal(1, 0.05, 2)
    shift, height = rng.normal(0, 3, 2), rng.uniform(*planes)
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * spacing for n in shape], indexing='ij')
    x, y = axes[0] * np.cos(turn) - axes[1] * np.sin(turn), axes[0] * np.sin(turn) + axes[1] * np.cos(turn)
    x, y = (x * stretch[0] + shift[0]) * (-1 if mirror else 1), y * stretch[1] + shift[1]
    if template == 'synthetic':
        t1, fluid, grey, white, borders = _drawn_map(x, y, np.array(shape[:2]) * spacing)
    else:
        # The centre of the brain in voxels of the template, of 1 mm.
        z = np.full(x.shape, height) if len(shape) == 2 else axes[2] + 77
        t1, fluid, grey, white = (ndimage.map_coordinates(part, [x + 98, y + 117, z], order=1, mode='constant')
                                  for part in _template())
        borders = np.array([-30.0, 30.0])
    third = np.searchsorted(borders, y)
    inside = fluid + grey + white > 0.5
    # Sides are those of the patient's image: the left side of a mirrored template is the patient's right.
    sites = np.where(inside, 1 + third + 3 * (axes[0] > 0), 0)
    return Anatomy(*(np.where(inside, part, 0).astype(np.float32) for part in (t1, white, grey, fluid)),
                   sites.astype(np.uint8))


def _drawn_map(x: np.ndarray, y: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, ...]:
    """T1, fluid, grey and white matter of a drawn map at some positions in mm, and the borders of its sites along y."""
    radius = np.hypot(x / (0.42 * extent[0]), y / (0.42 * extent[1]))
    ventricles = np.hypot((np.abs(x) - 0.09 * extent[0]) / (0.045 * extent[0]), y / (0.12 * extent[1])) < 1
    fluid, grey, white = (part.astype(np.float32) for part in (
        (radius < 1) & ventricles, (radius < 1) & ~ventricles & (radius > 0.75),
        (radius < 1) & ~ventricles & (radius <= 0.75)))
    return (0.25 * fluid + 0.55 * grey + 0.85 * white, fluid, grey, white,
            0.42 * extent[1] * np.array([-0.33, 0.33]))


@functools.cache
def _template() -> list[np.ndarray]:
    """T1 as a fraction of its maximum, and the fractions of fluid, grey and white matter in a voxel, each smoothed."""
    t1, label, _, _ = mni152.template()
    parts = [t1 / np.float32(t1.max()), *((label == number).astype(np.float32) for number in (1, 2, 3))]
    return [ndimage.gaussian_filter(part.astype(np.float32), 0.9) for part in parts]


def _course(rng: np.random.Generator, anatomy: Anatomy, spacing: float) -> Course:
    """Draws the parameters of a patient's tumours."""
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
        has_focus, brightness, waiting = rng.random() < FOCI, rng.uniform(*FOCUS), rng.exponential()
        if len(places):
            place = tuple(places[rng.integers(len(places))].tolist())
            # Without a focus a new tumour may arise too, with a low hazard.
            foci[site] = place, brightness if has_focus else 0.0
        arises[site] = float(waiting / _hazard(foci, site)) if site in foci else np.inf
    for site in sorted(arises, key=arises.get)[NEW:]:
        arises[site] = np.inf
    return Course(seed, diffusion, rate, float(size), gaps, foci, arises)


def _hazard(foci: dict[int, tuple[tuple[int, ...], float]], site: int) -> float:
    """The hazard of a new tumour at a site, 1 / day."""
    return HAZARD[0] + (HAZARD[1] - HAZARD[0]) * (foci[site][1] / FOCUS[1]) ** 2


def _probability(course: Course, site: int) -> float:
    """The probability that a new tumour arises at a site between the last two visits."""
    return float(-np.expm1(-_hazard(course.foci, site) * course.gaps[-1])) if site in course.foci else 0.0


def _gaussian(shape: Sequence[int], centre: Sequence[int], spacing: float, sigma: float) -> np.ndarray:
    """A Gaussian about a voxel with the maximum 1."""
    axes = [np.exp(-((np.arange(n) - c) * spacing) ** 2 / (2 * sigma**2)) for n, c in zip(shape, centre)]
    return functools.reduce(np.multiply.outer, axes).astype(np.float32)


def _simulate(anatomies: Sequence[Anatomy], courses: Sequence[Course],
              spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Simulates the tumours of B patients.

    Returns:
      Densities at up to four visits, `[B, 4, *S]`, and of new tumours at the last one, `[B, *S]`.
    """
    shape = anatomies[0].t1.shape
    tissue = np.stack([a.white + GREY * a.grey for a in anatomies])
    tissue = np.where(tissue > 0.02, tissue, 0)
    start = np.stack([0.5 * _gaussian(shape, c.seed, spacing, max(3.0, spacing)) for c in courses]) * (tissue > 0)
    gaps = np.array([[*c.gaps, 0.0][:3] for c in courses])
    last_gaps = [c.gaps[-1] for c in courses]
    new_starts, new_durations = np.zeros((NEW, *start.shape), np.float32), np.zeros((NEW, len(courses)))
    for number, course in enumerate(courses):
        sites = [site for site in course.foci if course.arises[site] < last_gaps[number]]
        for slot, site in enumerate(sites):
            new_starts[slot, number] = 0.9 * _gaussian(shape, course.foci[site][0], spacing, 4.0)
            new_durations[slot, number] = last_gaps[number] - course.arises[site]
    new_starts *= tissue > 0
    parameters = [np.array([getattr(c, name) for c in courses]) for name in ('diffusion', 'rate', 'size')]
    # Computed on the host, so the patients are the same whatever the device.
    with jax.default_device(jax.local_devices(backend='cpu')[0]):
        densities, second = _compiled(spacing, len(shape))(*(jnp.asarray(part, jnp.float32) for part in (
            start, tissue, *parameters, gaps, new_starts, new_durations)))
    return np.asarray(densities), np.asarray(second)


@functools.cache
def _compiled(spacing: float, dims: int) -> Any:
    """The compiled simulation of a chunk of patients; see `_simulate`."""
    steps = functools.partial(reaction_diffusion.stable_steps, diffusion=DIFFUSION[1], rate=RATE[1],
                              spacing=(spacing,) * dims)
    grow = functools.partial(reaction_diffusion.simulate, spacing=(spacing,) * dims)
    gap_steps, first_steps = steps(BETWEEN[1]), steps(LONGEST)

    def simulate_patient(start: jax.Array, tissue: jax.Array, diffusion: jax.Array, rate: jax.Array, size: jax.Array,
                         gaps: jax.Array, new_starts: jax.Array,
                         new_durations: jax.Array) -> tuple[jax.Array, jax.Array]:
        local_diffusion = diffusion * tissue

        def grow_to_size(u: jax.Array, _: None) -> tuple[jax.Array, None]:
            later = grow(u, local_diffusion, rate, LONGEST / first_steps, steps=1)
            return jnp.where((u > THRESHOLD).sum().astype(jnp.float32) >= size, u, later), None

        visits = [jax.lax.scan(grow_to_size, start, None, length=first_steps)[0]]
        for gap in gaps:
            visits.append(grow(visits[-1], local_diffusion, rate, gap, steps=gap_steps))
        second = jax.lax.map(lambda each: grow(each[0], local_diffusion, rate, each[1], steps=gap_steps),
                             (new_starts, new_durations))
        return jnp.stack(visits), 1 - jnp.prod(1 - second, 0)

    return jax.jit(jax.vmap(simulate_patient, (0, 0, 0, 0, 0, 0, 1, 1)))


def _image(rng: np.random.Generator, anatomy: Anatomy, course: Course, density: np.ndarray,
           spacing: float) -> np.ndarray:
    """The images of a visit, T1 and FLAIR, `[*S, 2]` float32; 0 outside the brain."""
    shape, inside = density.shape, anatomy.sites > 0
    foci = sum((brightness * _gaussian(shape, place, spacing, 3.0) for place, brightness in course.foci.values()),
               np.zeros(shape, np.float32))
    t1 = anatomy.t1 * (1 - 0.4 * density) + 0.3 * foci
    flair = 0.12 * anatomy.fluid + 0.45 * anatomy.grey + 0.38 * anatomy.white
    flair = flair + 0.5 * np.sqrt(density) + foci
    images = []
    for channel in (t1, flair):
        field = ndimage.zoom(rng.normal(0, 0.08, (3,) * len(shape)), np.array(shape) / 3, order=1)
        noisy = channel * np.exp(field) + rng.normal(0, NOISE, shape)
        images.append(np.where(inside, np.maximum(noisy, 0.01), 0).astype(np.float32))
    return np.stack(images, -1)
