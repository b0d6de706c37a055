"""Records: scales and missing values by hand, what is refused, equal batches everywhere, tables and published files."""

import dataclasses
import math
import os
import pathlib

import jax
import numpy as np
import pytest

from medjax.data import pipeline
from medjax.data.datasets.tabular import dataset, scaled
from medjax.data.simulated import survival, treatment
from medjax.data.source import Case, Outcome, Source, Treated
from medjax.data.sources import deepsurv, survival_csv
from medjax.errors import InputError

NAN = float('nan')


def case(number, time, event, split='train', **record):
    return Case(id=f'c{number}', patient=f'p{number}', split=split, read=None, target=Outcome(time, event),
                record=record)


def source(*cases, events=('death',)):
    return Source(cases=cases, classes=events, problem='survival', unit='months')


def test_covariates_by_the_training_patients_scale():
    data = dataset(source(case(0, 1.0, 1, a=1.0, b=5.0, c=7.0), case(1, 2.0, 0, a=3.0, b=NAN, c=7.0),
                          case(2, 0.0, 1, a=5.0, b=9.0, c=7.0), case(3, 4.0, 0, 'test', a=NAN, b=5.0, c=8.0)))
    spread = np.std([1, 3, 5])
    # The median of b is 7, and who lacks it is told apart; nobody in training lacks a.
    np.testing.assert_allclose(data.covariates, [
        [-2 / spread, -2 / np.std([5, 7, 9]), 0, 0], [0, 0, 0, 1], [2 / spread, 2 / np.std([5, 7, 9]), 0, 0],
        [0, -2 / np.std([5, 7, 9]), 1, 0]], rtol=1e-6)
    assert data.warnings == [
        'Missing values, filled with the median of the training patients: a (25%), b (25%).',
        'The same in all training patients, and of no use: c.', 'Patients seen for no time at all: 1.',
        'death: in no patient of the split test.']
    assert data.counts == {'train': 3, 'test': 1} and data.statistics['times'] == [1.0]
    again = scaled([{'b': NAN, 'a': 5.0, 'c': 7.0}], data.statistics['names'], data.statistics['scale'])
    np.testing.assert_allclose(again, [[2 / spread, 0, 0, 1]], rtol=1e-6)
    assert dataset(data.source, covariates=('c', 'a')).covariates.shape == (4, 2)


@pytest.mark.parametrize('cases, said', [
    ([case(0, NAN, 1)], 'c0: time nan; expected a number of at least 0'), ([case(0, -1.0, 1)], 'c0: time -1.0'),
    ([case(0, 1.0, 2)], 'c0: event 2; expected 0 for none to 1, for death'),
    ([case(0, 1.0, 0), case(1, 1.0, 1, 'test')], 'no event among the 1 training patients'),
    ([case(0, 1.0, 1, a=math.inf)], 'c0: a is inf')])
def test_what_is_refused(cases, said):
    with pytest.raises(InputError, match=said):
        dataset(source(*cases))


def test_an_unknown_covariate_is_refused():
    with pytest.raises(InputError, match="config.data.covariates: 'age'; expected some of: x0"):
        dataset(survival.source(cases=(9, 2, 2)), covariates=('age',))


@pytest.mark.parametrize('made', [survival.source(cases=(30, 5, 5), missing=0.2),
                                  treatment.source(cases=(30, 5, 5), covariates=10)],
                         ids=['survival', 'treatment'])
def test_host_and_device_give_the_same_batches(made):
    data = dataset(made)
    streamed, placed = pipeline.Streamed(data, seed=3, batch=8), pipeline.Placed(
        data.resident(), len(data), seed=3, batch=8)
    arrays, take = data.resident().load(), jax.jit(placed.taking(None))
    for step in (0, 3, 9):
        want, got = streamed[step], take({**placed[step], 'arrays': arrays}, jax.random.key(0))
        assert sorted(got) == sorted(set(want) - {'id'})
        for name, value in got.items():
            assert value.dtype == want[name].dtype
            np.testing.assert_array_equal(value, want[name])
    assert want['covariates'].shape == (8, 10)


def test_a_phantoms_first_covariate_hastens_its_event():
    made = survival.source(cases=(600, 10, 10), events=2, censoring=0.3)
    first = np.array([case.record['x0'] for case in made.cases if case.split == 'train'])
    second = np.array([case.record['x1'] for case in made.cases if case.split == 'train'])
    event = np.array([case.target.event for case in made.cases if case.split == 'train'])
    assert first[event == 1].mean() > 0.2 + first[event != 1].mean()
    assert second[event == 2].mean() > 0.2 + second[event != 2].mean()
    assert 'imulated' in made.notice


def treated(*targets):
    return Source(cases=tuple(dataclasses.replace(case(n, 0, 0, a=float(n)), target=target)
                              for n, target in enumerate(targets)), classes=('usual', 'new'), problem='treatment')


