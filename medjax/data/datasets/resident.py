"""Volumes that lie on the device: the host says where each patch is cut, and the step cuts it."""

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.transforms.volumes import flat_axis
from medjax.errors import InputError
from medjax.ops.warp import read_contiguous

if TYPE_CHECKING:
    from medjax.data.datasets.volumes import Volumes


class Resident:
    """The training cases of `Volumes`, normalised, one after the other; `data.pipeline` says what is asked of it.

    Args:
      volumes: the data set; its patches are these, number for number and voxel for voxel.
    """

    def __init__(self, volumes: 'Volumes'):
        self._volumes = volumes
        self._patch, self._context = volumes.patch, volumes.preprocess.context
        self._channels = volumes.training[0].image.shape[-1]

    @functools.cached_property
    def _shapes(self) -> list[tuple[int, int, int]]:
        """Of each case, with what it is filled up with."""
        return [tuple(n + sum(m) for n, m in zip(p.shape, self._volumes.missing(p)))
                for p in self._volumes.training]

    @property
    def size(self) -> float:
        """Bytes on a device; infinite where 32 bits cannot number the intensities."""
        voxels = sum(map(math.prod, self._shapes))
        return voxels * (4 * self._channels + 1) if voxels * self._channels < 2**31 else math.inf

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int, int, int, int]:
        """See `Volumes.place`."""
        return self._volumes.place(number, rng())

    def load(self) -> dict[str, np.ndarray]:
        """`image` float32 and `label` uint8, flat; the cases' `offset`, `shape` and `spacing`."""
        ends = np.cumsum([0, *map(math.prod, self._shapes)])
        images, labels = np.empty((ends[-1], self._channels), np.float32), np.zeros(ends[-1], np.uint8)
        for prepared, shape, first, last in zip(self._volumes.training, self._shapes, ends, ends[1:]):
            if prepared.image.shape[-1] != self._channels:
                raise InputError(f'{prepared.case.id}: {prepared.image.shape[-1]} channels; expected {self._channels}, '
                                 'as the first training case has')
            box = tuple(slice(a, a + n) for (a, _), n in zip(self._volumes.missing(prepared), prepared.shape))
            image = images[first:last].reshape(*shape, self._channels)
            image[:] = self._volumes.air(prepared)[:self._channels]
            image[box] = self._volumes.normalise(prepared, prepared.image)
            labels[first:last].reshape(shape)[box] = prepared.label
        return {'image': images.ravel(), 'label': labels, 'offset': ends[:-1].astype(np.int32),
                'shape': np.array(self._shapes, np.int32),
                'spacing': np.stack([self._volumes.millimetres(p) for p in self._volumes.training])}

    def pick(self, arrays: dict[str, jax.Array], place: jax.Array) -> dict[str, Any]:
        """Cuts one item, as `Volumes.item` does; traceable.

        Args:
          arrays: what `load` gave, on the device.
          place: `[4]` int32.
        """
        case, start = place[0], place[1:]
        offset, shape = arrays['offset'][case], arrays['shape'][case]
        flat = flat_axis(self._patch)

        def voxels(shift: int) -> jax.Array:
            """Numbers of the patch's voxels, or of those so many planes on, `[*patch]`; at the border it stays."""
            number = offset
            for axis, extent in enumerate(self._patch):
                at = start[axis] + jnp.arange(extent).reshape([-1 if a == axis else 1 for a in range(3)])
                at = jnp.clip(at + shift, 0, shape[axis] - 1) if axis == flat else at
                number = number + at * (shape[axis + 1:].prod() if axis < 2 else 1)
            return number if flat is None else number.squeeze(flat)

        planes, count = range(-self._context, self._context + 1), self._channels
        image = jnp.concatenate([read_contiguous(arrays['image'], voxels(shift) * count, count) for shift in planes], -1)
        label = read_contiguous(arrays['label'], voxels(0), 1)[..., 0].astype(jnp.int32)
        return {'image': image, 'label': label, 'spacing': arrays['spacing'][case]}
