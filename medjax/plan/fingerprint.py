"""The fingerprint of a data set: spacings, shapes, intensities and volumes of classes of its training images."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np

from medjax.data.io.geometry import spacing
from medjax.data.source import Source
from medjax.data.transforms.volumes import VolumePreprocess
from medjax.errors import InputError
from medjax.ops.labels import IGNORED

SAMPLED = 10_000  # voxels of each case whose intensities are kept


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """The training images of a data set; axes are in the order that the caller chooses.

    Attributes:
      spacings: of each case, mm.
      shapes: of each case after cropping, voxels.
      channels: names.
      outputs: the number of labels, with the background and the ignore label.
      cropped: the median of the share of a volume that cropping leaves.
      intensities: of each channel, mean, standard deviation, and the percentiles 0.5, 50 and 99.5 of labelled voxels.
      volumes: of each class but the background, the median over the cases that have it, ml.
      cases: of each class but the background, the number of cases that have it.
    """

    spacings: tuple[tuple[float, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    channels: tuple[str, ...]
    outputs: int
    cropped: float = 1.0
    intensities: tuple[dict[str, float], ...] = ()
    volumes: dict[str, float] = dataclasses.field(default_factory=dict)
    cases: dict[str, int] = dataclasses.field(default_factory=dict)

    def reversed(self) -> 'Fingerprint':
        """A fingerprint with the axes in the opposite order."""
        return dataclasses.replace(self, spacings=tuple(one[::-1] for one in self.spacings),
                                   shapes=tuple(one[::-1] for one in self.shapes))


def fingerprint(source: Source, say: Callable[[str], None]) -> Fingerprint:
    """The fingerprint of a source's training and validation cases, with axes x, y, z in RAS+.

    Args:
      source: the cases, each with an image and a label.
      say: takes lines on the progress.

    Raises:
      InputError: no such case, or one that cannot be read.
    """
    cases = [case for case in source.cases if case.split in ('train', 'val')]
    if not cases:
        raise InputError('config.data.source: no case that trains; expected some')
    preprocess, began, said = VolumePreprocess(), time.monotonic(), time.monotonic()
    rows, samples, volumes = [], [], {name: [] for name in source.classes[1:]}
    for number, case in enumerate(cases, 1):
        image, label = case.read()
        voxels = np.prod(image.array.shape[:3])
        image, label, _ = preprocess.to_grid(image, label)
        rows.append((spacing(image.affine), image.array.shape[:3], np.prod(image.array.shape[:3]) / voxels))
        samples.append(_foreground(image.array, label.array))
        _add_volumes(volumes, label.array, float(np.prod(spacing(image.affine))) / 1000)
        now = time.monotonic()
        if now - said > 5 or number == len(cases):
            left = (now - began) / number * (len(cases) - number)
            say(f'fingerprint: {number} of {len(cases)} cases, {left:.0f} s left')
            said = now
    spacings, shapes, shares = zip(*rows)
    return Fingerprint(spacings, shapes, source.channels, len(source.classes), float(np.median(shares)),
                       _statistics(np.concatenate(samples)),
                       {name: float(np.median(found)) for name, found in volumes.items() if found},
                       {name: len(found) for name, found in volumes.items()})


def _foreground(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Intensities `[n, C]` of up to SAMPLED labelled voxels, evenly spaced."""
    voxels = image[(label > 0) & (label != IGNORED)]
    return voxels[np.linspace(0, len(voxels) - 1, min(len(voxels), SAMPLED)).astype(int)] if len(voxels) else voxels


def _add_volumes(volumes: dict[str, list[float]], label: np.ndarray, millilitres: float) -> None:
    """Adds the volume of each class that a label has."""
    for number, name in enumerate(volumes, 1):
        count = np.count_nonzero(label == number)
        if count:
            volumes[name].append(count * millilitres)


def _statistics(voxels: np.ndarray) -> tuple[dict[str, float], ...]:
    """Statistics of the intensities `[n, C]`; none where there are no voxels."""
    if not len(voxels):
        return ()
    out = []
    for channel in voxels.astype(np.float64).T:
        low, median, high = np.percentile(channel, (0.5, 50, 99.5))
        out.append({'mean': float(channel.mean()), 'std': float(channel.std()), 'low': float(low),
                    'median': float(median), 'high': float(high)})
    return tuple(out)


def median_shape(found: Fingerprint, target: Sequence[float]) -> np.ndarray:
    """The median over the cases of their shapes after resampling to a spacing, `[3]`; it may have halves."""
    shapes = [[round(one / new * n) for one, new, n in zip(spacings, target, shape)]
              for spacings, shape in zip(found.spacings, found.shapes)]
    return np.median(shapes, 0)
