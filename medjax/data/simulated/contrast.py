"""A simulated second contrast of the MNI152 template: the signal of a spin echo with long TR and TE.

The input is the T1 image of the template. The target is simulated from the fractions of grey matter, white matter and
fluid in each voxel, given by the template's own maps, with the signal of a spin echo, S = PD (1 - exp(-TR / T1))
exp(-TE / T2), summed over the tissues, with Rician noise (Gudbjartsson 1995). The anatomy is real, the contrast
simulated.

The template is symmetric: the right half is the mirror image of the left one, voxel for voxel. So slabs of whole axial
planes are held out, both halves together, and no mirror image of a test plane is in training. A gap of a few mm between
slabs of different splits is left out, because neighbouring planes are nearly the same.
"""

import functools
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from medjax.data.datasets.translation import PAIR, Contrasts
from medjax.data.io.geometry import Image, resample
from medjax.data.source import Case, Source
from medjax.data.sources import mni152
from medjax.errors import InputError
from medjax.options import FractionBelowOne, NonNegativeInt, Positive, Range

NOTICE = ('Real anatomy, simulated contrast: the T1 image is the MNI152 template, averaged from 152 people. The '
          '“T2-like” one is no acquisition, but the spin-echo signal of the template\'s own tissue maps at 3 T (TR '
          '{tr:g} ms, TE {te:g} ms), with Rician noise of {noise:.1%} of the fluid\'s signal, which limits every '
          'method to a PSNR of about {ceiling:.0f} dB. The maps were derived from such images, so a table of '
          'intensities alone comes close, as the baselines show. n = 1: slabs of one brain, held out with both halves, '
          'because the template is symmetric. The results do not show how the network would perform on other people, '
          'on scanners, or on anything that T1 does not show.')
# T1 and T2 in ms and proton density at 3 T. Grey and white matter: Stanisz 2005 (1820 and 99, 1084 and 69 ms). Fluid:
# about that of water, rounded (Lin 2001 measured a T1 of 4.16 s). Densities: water content, rounded.
TISSUES = {'csf': (4200.0, 2000.0, 1.0), 'grey': (1820.0, 99.0, 0.82), 'white': (1084.0, 69.0, 0.7)}
FLUID = 1000.0  # signal of fluid in the images, in arbitrary units
HIGHEST = 154  # mm from the lowest plane: the last plane with brain
VERSION = 1  # of the simulation


def signal(tissue: str, tr: float, te: float) -> float:
    """The spin-echo signal of a tissue of TISSUES, as a fraction of the proton density of fluid.

    Args:
      tissue: its name.
      tr: repetition time, ms.
      te: echo time, ms.
    """
    t1, t2, density = TISSUES[tissue]
    return float(density * (1 - np.exp(-tr / t1)) * np.exp(-te / t2))


def source(*, spacing: Annotated[float, Range(low=0.5, high=8)] = 2.0,
           validation: tuple[NonNegativeInt, NonNegativeInt] = (64, 76),
           test: Sequence[tuple[NonNegativeInt, NonNegativeInt]] = ((36, 48), (96, 108)), gap: NonNegativeInt = 4,
           tr: Positive = 5000.0, te: Positive = 100.0, noise: FractionBelowOne = 0.02,
           seed: NonNegativeInt = 0) -> Source:
    """A translation source with slabs of the brain as cases; the simulation takes some seconds.

    Args:
      spacing: mm of a voxel.
      validation: half-open range of axial planes, mm from the lowest, of the validation slab.
      test: the same for each test slab.
      gap: mm on both sides of these slabs that are left out.
      tr: see `signal`, also for te.
      te: …
      noise: standard deviation of the noise in each of the receiver's two channels, as a fraction of the signal of
        fluid.
      seed: of the noise.

    Raises:
      InputError: slabs that overlap or leave no planes to train; a number out of its range.
    """
    held_out = sorted((int(slab[0]), int(slab[-1])) for slab in (validation, *test))
    ends = [0, *(end for a, b in held_out for end in (a - gap, b + gap)), HIGHEST]
    train = list(zip(ends[::2], ends[1::2]))
    pairs = all(len(slab) == 2 for slab in (validation, *test))
    if not test or not pairs or not all(a + spacing <= b for a, b in (*held_out, *train)) or gap < 0:
        raise InputError(f'config.data.source: validation={tuple(validation)}, test={tuple(map(tuple, test))}, '
                         f'gap={gap}; expected stretches of planes within 0..{HIGHEST} that leave some between them')
    if not 0.5 <= spacing <= 8 or min(tr, te) <= 0 or not 0 <= noise < 1:
        raise InputError(f'config.data.source: spacing={spacing}, tr={tr}, te={te}, noise={noise}; expected 0.5 to 8 '
                         'mm, times above 0, and noise as a fraction')
    slabs = [*((f'train_{a}', 'train', (a, b)) for a, b in train), ('val', 'val', tuple(validation)),
             *((f'test_{a}', 'test', (a, b)) for a, b in sorted(map(tuple, test)))]
    how = (VERSION, spacing, tr, te, noise, seed)
    cases = tuple(Case(id=name, patient='mni152', split=split, files=tuple(map(str, mni152.files())),
                       read=functools.partial(_slab, z, *how[1:]), how=str((*how, z)), target=PAIR)
                  for name, split, z in slabs)
    ceiling = -20 * np.log10(max(noise, 1e-4))
    return Source(cases=cases, classes=('T1', 'T2-like'), problem='translation', channels=('T1',),
                  notice=NOTICE.format(tr=tr, te=te, noise=noise, ceiling=ceiling))


def _slab(z: tuple[int, int], *how: float) -> Contrasts:
    """The planes of a slab, mm from the lowest."""
    views = _brain(*how)
    first, last = (round(end / how[0]) for end in z)
    affine = views.image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (0, 0, first)
    return Contrasts(*(Image(part.array[:, :, first:last], affine, part.path) for part in views))


@functools.lru_cache(2)
def _brain(spacing: float, tr: float, te: float, noise: float, seed: int) -> Contrasts:
    """The whole brain in both contrasts, and its mask."""
    t1, _, affine, path = mni152.template()
    grey, white = mni152.tissue_probabilities()
    inside = (t1 > 0).astype(np.float32)
    fractions = {'grey': grey, 'white': white, 'csf': np.clip(1 - grey - white, 0, 1)}
    ideal = sum(fraction * np.float32(signal(name, tr, te)) for name, fraction in fractions.items()) * inside

    def coarse(array: np.ndarray) -> np.ndarray:
        return resample(Image(array, affine, path), (spacing,) * 3, 'linear').array.astype(np.float32)

    grid = resample(Image(inside, affine, path), (spacing,) * 3, 'linear')
    brain = grid.array > 0.5
    level, sigma = signal('csf', tr, te), noise * FLUID
    rng = np.random.default_rng(seed)
    real, imaginary = (rng.normal(0, sigma, brain.shape) for _ in range(2)) if noise else (0.0, 0.0)
    acquired = np.hypot(coarse(ideal) * (FLUID / level) + real, imaginary)
    return Contrasts(*(Image(np.where(brain, array, 0).astype(kind), grid.affine, path) for array, kind in (
        (coarse(t1.astype(np.float32)), np.float32), (acquired, np.float32), (brain, np.uint8))))
