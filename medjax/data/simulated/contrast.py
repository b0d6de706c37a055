"""A second contrast for the MNI152 template: what a spin echo with long times would show of its tissues.

The template's T1 image is what is given. What is to be made of it is simulated: of each voxel's shares of grey and
white matter and of fluid, which the template's own maps say, by the signal of a spin echo, S = PD (1 - exp(-TR / T1))
exp(-TE / T2), summed by the shares, with Rician noise (Gudbjartsson 1995). Real anatomy, simulated contrast.

The template is symmetric, the right half the mirror image of the left voxel for voxel. So slabs of whole axial planes
are held out, both halves together: no mirror image of a test plane is in training. Between slabs of different splits a
few mm are left out, for neighbouring planes are nearly alike.
"""

import functools
from collections.abc import Sequence

import numpy as np

from medjax.data.datasets.translation import PAIR, Views
from medjax.data.io.geometry import Image, resample
from medjax.data.source import Case, Source
from medjax.data.sources import mni152
from medjax.errors import InputError

NOTICE = ('Real anatomy, simulated contrast: the T1 image is the MNI152 template, averaged from 152 people; the '
          '“T2-like” one is no acquisition, but the spin-echo signal of the template\'s own tissue maps at 3 T (TR '
          '{tr:g} ms, TE {te:g} ms), with Rician noise of {noise:.1%} of the fluid\'s signal, which alone keeps every '
          'method below a PSNR of about {ceiling:.0f} dB. Those maps were found from such images, so that a table of '
          'intensities alone comes near, as the figures beside the network\'s show. n = 1: slabs of one brain, held '
          'out with both halves, for the template mirrors itself; nothing here says how the network would do on other '
          'people, on scanners, or on anything that T1 does not show.')
# T1 and T2 in ms and proton density at 3 T. Grey and white matter: Stanisz 2005 (1820 and 99, 1084 and 69 ms). Fluid:
# about water's, in round numbers (Lin 2001 measured a T1 of 4.16 s). Densities: water's share, in round numbers.
TISSUES = {'csf': (4200.0, 2000.0, 1.0), 'grey': (1820.0, 99.0, 0.82), 'white': (1084.0, 69.0, 0.7)}
FLUID = 1000.0  # what the signal of fluid is in the images, whose unit is arbitrary
HIGHEST = 154  # mm from the lowest plane: the last one that shows some of the brain
VERSION = 1  # of the simulation


def signal(tissue: str, tr: float, te: float) -> float:
    """What a spin echo gives of a tissue of TISSUES, as a share of what there is at once of fluid.

    Args:
      tissue: its name.
      tr: ms from excitation to excitation.
      te: ms to the echo.
    """
    t1, t2, density = TISSUES[tissue]
    return float(density * (1 - np.exp(-tr / t1)) * np.exp(-te / t2))


def source(*, spacing: float = 2.0, validation: Sequence[int] = (64, 76),
           test: Sequence[Sequence[int]] = ((36, 48), (96, 108)), gap: int = 4, tr: float = 5000.0,
           te: float = 100.0, noise: float = 0.02, seed: int = 0) -> Source:
    """Simulates the contrast, which takes some seconds, and cuts the brain into slabs.

    Args:
      spacing: mm of a voxel.
      validation: first and last-but-one axial plane, mm from the lowest, of the slab that validates.
      test: the same for each slab that tests.
      gap: mm on both sides of these slabs that are left out.
      tr: see `signal`, as for te.
      te: …
      noise: standard deviation of the noise in each of the two channels of the receiver, as a share of the signal of
        fluid; drawn once for each voxel, by the seed.
      seed: of the noise.
    """
    held = sorted((int(slab[0]), int(slab[-1])) for slab in (validation, *test))
    ends = [0, *(end for a, b in held for end in (a - gap, b + gap)), HIGHEST]
    stretches = list(zip(ends[::2], ends[1::2]))
    if not test or any(len(slab) != 2 for slab in (validation, *test)) or not all(
            a + spacing <= b for a, b in (*held, *stretches)) or gap < 0:
        raise InputError(f'config.data.source: validation={tuple(validation)}, test={tuple(map(tuple, test))}, '
                         f'gap={gap}; expected stretches of planes within 0..{HIGHEST} that leave some between them')
    if not 0.5 <= spacing <= 8 or min(tr, te) <= 0 or not 0 <= noise < 1:
        raise InputError(f'config.data.source: spacing={spacing}, tr={tr}, te={te}, noise={noise}; expected 0.5 to 8 '
                         'mm, times above 0, and noise as a share')
    parts = [*((f'train_{a}', 'train', (a, b)) for a, b in stretches), ('val', 'val', tuple(validation)),
             *((f'test_{a}', 'test', (a, b)) for a, b in sorted(map(tuple, test)))]
    how = (VERSION, spacing, tr, te, noise, seed)
    cases = tuple(Case(id=name, patient='mni152', split=split, files=tuple(map(str, mni152.files())),
                       read=functools.partial(_slab, z, *how[1:]), how=str((*how, z)), target=PAIR)
                  for name, split, z in parts)
    ceiling = -20 * np.log10(max(noise, 1e-4))
    return Source(cases=cases, classes=('T1', 'T2-like'), problem='translation', channels=('T1',),
                  notice=NOTICE.format(tr=tr, te=te, noise=noise, ceiling=ceiling))


def _slab(z: tuple[int, int], *how: float) -> Views:
    """The planes of a slab, mm from the lowest."""
    views = _brain(*how)
    first, last = (round(end / how[0]) for end in z)
    affine = views.image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (0, 0, first)
    return Views(*(Image(part.array[:, :, first:last], affine, part.path) for part in views))


@functools.lru_cache(2)
def _brain(spacing: float, tr: float, te: float, noise: float, seed: int) -> Views:
    """The whole brain in both contrasts, and where it is."""
    t1, _, affine, path = mni152.template()
    grey, white = mni152.shares()
    inside = (t1 > 0).astype(np.float32)
    shares = {'grey': grey, 'white': white, 'csf': np.clip(1 - grey - white, 0, 1)}
    ideal = sum(share * np.float32(signal(name, tr, te)) for name, share in shares.items()) * inside

    def coarse(array: np.ndarray) -> np.ndarray:
        return resample(Image(array, affine, path), (spacing,) * 3, 'linear').array.astype(np.float32)

    grid = resample(Image(inside, affine, path), (spacing,) * 3, 'linear')
    brain = grid.array > 0.5
    level, sigma = signal('csf', tr, te), noise * FLUID
    rng = np.random.default_rng(seed)
    real, imaginary = (rng.normal(0, sigma, brain.shape) for _ in range(2)) if noise else (0.0, 0.0)
    acquired = np.hypot(coarse(ideal) * (FLUID / level) + real, imaginary)
    return Views(*(Image(np.where(brain, array, 0).astype(kind), grid.affine, path) for array, kind in (
        (coarse(t1.astype(np.float32)), np.float32), (acquired, np.float32), (brain, np.uint8))))
