"""The random draws of one augmented sample: a table of uniform numbers, looked up by name."""

import dataclasses
import zlib

import jax

WARPS = ('rotate', 'zoom', 'shear', 'shift', 'elastic')
INTENSITIES = ('noise', 'blur', 'brightness', 'contrast', 'low_resolution', 'gamma_inverted', 'gamma')
TRANSFORMS = (*WARPS, *INTENSITIES)
# Names of the rows of a table; their checksums are folded into the sample's key.
DRAWS = (*TRANSFORMS, *(f'{name}?' for name in TRANSFORMS), 'blur channels', 'low_resolution channels',
         'flip 0', 'flip 1', 'flip 2')
THIN = 3.0  # a patch this much thinner along one axis than along another is transformed slice by slice, as in nnU-Net


@dataclasses.dataclass(frozen=True)
class Draws:
    """The random draws of one sample.

    Attributes:
      table: a row of uniform draws for each of `DRAWS`.
      key: the sample's.
      shape: of its image, `*S`.
      channels: of its image.
    """

    table: jax.Array
    key: jax.Array
    shape: tuple[int, ...]
    channels: int

    @property
    def inplane(self) -> list[int]:
        """The axes that are transformed: all, or the two of a thin patch's plane."""
        return [axis for axis, n in enumerate(self.shape) if n * THIN > max(self.shape) or len(self.shape) == 2]

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0, size: int = 0) -> jax.Array:
        """A uniform number from `low` to `high`, or `size` of them."""
        row = low + (high - low) * self.table[DRAWS.index(name)]
        return row[:size] if size else row[0]

    def occurs(self, name: str, probability: float) -> jax.Array:
        """Whether a transform is applied."""
        return self.uniform(f'{name}?') < probability

    def named_key(self, name: str) -> jax.Array:
        """A key for further draws."""
        return jax.random.fold_in(self.key, checksum(name))


def checksum(name: str) -> int:
    """The number of a name that is folded into a key."""
    return zlib.crc32(name.encode())
