"""Evaluation of beat detection: sensitivity, precision and timing of the beats of each recording."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax.core import contracts, distributed
from medjax.core.metrics import column_means
from medjax.core.task import Task
from medjax.data.datasets.signals import SignalDataset
from medjax.errors import InputError
from medjax.metrics import ecg_beats
from medjax.tasks.signals import snapshot, table
from medjax.tasks.signals.inference import RecordingSegmenter
from medjax.tasks.signals.predictor import SignalPredictor

REAL = 'test_real'  # the split of recordings without annotations, whose reference is the detector's
CONVENTIONS = (
    'A beat is found where the probability exceeds one half; it is placed in the middle of that run, and of two runs '
    'closer than 250 ms the longer one is kept. Found and true beats are matched if they are at most 150 ms apart '
    '(ANSI/AAMI EC57), the nearest first. Sensitivity is the fraction of true beats that are matched, precision that '
    'of found beats, and F1 their harmonic mean. With true beats but none found, precision is 0; without both, all '
    'three are not defined. Timing is the mean distance of matched beats. The baseline detector is that of Pan and '
    'Tompkins (1985) with one threshold for the whole recording; for recordings without annotations it is the '
    'reference.')


@dataclasses.dataclass(frozen=True)
class SignalEvaluator(contracts.Evaluator):
    """Detects the beats in the recordings of a split; see `evaluator`."""

    data: SignalDataset
    task: Task

    metrics = table.COLUMNS
    conventions = CONVENTIONS

    @functools.cached_property
    def _segmenter(self) -> RecordingSegmenter:
        return RecordingSegmenter(self.task, self.data.window)

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """Returns a row for each recording of a split: id, patient, numbers of beats, and metrics.

        Args:
          variables: the network's variables.
          split: the split's name.
          quick: whether to leave the baseline detector out, for validation during training.
          snapshots: folder beside which snapshots of the recordings are saved, which the report shows.
        """
        def row_and_snapshot(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
            case, recording = self.data.source.cases[number], self.data.recordings[number]
            probs = self._segmenter(variables, recording.values)
            found = ecg_beats.beats_from_probs(probs, recording.rate)
            detected = None
            if not quick and split != REAL:
                detected = ecg_beats.detect_beats(recording.values, recording.rate)
            return ({'split': split, 'id': case.id, 'patient': case.patient,
                     **table.case_columns(found, recording.beats, recording.rate, detected)},
                    snapshot.recording(recording.rate, recording.beats, found, probs, recording.values[:, 0]))

        pairs = distributed.mapped(row_and_snapshot, self.data.numbers(split))
        rows = [row for row, _ in pairs]
        if snapshots is not None:
            snapshot.save(snapshots.parent, split, {row['id']: kept for row, kept in pairs})
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means of the metrics over the recordings; NaN where one is not defined."""
        means = column_means([{name: float(row[name]) for name in table.METRICS} for row in rows])
        return {name: means.get(name, float('nan')) for name in table.METRICS}


def evaluator(*, data: SignalDataset, task: Task) -> SignalEvaluator:
    """The evaluator of beat detection.

    Args:
      data: the data set.
      task: a segmentation task with the classes rest and beat.

    Raises:
      InputError: the data set has no signals, or other than two classes.
    """
    if not isinstance(data, SignalDataset) or len(data.source.classes) != 2:
        raise InputError("config.evaluate.name: 'signals' needs signals with two classes; expected config.data.name "
                         "'signals'")
    return SignalEvaluator(data, task)


def predictor(*, task: Task, statistics: Mapping[str, Any], data: Mapping[str, Any], **_: Any) -> SignalPredictor:
    """The predictor of new recordings, which detects beats as the evaluator does.

    Args:
      task: the task.
      statistics: statistics of the training data, as stored with the checkpoint.
      data: the options of `data.datasets.signals.dataset`.
      **_: other options, which are ignored.
    """
    return SignalPredictor(statistics, RecordingSegmenter(task, data.get('window', 512)))
