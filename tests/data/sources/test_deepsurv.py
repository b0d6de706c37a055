"""The DeepSurv cohorts: counts of the published files, and damaged ones."""


import numpy as np
import pytest

from medjax.data.datasets.tabular import dataset
from medjax.data.sources import deepsurv
from medjax.errors import InputError


@pytest.mark.public_data('survival')
@pytest.mark.parametrize('name, counts, events, minded', [
    ('metabric', (1218, 305, 381), 1103, ['Patients with a follow-up time of 0: 1.']),
    ('gbsg', (1237, 309, 686), 1267, [])])
def test_the_published_cohorts(name, counts, events, minded):
    data = dataset(deepsurv.source(cohort=name))
    assert tuple(data.counts.values()) == counts and data.warnings == minded
    assert (data.outcomes['event'] > 0).sum() == events
    assert (np.abs(data.covariates[data.numbers('train')].mean(0)) < 1e-5).all()


def test_a_damaged_file_of_the_published_cohorts(tmp_path):
    (tmp_path / 'gbsg_cancer_train_test.h5').write_bytes(b'no HDF5')
    for name in ('metabric', 'gbsg'):
        with pytest.raises(InputError, match=f'{name}.*expected the file {name}'):
            deepsurv.source(cohort=name, dir=str(tmp_path))
    with pytest.raises(InputError, match='expected one of: metabric, gbsg'):
        deepsurv.source(cohort='support', dir=str(tmp_path))
