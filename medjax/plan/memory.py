"""Rules of what a training step fits into: XLA's analysis of the compiled step, or nnU-Net's count of feature maps."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from medjax.plan.rules import SMALLEST_BATCH, features
from medjax.plan.topology import Topology


class Preset(NamedTuple):
    """A kind of network, with the reference of nnU-Net's count of feature maps.

    Attributes:
      residual: whether the encoder has residual blocks.
      convs: convolutions, or blocks, of each level of the encoder.
      decoder_convs: convolutions of each level of the decoder.
      reference: numbers of feature maps, by the number of dimensions, that `gigabytes` hold.
      gigabytes: of the reference.
      whole: whether the reference is of the reference batch, and not of the smallest one.
      covered: the share of the data set's voxels that a batch covers at most, as nnU-Net's planners have it.
    """

    residual: bool
    convs: tuple[int, ...]
    decoder_convs: int
    reference: dict[int, float]
    gigabytes: float
    whole: bool = True
    covered: float = 1.0


BLOCKS = (1, 3, 4, *(6,) * 12)
PRESETS = {
    'plain': Preset(False, (2,) * 15, 2, {3: 560e6, 2: 85e6}, 8, whole=False, covered=0.05),
    'resenc_m': Preset(True, BLOCKS, 1, {3: 680e6, 2: 135e6}, 8),
    'resenc_l': Preset(True, BLOCKS, 1, {3: 2100e6, 2: 380e6}, 24),
    'resenc_xl': Preset(True, BLOCKS, 1, {3: 3600e6, 2: 560e6}, 40),
}
REFERENCE_BATCH = {3: 2, 2: 12}


def model_fields(levels: Topology, preset: str) -> dict[str, Any]:
    """The options of `models.nnunet` for some levels, but for `classes`; axes are in the order of the levels."""
    kind, count = PRESETS[preset], len(levels.strides)
    return {'name': 'nnunet', 'variant': 'residual' if kind.residual else 'plain', 'dims': len(levels.patch),
            'features': features(levels), 'kernels': levels.kernels, 'strides': levels.strides,
            'convs': kind.convs[:count], 'decoder_convs': (kind.decoder_convs,) * (count - 1)}


@dataclasses.dataclass(frozen=True)
class FeatureMaps:
    """nnU-Net's rule: the number of features of all layers, relative to that of a network measured in PyTorch.

    Attributes:
      gigabytes: of memory.
      preset: a name in PRESETS.
    """

    gigabytes: float
    preset: str = 'plain'
    slow = False

    @property
    def covered(self) -> float:
        """The share of the data set's voxels that a batch covers at most."""
        return PRESETS[self.preset].covered

    def fits(self, levels: Topology, outputs: int, channels: int) -> bool:
        """Whether a step with the smallest batch fits; with the presets of residual networks the reference batch."""
        count, kind = self.count(levels, outputs), PRESETS[self.preset]
        batch = REFERENCE_BATCH[len(levels.patch)]
        return (count if kind.whole else count / batch * SMALLEST_BATCH) <= self._reference(levels)

    def batch(self, levels: Topology, outputs: int, channels: int) -> int:
        """The largest batch that fits."""
        return round(self._reference(levels) / self.count(levels, outputs) * REFERENCE_BATCH[len(levels.patch)])

    def _reference(self, levels: Topology) -> float:
        kind = PRESETS[self.preset]
        return kind.reference[len(levels.patch)] * (self.gigabytes / kind.gigabytes)

    def count(self, levels: Topology, outputs: int) -> int:
        """The number of features of all layers for one patch."""
        kind, widths = PRESETS[self.preset], features(levels)
        sizes, extents = [], list(levels.patch)
        for stride in levels.strides:
            extents = [n // step for n, step in zip(extents, stride)]
            sizes.append(int(np.prod(extents)))
        total = widths[0] * sizes[0] if kind.residual else 0  # of the stem
        for level, (width, size) in enumerate(zip(widths, sizes)):
            total += kind.convs[level] * width * size * (2 if kind.residual else 1)
            if kind.residual and level and (width != widths[level - 1] or max(levels.strides[level]) > 1):
                total += width * size  # of the skip connection
            if level < len(sizes) - 1:
                total += (kind.decoder_convs + 1) * width * size
        return total + outputs * sizes[0]


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """The memory that XLA reports for the compiled training step on the device at hand.

    Attributes:
      gigabytes: of memory, 2**30 bytes each.
      needed: bytes of a step: `(levels, outputs, channels, batch) -> bytes`.
      say: takes a line for each step that is compiled.
      covered: see `Preset`.
    """

    gigabytes: float
    needed: Callable[[Topology, int, int, int], int]
    say: Callable[[str], None] = print
    covered: float = PRESETS['plain'].covered
    slow = True  # each answer takes a compilation

    def fits(self, levels: Topology, outputs: int, channels: int) -> bool:
        """Whether a step with the smallest batch fits."""
        return self.bytes(levels, outputs, channels, SMALLEST_BATCH) <= self.gigabytes * 2**30

    def batch(self, levels: Topology, outputs: int, channels: int) -> int:
        """The largest batch that fits, by the growth from the smallest batch to one more."""
        first, second = (self.bytes(levels, outputs, channels, SMALLEST_BATCH + more) for more in (0, 1))
        room = self.gigabytes * 2**30 - first
        return SMALLEST_BATCH + max(int(room / max(second - first, 1)), 0)

    @functools.lru_cache(None)  # noqa: B019
    def bytes(self, levels: Topology, outputs: int, channels: int, batch: int) -> int:
        """Bytes of a step."""
        found = self.needed(levels, outputs, channels, batch)
        shape = '×'.join(map(str, levels.patch))
        self.say(f'a step of {batch} patches of {shape} takes {found / 2**30:.2f} GiB')
        return found