def test_treatments_and_outcomes_without_what_a_simulation_knows():
    data = dataset(treated(Treated(0, 1.0, 7.0, 8.0), Treated(1, 4.0), Treated(1, 4.0)))
    rows = data.rows(np.arange(3))
    assert sorted(rows) == ['covariates', 'outcome', 'treatment'] and data.warnings == []
    assert rows['treatment'].tolist() == [0, 1, 1] and rows['outcome'].tolist() == [1, 4, 4]
    known = data.statistics
    assert known['mean'] == 3 and known['std'] == pytest.approx(np.sqrt(2)) and known['treated'] == pytest.approx(2 / 3)
    assert [case.target.effect for case in data.source.cases] == [1.0, None, None]
    assert data.fingerprint != dataset(treated(Treated(0, 2.0, 7.0, 8.0), *[Treated(1, 4.0)] * 2)).fingerprint


@pytest.mark.parametrize('targets, said', [
    ([Treated(2, 1.0)], 'c0: treatment 2; expected 0 for usual or 1 for new'),
    ([Outcome(1.0, 1)], 'c0: treatment None'), ([Treated(1, NAN)], 'c0: outcome nan; expected a number'),
    ([Treated(1, 1.0, math.inf)], 'c0: mu0 inf'),
    ([Treated(1, 1.0)] * 3, "nobody of the group 'usual' among the 3 training patients"),
    ([Treated(0, 1.0)] * 2, "nobody of the group 'new' among the 2")])
def test_treatments_that_are_refused(targets, said):
    with pytest.raises(InputError, match=said):
        dataset(treated(*targets))


def test_a_phantoms_treated_fare_better_than_the_treatment_makes_them():
    targets = [case.target for case in treatment.source(cases=(4000, 1, 1)).cases]
    outcome, effect, given = (np.array([value(t) for t in targets]) for value in (
        lambda t: t.outcome, lambda t: t.effect, lambda t: t.treatment))
    assert effect.mean() == pytest.approx(1, abs=0.1) and effect.std() == pytest.approx(1, abs=0.1)
    assert outcome[given == 1].mean() - outcome[given == 0].mean() > 1.5


TABLE = """id,months,status,age,stage,sex,site,split
a,1.5,2,50,I,f,x,train
b,2,0,60,II,m,x,train
c,3,,,III,f,y,train
d,0,1,70,,m,y,test
"""


def test_a_table_of_patients(tmp_path):
    (tmp_path / 'cases.csv').write_text(TABLE)
    options = dict(dir=str(tmp_path), table='cases.csv', time='months', event='status', events=('death', 'relapse'),
                   values=('1', '2'), columns=('site',), unit='months')
    found = survival_csv.source(**options)
    assert [(c.id, c.split, c.target.time, c.target.event) for c in found.cases] == [
        ('a', 'train', 1.5, 2), ('b', 'train', 2, 0), ('c', 'train', 3, 0), ('d', 'test', 0, 1)]
    assert found.cases[1].record == {'age': 60, 'stage=I': 0, 'stage=II': 1, 'stage=III': 0, 'sex=m': 1}
    assert [math.isnan(value) for value in found.cases[3].record.values()] == [False, True, True, True, False]
    assert math.isnan(found.cases[2].record['age']) and found.cases[3].columns == {'site': 'y'}
    assert survival_csv.source(**options, covariates=('age',)).cases[0].record == {'age': 50}
    folds = [survival_csv.source(**options, fold=fold, folds=3) for fold in range(3)]
    assert [[c.id for c in made.cases if c.split == 'val'] for made in folds] != [['a']] * 3
    assert all(made.cases[3].split == 'test' for made in folds)


@pytest.mark.parametrize('text, options, said', [
    ('id,time,event\n', {}, 'no rows'), ('time,event,age\n1,1\n', {}, 'row 2 has too few fields'),
    ('time,event\nx,1\n', {}, "row 2: time is 'x'; expected a number"), ('time,event\n-1,1\n', {}, "time is '-1'"),
    ('time,event\ninf,1\n', {}, "time is 'inf'"), ('time,event\n1,3\n', {}, "row 2: event is '3'; expected one of: 1"),
    ('time,event\n1,1\n', dict(covariates=('age',)), "no column 'age'"),
    ('time,event\n1,1\n', dict(values=('1', '2')), 'config.data.source.values'),
    ('time,event,name\n' + ''.join(f'1,1,n{n}\n' for n in range(30)), {}, "column 'name' has 30 different words")])
def test_tables_that_are_refused(text, options, said, tmp_path):
    (tmp_path / 'cases.csv').write_text(text)
    with pytest.raises(InputError, match=said):
        survival_csv.source(dir=str(tmp_path), table='cases.csv', **options)


@pytest.mark.parametrize('name, counts, events, minded', [
    ('metabric', (1218, 305, 381), 1103, ['Patients seen for no time at all: 1.']),
    ('gbsg', (1237, 309, 686), 1267, [])])
def test_the_published_cohorts(name, counts, events, minded):
    if not (pathlib.Path(os.environ.get('MEDJAX_DATA_DIR', '/nowhere')) / 'survival').is_dir():
        pytest.skip('MEDJAX_DATA_DIR names no folder with survival/')
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
