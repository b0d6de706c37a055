"""Signals such as ECGs, cut into windows in which each sample has a class."""

import dataclasses
import functools
import hashlib
import importlib.resources
import pathlib
from typing import Any

import numpy as np

from medjax.data.datasets.base import Dataset, untrained_classes
from medjax.data.source import Case, Source
from medjax.errors import InputError
from medjax.metrics import ecg_beats
from medjax.options import Count, Positive


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """The result of `Case.read` for signals.

    Attributes:
      values: `[L, C]` float64, a column for each lead, in any unit.
      rate: samples a second.
      beats: `[N]` int, the samples of the R peaks.
    """

    values: np.ndarray
    rate: float
    beats: np.ndarray


@dataclasses.dataclass(frozen=True)
class SignalDataset(Dataset):
    """A data set of recordings.

    Attributes:
      source: the cases as stored.
      window: samples of a training window.
      width: seconds around an R peak that are labelled as a beat.
    """

    source: Source
    window: int = 512
    width: float = 0.1

    @functools.cached_property
    def recordings(self) -> tuple[Recording, ...]:
        """All recordings, with normalised leads."""
        recordings = [case.read() for case in self.source.cases]
        return tuple(dataclasses.replace(recording, values=normalise_leads(recording.values))
                     for recording in recordings)

    @functools.cached_property
    def warnings(self) -> list[str]:
        """A line where no training recording has a beat."""
        counts = {split: np.array([sum(len(self.recordings[number].beats) for number in numbers)])
                  for split, numbers in self._numbers.items()}
        return untrained_classes(self.source.classes[1:], counts, len(self._numbers['train']))

    @property
    def case_values(self) -> dict[str, list[float]]:
        """Duration and number of beats of every recording."""
        return {'Duration (s)': [len(recording.values) / recording.rate for recording in self.recordings],
                'Beats': [float(len(recording.beats)) for recording in self.recordings]}

    @property
    def statistics(self) -> dict[str, Any]:
        """Classes, sampling rate, number of leads and width of a beat; stored with each checkpoint."""
        first = self.recordings[0]
        return {'classes': list(self.source.classes), 'rate': first.rate, 'leads': first.values.shape[1],
                'width': self.width}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over recordings, beats, patients and splits."""
        digest = hashlib.sha256()
        for case, recording in zip(self.source.cases, self.recordings):
            digest.update(f'{case.id} {case.patient} {case.split} {recording.rate} {recording.beats.tolist()}'.encode())
            digest.update(np.ascontiguousarray(recording.values).tobytes())
        return digest.hexdigest()

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A random window of a training recording: `image [window, C]`, `label [window]`, and the `id`."""
        index = self._numbers['train'][number]
        recording = self.recordings[index]
        first = int(rng.integers(0, len(recording.values) - self.window + 1))
        label = ecg_beats.beat_mask(recording.beats - first, self.window, recording.rate, self.width)
        return {'image': recording.values[first:first + self.window].astype(np.float32), 'label': label,
                'id': self.source.cases[index].id}


def normalise_leads(values: np.ndarray) -> np.ndarray:
    """Each lead minus its median, over half the distance of its 2nd and 98th percentiles; 0 for a constant lead."""
    low, middle, high = np.percentile(values, [2, 50, 98], axis=0)
    spread = (high - low) / 2
    return (values - middle) / np.where(spread > 0, spread, 1)


def dicom_case(name: str, rate: float, leads: int) -> Case:
    """The ECG of a DICOM file as a case of the split 'test_real', with beats by `metrics.ecg_beats.detect_beats`.

    Args:
      name: the file, or 'pydicom' for the one in pydicom's package.
      rate: samples a second to which it is resampled.
      leads: the expected number of leads; the file's first multiplex group is read.

    Raises:
      InputError: no such file, no waveform, another number of leads, or a lower sampling rate.
    """
    import pydicom  # slow to import

    path = pathlib.Path(name)
    if name == 'pydicom':
        path = pathlib.Path(str(importlib.resources.files('pydicom'))) / 'data/test_files/waveform_ecg.dcm'
    try:
        file = pydicom.dcmread(path)
        values, group = file.waveform_array(0), file.WaveformSequence[0]
    except (OSError, AttributeError, ValueError, pydicom.errors.InvalidDicomError) as error:
        raise InputError(f'{path}: cannot be read as a DICOM waveform: {error}; expected an ECG') from error
    recorded = float(group.SamplingFrequency)
    if values.shape[1] != leads or recorded < rate or not np.isfinite(values).all():
        raise InputError(f'{path}: {values.shape[1]} leads at {recorded:g} Hz; expected {leads}, finite, and at least '
                         f'{rate:g} Hz')
    from scipy import signal

    resampled = signal.resample_poly(values, round(rate), round(recorded), axis=0)
    recording = Recording(resampled, float(round(rate)), ecg_beats.detect_beats(resampled, rate))
    return Case(id=path.stem, patient=str(file.get('PatientID', '')) or path.stem, split='test_real',
                read=lambda: recording, files=(str(path),))


def dataset(source: Source, *, window: Count = 512, width: Positive = 0.1) -> SignalDataset:
    """The data set of a source's recordings.

    Args:
      source: recordings, whose cases read a `Recording`.
      window: samples of a training window.
      width: seconds around an R peak that are labelled as a beat.

    Raises:
      InputError: a source of another kind; a window longer than a recording; different leads or rates.
    """
    data = SignalDataset(source, window, width)
    if not all(callable(case.read) for case in source.cases) or not isinstance(source.cases[0].read(), Recording):
        raise InputError('config.data: signals need a source of recordings, such as simulated_ecg')
    if width <= 0 or window < 1:
        raise InputError(f'config.data: window={window}, width={width}; expected at least 1, and above 0')
    first = data.recordings[0]
    for case, recording in zip(source.cases, data.recordings):
        if len(recording.values) < window:
            raise InputError(f'config.data.window: {window}; expected at most {len(recording.values)}, the samples of '
                             f'{case.id}')
        if (recording.values.shape[1], recording.rate) != (first.values.shape[1], first.rate):
            raise InputError(f'{case.id}: {recording.values.shape[1]} leads at {recording.rate:g} Hz; expected '
                             f'{first.values.shape[1]} at {first.rate:g} Hz, as {source.cases[0].id}')
    return data
