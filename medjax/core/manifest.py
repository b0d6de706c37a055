"""The manifest of a checkpoint: digests of its arrays and metrics, written in the same save and verified on restore."""

import asyncio
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from medjax import atomic_files
from medjax.core import distributed
from medjax.errors import InputError

NAME = 'manifest'  # of its folder in a checkpoint, and the mark in Orbax's metadata that there is one
METADATA = '_CHECKPOINT_METADATA'  # Orbax's file


class DamagedCheckpointError(InputError):
    """A checkpoint whose files are missing, cannot be read, or do not have their digests."""


class Pending:
    """A manifest to be written by Orbax, as a part of the checkpoint that it is about.

    Args:
      state: copied here, since the next step overwrites its memory; the digests are computed in Orbax's thread.
      metrics: of the validation at this step.
      statistics: of the training data.
    """

    def __init__(self, state: Any, metrics: Mapping[str, float], statistics: Mapping[str, Any]):
        self._arrays = {path: distributed.host_array(leaf) for path, leaf in leaves(state).items()}
        self._about = {'metrics': dict(metrics), 'statistics': dict(statistics)}

    async def save(self, directory: Any) -> Any:
        """Returns the task that writes the manifest, for Orbax to wait for."""
        return self._write(directory)

    async def _write(self, directory: Any) -> None:
        folder = pathlib.Path(str(await directory.await_creation()))
        if not distributed.is_first():
            return
        content = await asyncio.to_thread(self._content)
        (folder / f'{NAME}.json').write_text(json.dumps(content))

    def _content(self) -> dict[str, Any]:
        arrays = {path: _described(array) for path, array in self._arrays.items()}
        content = json.loads(json.dumps({'arrays': arrays, **self._about}))  # as it will be read
        return {**content, 'sha256': _digest(content)}

    async def load(self, directory: Any) -> Any:
        """Not supported: `read` reads manifests."""
        raise NotImplementedError(directory)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A manifest that was read, and agrees with its own digest.

    Attributes:
      arrays: for each path of the state its `shape`, `dtype` and the `sha256` of its bytes in row-major order.
      metrics: of the validation at this step; empty where none was measured.
      statistics: of the training data.
    """

    arrays: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, float]
    statistics: Mapping[str, Any]

    def layout(self) -> dict[str, str]:
        """Shape and type of each array, as text."""
        return {path: f'{tuple(array["shape"])} {array["dtype"]}' for path, array in self.arrays.items()}

    def verify(self, state: Any, folder: pathlib.Path) -> None:
        """Compares a restored state with the digests.

        Args:
          state: the state.
          folder: of the checkpoint, for the message.

        Raises:
          DamagedCheckpointError: an array differs from the one that was saved.
        """
        for path, array in leaves(state).items():
            if _described(distributed.host_array(array)) != self.arrays[path]:
                raise DamagedCheckpointError(f'{folder}: damaged checkpoint: {path} does not have the digest in '
                                             f'{NAME}/{NAME}.json')


def leaves(state: Any) -> dict[str, Any]:
    """The arrays of a state, or their shapes, by path, such as 'params/conv/kernel'."""
    with_paths = jax.tree_util.tree_leaves_with_path(state, is_leaf=lambda x: hasattr(x, 'shape'))
    return {'/'.join(str(getattr(k, 'name', getattr(k, 'key', getattr(k, 'idx', k)))) for k in path): leaf
            for path, leaf in with_paths}


def read(folder: pathlib.Path) -> Manifest | None:
    """The manifest of the checkpoint in a folder; None for one of an earlier version, which has none.

    Raises:
      DamagedCheckpointError: the manifest or Orbax's metadata is missing or damaged, or the metrics that Orbax stored
        are not those of the manifest.
    """
    try:
        custom = atomic_files.read_json(folder / METADATA).get('custom_metadata')
        path = folder / NAME / f'{NAME}.json'
        if not (isinstance(custom, dict) and custom.get(NAME)) and not path.exists():
            return None
        content = atomic_files.read_json(path)
        stored = _stored_metrics(folder)
    except InputError as error:
        raise DamagedCheckpointError(f'damaged checkpoint: {error}') from error
    digest = content.pop('sha256', None)
    if digest != _digest(content):
        raise DamagedCheckpointError(f'{folder}: damaged checkpoint: {path} does not have its own digest')
    if _digest(stored) != _digest(content['metrics']):
        raise DamagedCheckpointError(f'{folder}: damaged checkpoint: metrics/metrics differs from {path}')
    return Manifest(content['arrays'], content['metrics'], content['statistics'])


def read_unverified(folder: pathlib.Path) -> Manifest:
    """The metrics and statistics of a checkpoint of an earlier version, which has no digests.

    Raises:
      DamagedCheckpointError: a file is missing or damaged.
    """
    try:
        custom = atomic_files.read_json(folder / METADATA).get('custom_metadata') or {}
        return Manifest({}, _stored_metrics(folder), custom.get('statistics', {}))
    except (InputError, AttributeError) as error:
        raise DamagedCheckpointError(f'damaged checkpoint: {error}') from error


def _stored_metrics(folder: pathlib.Path) -> dict[str, float]:
    """The metrics in Orbax's own file; empty where there is none."""
    path = folder / 'metrics' / 'metrics'
    return atomic_files.read_json(path) if path.exists() else {}


def _described(array: np.ndarray) -> dict[str, Any]:
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return {'shape': list(array.shape), 'dtype': str(array.dtype), 'sha256': hashlib.sha256(content.data).hexdigest()}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
