"""Traces over time, such as ECGs, cut into windows in which each sample has a class."""

import dataclasses
import functools
import hashlib
import importlib.resources
import pathlib
from typing import Any

import numpy as np

from medjax.data.datasets.base import Parted
from medjax.data.source import Case, Source
from medjax.errors import InputError
from medjax.metrics import ecg_beats as beats


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """A recording.

    Attributes:
      values: `[L, C]` float64, a column a lead, in any unit.
      rate: samples a second.
      beats: `[N]` int, the samples of the R peaks.
    """

    values: np.ndarray
    rate: float
    beats: np.ndarray


@dataclasses.dataclass(frozen=True)
class Traces(Parted):
    """A source's traces; `core.loop` and `data.pipeline` say what is asked of a data set.

    Attributes:
      source: the recordings.
      window: samples that a network trains on at once.
      width: seconds around an R peak that are labelled a beat.
    """

    source: Source
    window: int = 512
    width: float = 0.1

    @functools.cached_property
    def traces(self) -> tuple[Trace, ...]:
        """All recordings, each lead less its median and over its spread."""
        return tuple(dataclasses.replace(one, values=level(one.values)) for one in (
            case.read() for case in self.source.cases))

    @property
    def statistics(self) -> dict[str, Any]:
        """What the task has to know."""
        first = self.traces[0]
        return {'classes': list(self.source.classes), 'rate': first.rate, 'leads': first.values.shape[1],
                'width': self.width}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over recordings, beats, patients and splits."""
        digest = hashlib.sha256()
        for case, trace in zip(self.source.cases, self.traces):
            digest.update(f'{case.id} {case.patient} {case.split} {trace.rate} {trace.beats.tolist()}'.encode())
            digest.update(np.ascontiguousarray(trace.values).tobytes())
        return digest.hexdigest()

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A window of a training recording from anywhere in it: `image [window, C]`, `label [window]`, and the `id`."""
        at = self._numbers['train'][number]
        trace = self.traces[at]
        first = int(rng.integers(0, len(trace.values) - self.window + 1))
        label = beats.beat_mask(trace.beats - first, self.window, trace.rate, self.width)
        return {'image': trace.values[first:first + self.window].astype(np.float32), 'label': label,
                'id': self.source.cases[at].id}


def level(values: np.ndarray) -> np.ndarray:
    """Each lead less its median, over half the distance of its 2nd and 98th percentiles; a flat lead is 0."""
    low, middle, high = np.percentile(values, [2, 50, 98], axis=0)
    spread = (high - low) / 2
    return (values - middle) / np.where(spread > 0, spread, 1)


def dicom_case(name: str, rate: float, leads: int) -> Case:
    """An ECG of a DICOM file, for the split 'test_real'; its beats are those of `metrics.ecg_beats.detect`.

    Args:
      name: the file, or 'pydicom' for the one that pydicom brings.
      rate: samples a second that it is brought to.
      leads: how many it must have; its first multiplex group counts.

    Raises:
      InputError: no such file, no waveform, other leads, or one that is sampled less often.
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
    trace = Trace(resampled, float(round(rate)), beats.detect_beats(resampled, rate))
    return Case(id=path.stem, patient=str(file.get('PatientID', '')) or path.stem, split='test_real',
                read=lambda: trace, files=(str(path),))


def dataset(source: Source, *, window: int = 512, width: float = 0.1) -> Traces:
    """Makes a source's recordings a data set.

    Args:
      source: recordings, whose cases read a `Trace`.
      window: samples that a network trains on at once.
      width: seconds around an R peak that are labelled a beat.

    Raises:
      InputError: no traces; a window that is longer than a recording; different leads or rates.
    """
    made = Traces(source, window, width)
    if not all(callable(case.read) for case in source.cases) or not isinstance(source.cases[0].read(), Trace):
        raise InputError('config.data: traces need a source of recordings, such as phantom_ecg')
    if width <= 0 or window < 1:
        raise InputError(f'config.data: window={window}, width={width}; expected at least 1, and above 0')
    for case, trace in zip(source.cases, made.traces):
        if len(trace.values) < window:
            raise InputError(f'config.data.window: {window}; expected at most {len(trace.values)}, the samples of '
                             f'{case.id}')
        if (trace.values.shape[1], trace.rate) != (made.traces[0].values.shape[1], made.traces[0].rate):
            raise InputError(f'{case.id}: {trace.values.shape[1]} leads at {trace.rate:g} Hz; expected '
                             f'{made.traces[0].values.shape[1]} at {made.traces[0].rate:g} Hz, as {source.cases[0].id}')
    return made

