"""Checkpoints by Orbax: asynchronous, atomic, verified; the latest few and the best by a named metric."""

import errno
import functools
import gc
import itertools
import logging
import pathlib
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint.experimental.v1 as ocp

from medjax.core import distributed, manifest
from medjax.core.manifest import DamagedCheckpointError
from medjax.errors import InputError

OVERHEAD = 2**18  # bytes that Orbax writes about a state, and then some
AGAIN = 'free some space and rerun the same command: it resumes from the newest complete checkpoint'
SET_ASIDE = 'set_aside'  # folder for checkpoints that a run does not go on from
NO_DAMAGE = ('RESOURCE_EXHAUSTED', 'Too many open files', 'UNAVAILABLE')  # errors that say nothing about the files

LATE_ERRORS = ('Event loop is closed', 'Encountered error while reading array')  # of reads beside a failed one

_policies = ocp.training.preservation_policies


class Checkpoints:
    """The checkpoints of one run, in `folder/STEP/`.

    A save that is killed leaves a folder with Orbax's temporary suffix, which is skipped, and removed by the next save.

    Args:
      folder: where they are kept.
      keep: how many of the latest are kept.
      best: the validation metric, such as 'dice_mean', whose best checkpoint is kept as well; '' for none.
      rank: gives for a value of `best` a number that is higher for better values, and minus infinity for NaN.
      statistics: of the training data, as plain JSON; stored with each checkpoint, for predict needs them.
      say: receives a line about each checkpoint that is damaged or cannot be verified.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2, best: str = '', rank: Callable[[float], float] = float,
                 statistics: Mapping[str, Any] | None = None, say: Callable[[str], None] = print):
        if keep < 1:
            raise InputError(f'config.checkpoint.keep: {keep}; expected at least 1, which a run goes on from')
        for name in ('absl', 'asyncio'):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong in Orbax's threads is raised as well
        self.best, self._rank_value, self._say = best, rank, say
        self._folder, self._keep, self._statistics = folder.resolve(), keep, dict(statistics or {})
        self._orbax: Any = None  # opened by the first save: it removes unfinished saves, and reads damaged files
        self._pending = None

    def _rank(self, metrics: Mapping[str, float]) -> float:
        value = self._rank_value(metrics[self.best])
        return value if value == value else float('-inf')

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, in order."""
        return distributed.on_first(lambda: sorted(
            int(path.name) for path in self._folder.glob('*') if path.name.isdecimal() and path.is_dir()))

    def latest(self) -> int | None:
        """The newest complete checkpoint's step."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step of the best checkpoint by the named metric; None where none was measured.

        Raises:
          DamagedCheckpointError: the metrics of a checkpoint cannot be read, so that the best is not known.
        """
        metrics = {step: self._about(step).metrics for step in self.steps()} if self.best else {}
        measured = [step for step, values in metrics.items() if self.best in values]
        return max(measured, key=lambda step: (self._rank(metrics[step]), step), default=None)

    def _about(self, step: int) -> manifest.Manifest:
        """The metrics and statistics that were stored with a checkpoint."""
        folder = self._folder / str(step)
        return distributed.on_first(
            lambda: _read(folder, lambda: manifest.read(folder) or manifest.read_unverified(folder)))

    def statistics(self, step: int) -> Mapping[str, Any]:
        """The training data's statistics that were stored with a checkpoint."""
        return self._about(step).statistics

    def save(self, step: int, state: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Starts to save `state`; returns once it is copied, and raises what the save before failed with."""
        self.wait()
        if step == self.latest():
            return
        self._open()
        self._check_space(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)))
        stored = {k: float(v) for k, v in (metrics or {}).items()} if self.best in (metrics or {}) else {}
        parts = {'state': state, manifest.NAME: manifest.Pending(state, stored, self._statistics)}
        self._pending = _named(lambda: self._orbax.save_checkpointables_async(
            step, parts, force=True, metrics=stored or None, custom_metadata={manifest.NAME: True}), self._folder)

    def _open(self) -> None:
        if not self._folder.parent.is_dir():
            raise InputError(f'{self._folder.parent}: removed while training; expected the folder of the run to stay')
        if self._orbax is None:
            policies: list[Any] = [_policies.LatestN(self._keep)]
            if self.best:
                policies.append(_policies.BestN(get_metric_fn=self._rank, n=1, keep_checkpoints_without_metrics=False))
            policy: Any = _policies.AnyPreservationPolicy(policies)  # its annotations differ from the checkpointer's
            self._orbax = ocp.training.Checkpointer(str(self._folder), preservation_policy=policy,
                                                    cleanup_tmp_directories=True)

    def _check_space(self, size: int) -> None:
        # Asked beforehand: a save that fails half-way leaves its threads' complaints all over the screen.
        free = shutil.disk_usage(self._folder).free
        if distributed.is_first() and free < size + OVERHEAD:
            raise InputError(f'{self._folder}: no space left for a checkpoint of {size / 1e6:.1f} MB, '
                             f'{free / 1e6:.1f} MB are free; {AGAIN}')

    def wait(self) -> None:
        """Waits until the save under way is complete, so that a kill can no longer lose it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            _named(pending.result, self._folder)

    def resume(self, abstract: Any, from_step: int | None = None) -> tuple[int, Any]:
        """Restores the checkpoint that a training goes on from: the newest whole one, or one that is named.

        Damaged checkpoints, and with `from_step` all later ones, are moved to the folder `set_aside`.

        Args:
          abstract: as for `restore`.
          from_step: the step of a checkpoint.

        Returns:
          The step and the state; 0 and None where there is no checkpoint.

        Raises:
          InputError: no checkpoint has the step `from_step`, it is damaged, or all checkpoints are.
        """
        steps = self.steps()
        if from_step is not None and from_step not in steps:
            raise InputError(f'--from_step={from_step}: no checkpoint of this step in {self._folder}; expected one of: '
                             + (', '.join(map(str, steps)) or 'none'))
        damaged, whole = self._damaged(steps, abstract), None
        for step in reversed(steps) if from_step is None else [from_step]:
            try:
                whole = step, self.restore(step, abstract)
                break
            except DamagedCheckpointError as error:
                damaged[step] = error
        if whole is None:
            if from_step is not None:
                raise damaged[from_step]
            if damaged:
                raise InputError('; '.join(map(str, damaged.values())) + f'; no whole checkpoint is left in '
                                 f'{self._folder}; expected another --workdir, or this one without checkpoints')
            return 0, None
        for step, error in damaged.items():
            self._say(f'warning: {error}; moved to {self._set_aside(step)}; resuming from step {whole[0]}')
        for step in self.steps():
            if from_step is not None and step > from_step:
                self._say(f'step {step} is later than --from_step={from_step}: moved to {self._set_aside(step)}')
        return whole

    def _damaged(self, steps: list[int], abstract: Any) -> dict[int, DamagedCheckpointError]:
        """The checkpoints whose metadata is damaged; a best checkpoint with damaged arrays is only reported."""
        damaged: dict[int, DamagedCheckpointError] = {}
        for step in steps:
            try:
                self._about(step)
            except DamagedCheckpointError as error:
                damaged[step] = error
        best = self.best_step() if not damaged else None
        if best is not None and best != max(steps):
            try:
                self.restore(best, abstract)
            except DamagedCheckpointError as error:
                self._say(f'warning: {error}; it is the best checkpoint by {self.best}: its evaluation will be '
                          'refused, unless a better one follows')
        return damaged

    def _set_aside(self, step: int) -> pathlib.Path:
        """Moves a checkpoint out of the way; returns where to."""
        def move() -> pathlib.Path:
            folder = self._folder / SET_ASIDE
            folder.mkdir(exist_ok=True)
            names = itertools.chain([str(step)], (f'{step}_{number}' for number in itertools.count(2)))
            target = next(folder / name for name in names if not (folder / name).exists())
            return (self._folder / str(step)).rename(target)

        return distributed.on_first(move)

    def restore(self, step: int, abstract: Any) -> Any:
        """Reads a checkpoint into the shapes and onto the devices of `abstract`, and verifies its digests.

        Raises:
          DamagedCheckpointError: a file is missing or damaged.
          InputError: it holds another model or optimiser than `abstract`; the first difference is named.
        """
        folder = self._folder / str(step)
        digests = distributed.on_first(lambda: _read(folder, lambda: manifest.read(folder)))
        if digests is not None:
            layout = digests.layout()
        else:
            layout = _layout(_read(folder, lambda: ocp.metadata(str(folder)).metadata))
            self._say(f'warning: {folder}: saved without digests by an earlier version; it cannot be verified')
        _check_layout(layout, _layout(abstract), folder)
        state = distributed.agreed(lambda: _read(folder, lambda: ocp.load(str(folder), abstract)))
        if digests is not None:
            distributed.agreed(lambda: digests.verify(state, folder))
        return state

    def close(self) -> None:
        """Waits for the last save and frees the threads."""
        self.wait()
        if self._orbax is not None:
            self._orbax.close()


def _layout(tree: Any) -> dict[str, str]:
    """Shape and type of each array, as text."""
    return {path: f'{tuple(leaf.shape)} {leaf.dtype}' for path, leaf in manifest.leaves(tree).items()}


def _check_layout(stored: Mapping[str, str], wanted: Mapping[str, str], folder: pathlib.Path) -> None:
    for path in sorted(set(stored) | set(wanted)):
        if stored.get(path) != wanted.get(path):
            raise InputError(f'{folder}: checkpoint of another model: {path} has shape {stored.get(path, "none")} '
                             f'there; the config makes {wanted.get(path, "none")}')


def _read(folder: pathlib.Path, call: Callable[[], Any]) -> Any:
    """Calls a function that reads a checkpoint, and gives its errors as one line.

    Raises:
      DamagedCheckpointError: the error comes from the content of the files.
      InputError: no permission, or the folder has vanished.
    """
    _silence_late_errors()
    try:
        return call()
    except Exception as error:  # Orbax, TensorStore and JSON raise many types of error for damaged bytes
        failure = _failure(error, folder)
    with warnings.catch_warnings(action='ignore'):
        gc.collect()  # the reads that Orbax has not begun
    raise failure


@functools.cache
def _silence_late_errors() -> None:
    """Silences the reads of other arrays, which Orbax does not wait for after an error."""
    report, unraisable = sys.excepthook, sys.unraisablehook

    def report_others(kind: Any, error: BaseException, trace: Any) -> None:
        if not str(error).startswith(LATE_ERRORS):
            report(kind, error, trace)

    def unraisable_others(about: Any) -> None:
        if not str(about.exc_value).startswith(LATE_ERRORS):
            unraisable(about)

    sys.excepthook, sys.unraisablehook = report_others, unraisable_others


def _failure(error: Exception, folder: pathlib.Path) -> Exception:
    """The error to raise for one that occurred while a checkpoint was read."""
    text = ' '.join(f'{error}'.split())
    if isinstance(error, MemoryError | DamagedCheckpointError) or any(words in text for words in NO_DAMAGE):
        failure = error
    elif isinstance(error, PermissionError) or 'PERMISSION_DENIED' in text:
        failure = InputError(f'{folder}: cannot be read: no permission')
    else:
        files = [name for name in re.findall(r'"(/[^"]+)"', text) if pathlib.Path(name).is_file()]
        where = files[-1] if files else f'{folder}: {type(error).__name__}: {text[:100]}'
        failure = DamagedCheckpointError(f'damaged checkpoint: {where}: cannot be read')
    if isinstance(failure, DamagedCheckpointError) and not folder.exists():
        failure = InputError(f'{folder}: removed while it was read, perhaps by a training that saves there; run the '
                             'command again')
    return failure


def _named(call: Any, directory: Any) -> Any:
    """Runs a save, and gives an error of the file system that a user can mend as one line."""
    try:
        return call()
    except Exception as error:
        text = f'{error} {error.__cause__}'
        if getattr(error, 'errno', None) == errno.ENOSPC or 'No space left' in text or 'RESOURCE_EXHAUSTED' in text:
            raise InputError(f'{directory}: no space left for a checkpoint; {AGAIN}') from error
        if not directory.exists():
            raise InputError(f'{directory}: removed while training; expected the folder of the run to stay') from error
        raise
