"""Recordings with known beats, from a folder of CSV tables.

    ecgs/p01.csv        a column for each lead, a row for each sample
    ecgs/p01_beats.csv  the number of the sample of each R peak, a line each
"""

import functools
import pathlib

import numpy as np

from medjax.data.datasets.signals import Recording
from medjax.data.source import Case, Source, data_dir
from medjax.data.splits import Splitting


def source(*, rate: float, dir: str = '',
           splitting: Splitting = Splitting(val=0.2, test=0.2)) -> Source:
    """A signals source of the recordings in a folder.

    Args:
      rate: samples a second.
      dir: the folder; see `data_dir`.
      splitting: how patients are assigned to splits; each recording is a patient.
    """
    root = data_dir(dir)
    names = sorted(path.name.removesuffix('_beats.csv') for path in root.glob('*_beats.csv'))
    split = splitting.divide([{'patient': name} for name in names], root, root)
    cases = tuple(Case(id=name, patient=name, split=split[name],
                       read=functools.partial(_read, root / name, rate)) for name in names)
    return Source(cases=cases, classes=('rest', 'beat'))


def _read(path: pathlib.Path, rate: float) -> Recording:
    values = np.loadtxt(f'{path}.csv', delimiter=',', ndmin=2)
    return Recording(values, rate, np.loadtxt(f'{path}_beats.csv', dtype=int, ndmin=1))
