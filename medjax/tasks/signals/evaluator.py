"""Evaluates beats recording by recording: how many are found, how many are made up, and how far off they are."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.metrics import column_means
from medjax.core.task import Task
from medjax.data.datasets.signals import Traces, dicom_case, level
from medjax.errors import InputError
from medjax.metrics import ecg_beats

METRICS = ('f1', 'sensitivity', 'precision', 'timing_ms')
CONVENTIONS = (
    'A beat is found where the probability is above one half; its place is the middle of that run, and of two nearer '
    'than 250 ms the longer run stays. Found and true beats are paired where they are at most 150 ms apart '
    '(ANSI/AAMI EC57), the nearest first. Sensitivity is the share of true beats that are paired, precision that of '
    'found ones, F1 both together: with true beats and none found precision is 0, without either all three are not '
    'counted. Timing is the mean distance of the pairs. The detector beside the network is that of Pan and Tompkins '
    '(1985) with one threshold for the whole recording; of recordings without known beats it makes the truth.')


@dataclasses.dataclass(frozen=True)
class WholeTracePredictor:
    """Gives the probability of a beat at each sample of a whole recording, in one pass.

    Attributes:
      task: the problem.
      window: of training; a recording is filled up with its last sample to a multiple of it.
    """

    task: Task
    window: int

    @functools.cached_property
    def _compiled(self) -> Callable[..., jax.Array]:
        return jax.jit(lambda variables, image: self.task.predict(variables, {'image': image})['probs'][0, :, 1])

    def __call__(self, variables: Any, values: np.ndarray) -> np.ndarray:
        """Maps a recording `[L, C]` to `[L]` float64."""
        more = -len(values) % self.window
        image = np.pad(values, [(0, more), (0, 0)], mode='edge').astype(np.float32)
        return np.asarray(jax.device_get(self._compiled(variables, image[None])), np.float64)[:len(values)]


@dataclasses.dataclass(frozen=True)
class BeatEvaluator(contracts.Evaluator):
    """Finds the beats of a split's recordings; see `evaluator`."""

    data: Traces
    task: Task

    metrics = (*METRICS, *(f'detector_{name}' for name in METRICS))
    conventions = CONVENTIONS

    @functools.cached_property
    def _predict_batched(self) -> 'WholeTracePredictor':
        return WholeTracePredictor(self.task, self.data.window)

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per recording: id, patient, how many beats there are and were found, METRICS, the detector's likewise.

        Args:
          variables: the network's.
          split: which recordings.
          quick: without the detector.
          snapshots: a folder beside which `beats_SPLIT.json` goes: where beats are, were found, and probabilities.
        """
        rows, kept = [], {}
        for number in self.data.numbers(split):
            case, trace = self.data.source.cases[number], self.data.traces[number]
            probs = self._predict_batched(variables, trace.values)
            found = ecg_beats.beats_from_probs(probs, trace.rate)
            row = {'split': split, 'id': case.id, 'patient': case.patient, 'beats': len(trace.beats),
                   'found': len(found), **scored(found, trace.beats, trace.rate)}
            if not quick and split != 'test_real':
                told = scored(ecg_beats.detect_beats(trace.values, trace.rate), trace.beats, trace.rate)
                row |= {f'detector_{name}': value for name, value in told.items()}
            rows.append(row)
            kept[case.id] = {'rate': trace.rate, 'true': trace.beats.tolist(), 'found': found.tolist(),
                             'probs': np.round(probs, 3).tolist(), 'lead': np.round(trace.values[:, 0], 3).tolist()}
        if snapshots is not None:
            atomic_files.write_json(snapshots.parent / f'beats_{split}.json', kept)
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means over the recordings; NaN where nothing is counted."""
        means = column_means([{name: float(row[name]) for name in METRICS} for row in rows])
        return {name: means.get(name, float('nan')) for name in METRICS}


def scored(found: np.ndarray, true: np.ndarray, rate: float) -> dict[str, float]:
    """METRICS of found beats against true ones, samples both; see CONVENTIONS."""
    pairs = ecg_beats.match_beats(found, true, rate)
    total = len(found) + len(true)
    off = np.abs(np.asarray(found)[pairs[:, 0]] - np.asarray(true)[pairs[:, 1]]) / rate
    return {'f1': 2 * len(pairs) / total if total else float('nan'),
            'sensitivity': len(pairs) / len(true) if len(true) else float('nan'),
            'precision': len(pairs) / len(found) if len(found) else 0.0 if len(true) else float('nan'),
            'timing_ms': float(1000 * off.mean()) if len(pairs) else float('nan')}


def evaluator(*, data: Traces, task: Task) -> BeatEvaluator:
    """Makes the evaluator of beats.

    Args:
      data: the data set.
      task: the problem, a segmentation with the classes rest and beat.
    """
    if not isinstance(data, Traces) or len(data.source.classes) != 2:
        raise InputError("config.evaluate.name: 'signals' needs traces of two classes; expected config.data.name "
                         "'traces'")
    return BeatEvaluator(data, task)


@dataclasses.dataclass(frozen=True)
class BeatPredictor(contracts.Predictor):
    """Finds the beats of new recordings; see `predictor`."""

    statistics: Mapping[str, Any]
    predict_batched: WholeTracePredictor

    file_per_input = True  # a table for each recording

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        return {'image': np.zeros((1, self.predict_batched.window, self.statistics['leads']), np.float32)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Finds the beats of a DICOM ECG, and writes them as `NAME.csv` in a folder.

        Args:
          variables: the network's.
          path: a DICOM file with a waveform of the training data's leads.
          folder: gets the table: of each beat `beat` (from 0), `seconds` from the start, `probability`, and
            `interval_ms` since the one before.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: a file without such a waveform.
        """
        trace = dicom_case(str(path), self.statistics['rate'], self.statistics['leads']).read()
        probs = self.predict_batched(variables, level(trace.values))
        found = ecg_beats.beats_from_probs(probs, trace.rate)
        times = np.asarray(found) / trace.rate
        between = ['', *(1000 * np.diff(times)).tolist()]
        atomic_files.write_table(folder / f'{path.stem}.csv', [
            {'beat': number, 'seconds': float(time), 'probability': float(probs[place]), 'interval_ms': since}
            for number, (time, place, since) in enumerate(zip(times, found, between))] or [
            dict.fromkeys(('beat', 'seconds', 'probability', 'interval_ms'), '')])
        pace = f', {60 / np.median(np.diff(times)):.0f} a minute' if len(times) > 1 else ''
        return f'{path} → {folder / f"{path.stem}.csv"}   {len(times)} beats{pace}'


def predictor(*, task: Task, statistics: Mapping[str, Any], data: Mapping[str, Any], **_: Any) -> BeatPredictor:
    """Makes what finds the beats of new recordings.

    Args:
      task: the problem.
      statistics: of the training data, as stored with the checkpoint.
      data: the options of `traces.dataset`.
      **_: what else predictors are offered.
    """
    return BeatPredictor(statistics, WholeTracePredictor(task, data.get('window', 512)))
