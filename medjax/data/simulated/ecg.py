"""Simulated ECGs with known beats: sums of Gaussian waves after McSharry 2003, with baseline drift and noise."""

from collections.abc import Sequence

import numpy as np

from medjax.data.datasets.signals import Recording, dicom_case
from medjax.data.source import SPLITS, Case, Source
from medjax.options import Count, NonNegative, NonNegativeInt, Positive

NOTICE = 'Simulated ECGs: the results show whether the parts work together, and nothing about accuracy in patients.'
REAL = ' The test_real recording is of one person, and its reference beats are those of a detector.'
# Of P, Q, R, S and T: seconds from the R peak in a beat of 1 s, height in mV, width in s.
WAVES = ((-0.20, 0.12, 0.025), (-0.035, -0.12, 0.010), (0.0, 1.0, 0.011), (0.035, -0.22, 0.010), (0.28, 0.30, 0.045))


def source(*, cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (60, 20, 20), seconds: Positive = 10.0,
           sampling_rate: Positive = 125.0, leads: Count = 12, noise: NonNegative = 0.3, recordings: Sequence[str] = (),
           seed: NonNegativeInt = 0) -> Source:
    """A signals source of simulated recordings.

    Args:
      cases: numbers of training, validation and test patients.
      seconds: length of a recording.
      sampling_rate: samples a second.
      leads: how many; each has a gain of its own for every wave.
      noise: standard deviation in mV.
      recordings: DICOM files, read as the split 'test_real', whose reference beats are detected by
        `metrics.ecg_beats.detect_beats`; 'pydicom' names the recording that pydicom ships.
      seed: of all draws.
    """
    recorded = [_simulate(f'{split}{number:04d}', split, np.random.default_rng((seed, part, number)), seconds,
                          sampling_rate,
                          leads, noise)
                for part, (split, count) in enumerate(zip(SPLITS, cases)) for number in range(count)]
    recorded += [dicom_case(name, sampling_rate, leads) for name in recordings]
    return Source(cases=tuple(recorded), classes=('rest', 'beat'), analysis_unit='recording',
                  notice=NOTICE + REAL if recordings else NOTICE)


def _simulate(name: str, split: str, rng: np.random.Generator, seconds: float, sampling_rate: float, leads: int,
              noise: float) -> Case:
    period, times = rng.uniform(0.5, 1.1), []  # mean seconds between beats
    now = rng.uniform(0.1, 0.5)
    while now < seconds - 0.1:
        times.append(now)
        now += max(0.35, period * (1 + 0.08 * rng.normal() + 0.25 * (rng.random() < 0.05)))
    at = np.arange(round(seconds * sampling_rate)) / sampling_rate
    gain = rng.normal(1, 0.4, (leads, len(WAVES))) * np.where(rng.random((leads, 1)) < 0.2, -1, 1)
    values = np.zeros((len(at), leads))
    for time in times:
        for wave, (offset, height, width) in enumerate(WAVES):
            stretched = offset * np.sqrt(period)  # Bazett: beats are shorter at a higher heart rate
            gaussian = np.exp(-0.5 * ((at - time - stretched) / width)**2)
            values += height * gaussian[:, None] * gain[:, wave]
    drift = 0.2 * rng.normal(size=leads) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4) * at[:, None] + rng.random(leads)))
    values += drift + noise * rng.normal(size=values.shape)
    trace = Recording(values, sampling_rate, np.round(np.array(times) * sampling_rate).astype(int))
    return Case(id=name, patient=name, split=split, read=lambda: trace)
