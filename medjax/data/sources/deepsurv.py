"""The survival cohorts of the DeepSurv repository: METABRIC, and Rotterdam patients with GBSG as the test set.

HDF5 files with the groups `train` and `test`, each of `x`, `t` (months) and `e` (1 for an event).
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from medjax.data.source import Case, Outcome, Source, data_dir
from medjax.data.splits import Resplitting
from medjax.errors import InputError

# File, event, and the covariates in their order, which the files do not name: Katzman 2018; Curtis 2012 (METABRIC);
# Foekens 2000, Schumacher 1994 (GBSG, whose 299 events in 686 patients are recurrences or deaths).
SETS = {
    'metabric': ('metabric_IHC4_clinical_train_test.h5', 'death', (
        'MKI67', 'EGFR', 'PGR', 'ERBB2', 'hormone_treatment', 'radiotherapy', 'chemotherapy', 'ER_positive', 'age')),
    'gbsg': ('gbsg_cancer_train_test.h5', 'recurrence', (
        'hormone_treatment', 'tumour_size', 'menopause', 'age', 'nodes', 'PGR', 'ER')),
}
NOTICE = 'The split is the one that DeepSurv published; validation patients are drawn from its training part.'


def source(*, cohort: str = 'metabric', dir: str = 'survival', splitting: Resplitting = Resplitting(val=0.2)) -> Source:
    """A survival source of one of the cohorts.

    Args:
      cohort: 'metabric' or 'gbsg'.
      dir: the folder of the files; see `data_dir`.
      splitting: how training patients are assigned to training and validation.

    Raises:
      InputError: an unknown cohort; a file that is not the cohort's.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError("config.data.source: these files need h5py: pip install 'medjax[records]'") from error
    if cohort not in SETS:
        raise InputError(f'config.data.source.cohort: {cohort!r}; expected one of: {", ".join(SETS)}')
    file, event_name, covariates = SETS[cohort]
    path = data_dir(dir) / file
    cases = []
    try:
        with h5py.File(path) as content:
            for split in ('train', 'test'):
                x, time, event = (np.asarray(content[split][key], np.float64) for key in ('x', 't', 'e'))
                cases += _cases(path, split, x, time, event, covariates)
    except (OSError, KeyError) as error:
        raise InputError(f'{path}: {error}; expected the file {file} of the DeepSurv repository') from error
    return Source(cases=tuple(splitting.resplit(cases)), classes=(event_name,), problem='survival',
                  least_classes=1, unit='months', notice=NOTICE)


def _cases(path: pathlib.Path, split: str, x: np.ndarray, time: np.ndarray, event: np.ndarray,
           covariates: Sequence[str]) -> list[Case]:
    """The patients of a group of the file, with covariates x `[n, F]`, time `[n]` and event `[n]`."""
    if x.ndim != 2 or x.shape[1] != len(covariates) or not len(x) == len(time) == len(event):
        raise InputError(f'{path}: {split} x {x.shape}, t {time.shape}, e {event.shape}; expected '
                         f'[n, {len(covariates)}], [n] and [n]')
    return [Case(id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split, read=None, files=(str(path),),
                 target=Outcome(float(time[number]), int(event[number])),
                 record=dict(zip(covariates, x[number].tolist())))
            for number in range(len(x))]
