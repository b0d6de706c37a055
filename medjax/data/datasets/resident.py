"""Training data in device memory: the host draws places, and the train step picks the items there."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.transforms.volumes import flat_axis
from medjax.ops.warp import read_contiguous

Generator = Callable[[], np.random.Generator]  # creates an item's generator, which takes time


class Resident(Protocol):
    """`core.contracts.Resident`, which this layer may not import."""

    @property
    def size(self) -> float:
        """Bytes on a device; infinity where the data cannot be kept there."""
        ...

    def load(self) -> Mapping[str, np.ndarray]:
        """The arrays to keep on the device."""
        ...

    def place(self, number: int, rng: Generator) -> tuple[int, ...]:
        """Where item `number` is in these arrays; equally many integers for every item."""
        ...

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """The item at a place, equal to the data set's `item` without its id; traceable."""
        ...


def _no_choices(number: int, rng: Generator) -> tuple[int, ...]:
    return ()


def _whole_row(row: dict[str, jax.Array], choices: jax.Array) -> dict[str, jax.Array]:
    return row


@dataclasses.dataclass(frozen=True)
class ResidentRows:
    """Training items that are rows of arrays, or are selected from a row.

    Attributes:
      size: bytes on a device.
      rows: returns arrays, each with a first axis of training items.
      choices: `(number, rng)`, the integers by which an item is selected from its row; none by default.
      select: `(row, choices)`, the item; traceable. The row itself by default.
    """

    size: float
    rows: Callable[[], Mapping[str, np.ndarray]]
    choices: Callable[[int, Generator], tuple[int, ...]] = _no_choices
    select: Callable[[dict[str, jax.Array], jax.Array], dict[str, jax.Array]] = _whole_row

    def load(self) -> Mapping[str, np.ndarray]:
        """All rows."""
        return self.rows()

    def place(self, number: int, rng: Generator) -> tuple[int, ...]:
        """The item's number, which is that of its row, and its choices."""
        return (number, *self.choices(number, rng))

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """The item at a place; traceable."""
        return self.select({name: array[place[0]] for name, array in arrays.items()}, place[1:])


@dataclasses.dataclass(frozen=True)
class ResidentPatches:
    """Training volumes, one after another, from which patches are cut.

    Attributes:
      shapes: `(X, Y, Z)` of each volume.
      spacings: mm of each volume along the axes of its patches.
      channels: C, of all volumes.
      patch: extents of a patch; one of them 1 for 2D patches.
      context: neighbouring slices on each side of a 2D patch that become channels.
      fill: `(number, image, label)`, writes a volume's normalised intensities `[X, Y, Z, C]` and labels `[X, Y, Z]`.
      first_voxel: `(number, rng)`, the volume of an item, and the first voxel of its patch.
    """

    shapes: Sequence[tuple[int, int, int]]
    spacings: Sequence[np.ndarray]
    channels: int
    patch: tuple[int, int, int]
    context: int
    fill: Callable[[int, np.ndarray, np.ndarray], None]
    first_voxel: Callable[[int, np.random.Generator], tuple[int, int, int, int]]

    @property
    def size(self) -> float:
        """Bytes on a device; infinity where the intensities are too many for 32-bit indices."""
        voxels = sum(map(math.prod, self.shapes))
        return voxels * (4 * self.channels + 1) if voxels * self.channels < 2**31 else math.inf

    def place(self, number: int, rng: Generator) -> tuple[int, int, int, int]:
        """The item's volume, and the first voxel of its patch."""
        return self.first_voxel(number, rng())

    def load(self) -> dict[str, np.ndarray]:
        """`image` float32 and `label` uint8, flat, and `offset`, `shape` and `spacing` of each volume."""
        ends = np.cumsum([0, *map(math.prod, self.shapes)])
        images, labels = np.empty((ends[-1], self.channels), np.float32), np.zeros(ends[-1], np.uint8)
        for number, (shape, first, last) in enumerate(zip(self.shapes, ends, ends[1:])):
            self.fill(number, images[first:last].reshape(*shape, self.channels), labels[first:last].reshape(shape))
        return {'image': images.ravel(), 'label': labels, 'offset': ends[:-1].astype(np.int32),
                'shape': np.array(self.shapes, np.int32), 'spacing': np.stack(self.spacings)}

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, Any]:
        """A patch: `image [*S, C]`, `label [*S]` int32 and `spacing`; traceable.

        Args:
          arrays: the result of `load`, on the device.
          place: `[4]` int32.
        """
        case, start = place[0], place[1:]
        offset, shape = arrays['offset'][case], arrays['shape'][case]
        flat, count = flat_axis(self.patch), self.channels

        def voxels(shift: int) -> jax.Array:
            """Indices `[*patch]` of the patch's voxels, `shift` slices further, up to the border's slice."""
            index = offset
            for axis, extent in enumerate(self.patch):
                position = start[axis] + jnp.arange(extent).reshape([-1 if a == axis else 1 for a in range(3)])
                if axis == flat:
                    position = jnp.clip(position + shift, 0, shape[axis] - 1)
                index = index + position * (shape[axis + 1:].prod() if axis < 2 else 1)
            return index if flat is None else index.squeeze(flat)

        slices = [read_contiguous(arrays['image'], voxels(shift) * count, count)
                  for shift in range(-self.context, self.context + 1)]
        label = read_contiguous(arrays['label'], voxels(0), 1)[..., 0].astype(jnp.int32)
        return {'image': jnp.concatenate(slices, -1), 'label': label, 'spacing': arrays['spacing'][case]}
