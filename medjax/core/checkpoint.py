"""Checkpoints by Orbax: asynchronous, atomic, the latest few and the best by a named metric."""

import errno
import logging
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp

from medjax.errors import InputError

OVERHEAD = 2**18  # bytes that Orbax writes about a state, and then some
AGAIN = 'free some space and rerun the same command: it resumes from the newest complete checkpoint'

_policies = ocp.training.preservation_policies


class Checkpoints:
    """The checkpoints of one run, in `folder/STEP/`.

    A save that is killed leaves a folder with Orbax's temporary suffix, which is passed over from then on.

    Args:
      folder: where they are kept.
      keep: how many of the latest are kept.
      best: the validation metric, such as 'dice_mean', whose best checkpoint is kept as well; '' for none.
      rank: gives for a value of `best` a number that is higher for better values, and minus infinity for NaN.
      statistics: of the training data, as plain JSON; stored with each checkpoint, for predict needs them.
      writes: whether this is the run's own view, which clears away what a kill left; others, who may look at a run
        that is still training, must not take its saves under way from it.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2, best: str = '',
                 rank: Callable[[float], float] = float,
                 statistics: Mapping[str, Any] | None = None, writes: bool = True):
        if keep < 1:
            raise InputError(f'config.checkpoint.keep: {keep}; expected at least 1, which a run goes on from')
        logging.getLogger('absl').setLevel(logging.CRITICAL)  # what goes wrong in its threads is raised as well
        self.best, self._rank_value = best, rank
        policies: list[Any] = [_policies.LatestN(keep)]
        if best:
            policies.append(_policies.BestN(get_metric_fn=self._rank, n=1, keep_checkpoints_without_metrics=False))
        self._pending = None
        self._statistics = dict(statistics or {})
        policy: Any = _policies.AnyPreservationPolicy(policies)  # its annotations differ from the checkpointer's
        self._orbax: Any = ocp.training.Checkpointer(str(folder.resolve()), preservation_policy=policy,
                                                     cleanup_tmp_directories=writes)

    def _rank(self, metrics: Mapping[str, float]) -> float:
        value = self._rank_value(metrics[self.best])
        return value if value == value else float('-inf')

    def latest(self) -> int | None:
        """The newest complete checkpoint's step."""
        return self._orbax.latest.step if self._orbax.latest else None

    def best_step(self) -> int | None:
        """The step of the best checkpoint by the named metric; None where none was measured."""
        measured = [c for c in self._orbax.checkpoints if c.metrics and self.best in c.metrics]
        return max(measured, key=lambda c: (self._rank(c.metrics), c.step)).step if measured else None

    def save(self, step: int, state: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Starts to save `state`; returns once it is copied, and raises what the save before failed with."""
        self.wait()
        if step == self.latest():
            return
        self._check_space(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)))
        metrics = {k: float(v) for k, v in (metrics or {}).items()}
        self._pending = _named(lambda: self._orbax.save_async(
            step, state, force=True, metrics=metrics if self.best in metrics else None,
            custom_metadata={'statistics': self._statistics}), self._orbax.directory)

    def _check_space(self, size: int) -> None:
        # Asked beforehand: a save that fails half-way leaves its threads' complaints all over the screen.
        free = shutil.disk_usage(self._orbax.directory).free
        if jax.process_index() == 0 and free < size + OVERHEAD:
            raise InputError(f'{self._orbax.directory}: no space left for a checkpoint of {size / 1e6:.1f} MB, '
                             f'{free / 1e6:.1f} MB are free; {AGAIN}')

    def wait(self) -> None:
        """Waits until the save under way is complete, so that a kill can no longer lose it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            _named(pending.result, self._orbax.directory)

    def restore(self, step: int, abstract: Any) -> Any:
        """Reads a checkpoint into the shapes and onto the devices of `abstract`.

        Raises:
          InputError: where it holds another model or optimiser than `abstract`, naming the first difference.
        """
        found = self._orbax.metadata(step).metadata
        _same_shapes(found, abstract, f'{self._orbax.directory}/{step}')
        return self._orbax.load(step, abstract)

    def statistics(self, step: int) -> dict[str, Any]:
        """The training data's statistics that were stored with a checkpoint."""
        return (self._orbax.metadata(step).custom_metadata or {}).get('statistics', {})

    def close(self) -> None:
        """Waits for the last save and frees the threads."""
        self.wait()
        self._orbax.close()


def _paths(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, 'shape'))
    return {'/'.join(str(getattr(k, 'name', getattr(k, 'key', getattr(k, 'idx', k)))) for k in path): tuple(x.shape)
            for path, x in leaves}


def _same_shapes(found: Any, wanted: Any, where: str) -> None:
    found, wanted = _paths(found), _paths(wanted)
    for path in sorted(set(found) | set(wanted)):
        if found.get(path) != wanted.get(path):
            raise InputError(f'{where}: checkpoint of another model: {path} has shape {found.get(path, "none")} there; '
                             f'the config makes {wanted.get(path, "none")}')


def _named(call: Any, directory: Any) -> Any:
    """Runs a save, and gives an error of the file system that a user can mend as one line."""
    try:
        return call()
    except Exception as error:
        text = f'{error} {error.__cause__}'
        if getattr(error, 'errno', None) == errno.ENOSPC or 'No space left' in text or 'RESOURCE_EXHAUSTED' in text:
            raise InputError(f'{directory}: no space left for a checkpoint; {AGAIN}') from error
        raise
