"""Beat detection in new recordings with a trained run."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.data.datasets.signals import dicom_case, normalise_leads
from medjax.metrics import ecg_beats
from medjax.tasks.signals.inference import RecordingSegmenter

COLUMNS = ('beat', 'seconds', 'probability', 'interval_ms')


@dataclasses.dataclass(frozen=True)
class SignalPredictor(contracts.Predictor):
    """Detects the beats of new recordings; see `evaluator.predictor`.

    Attributes:
      statistics: statistics of the training data: `rate` and `leads`.
      segmenter: predicts probabilities of a beat.
    """

    statistics: Mapping[str, Any]
    segmenter: RecordingSegmenter

    suffixes = ('.dcm',)

    def outputs(self, path: pathlib.Path) -> tuple[str]:
        """The name of the table of beats."""
        return (f'{path.stem}.csv',)

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        return {'image': np.zeros((1, self.segmenter.window, self.statistics['leads']), np.float32)}

    def warm(self, variables: Any) -> None:
        """Compiles the prediction for a recording of one window; see `contracts.Predictor`."""
        self.segmenter(variables, np.zeros((self.segmenter.window, self.statistics['leads']), np.float32))

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Detects the beats of a DICOM ECG and writes them as `NAME.csv`.

        Args:
          variables: the network's variables.
          path: a DICOM file with a waveform of the training data's leads.
          folder: the output folder. The table has for each beat its number `beat` (from 0), `seconds` from the start,
            `probability`, and `interval_ms` since the previous beat.

        Returns:
          A line with the number of beats and the heart rate.

        Raises:
          InputError: the file has no such waveform.
        """
        recording = dicom_case(str(path), self.statistics['rate'], self.statistics['leads']).read()
        probs = self.segmenter(variables, normalise_leads(recording.values))
        found = ecg_beats.beats_from_probs(probs, recording.rate)
        seconds = np.asarray(found) / recording.rate
        intervals = ['', *(1000 * np.diff(seconds)).tolist()]
        rows = [dict(zip(COLUMNS, (number, float(time), float(probs[sample]), interval)))
                for number, (time, sample, interval) in enumerate(zip(seconds, found, intervals))]
        output = folder / f'{path.stem}.csv'
        atomic_files.write_table(output, rows or [dict.fromkeys(COLUMNS, '')])
        heart_rate = f', {60 / np.median(np.diff(seconds)):.0f} per minute' if len(seconds) > 1 else ''
        return f'{path} → {output}   {len(seconds)} beats{heart_rate}'
