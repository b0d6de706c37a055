"""TabularDataset: scales and missing values by hand, refusals, equal batches everywhere, tables and published files."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from medjax.data import pipeline
from medjax.data.datasets.tabular import dataset, scale_covariates
from medjax.data.simulated import survival, treatment
from medjax.data.source import Case, Outcome, Source, TreatmentOutcome
from medjax.errors import InputError

NAN = float('nan')


def case(number, time, event, split='train', **record):
    return Case(id=f'c{number}', patient=f'p{number}', split=split, read=None, target=Outcome(time, event),
                record=record)


def source(*cases, events=('death',)):
    return Source(cases=cases, classes=events, problem='survival', least_classes=1, unit='months')


def test_covariates_by_the_training_patients_scale():
    data = dataset(source(case(0, 1.0, 1, a=1.0, b=5.0, c=7.0), case(1, 2.0, 0, a=3.0, b=NAN, c=7.0),
                          case(2, 0.0, 1, a=5.0, b=9.0, c=7.0), case(3, 4.0, 0, 'test', a=NAN, b=5.0, c=8.0)))
    spread = np.std([1, 3, 5])
    # The median of b is 7, and an indicator marks where it is missing; nobody in training lacks a; c is dropped.
    np.testing.assert_allclose(data.covariates, [
        [-2 / spread, -2 / np.std([5, 7, 9]), 0], [0, 0, 1], [2 / spread, 2 / np.std([5, 7, 9]), 0],
        [0, -2 / np.std([5, 7, 9]), 0]], rtol=1e-6)
    assert data.warnings == [
        'Missing values, filled with the median of the training patients: a (25%), b (25%).',
        'Covariates that are dropped, since they are the same or missing in all training patients: 1 (c).',
        'Patients with a follow-up time of 0: 1.',
        'death: in no patient of the split test.']
    assert data.counts == {'train': 3, 'test': 1} and data.statistics['times'] == [1.0]
    again = scale_covariates([{'b': NAN, 'a': 5.0, 'c': 7.0}], data.statistics['names'], data.statistics['scale'])
    np.testing.assert_allclose(again, [[2 / spread, 0, 1]], rtol=1e-6)
    assert data.statistics['names'] == ['a', 'b'] and dataset(data.source, covariates=('c', 'a')).names == ('a',)
    with pytest.raises(InputError, match='config.data.covariates: c, the same or missing in all training patients'):
        dataset(data.source, covariates=('c',))


def test_constants_that_are_no_binary_fractions_are_dropped():
    """The deviation of a hundred times 0.1 is 7e-17, by which 0.2 would be 1e15 standard deviations away."""
    cases = [case(number, 1.0 + number, 1, a=float(number), b=0.1, c=0.1 + 1e-9 * number, d=NAN,
                  e=0.1 if number else NAN) for number in range(100)]
    data = dataset(source(*cases))
    assert data.names == ('a', 'e') and data.dropped == ('b', 'c', 'd') and '3 (b, c, d)' in ' '.join(data.warnings)
    new = scale_covariates([{'a': 0.0, 'e': 0.2}], data.names, data.scale)
    np.testing.assert_allclose(new, [[-49.5 / np.std(np.arange(100)), 0.1, 0]], rtol=1e-6)
    equal = dataset(treated(TreatmentOutcome(0, 0.1), *[TreatmentOutcome(1, 0.1)] * 99))
    assert equal.statistics['std'] == 1


@pytest.mark.parametrize('cases, said', [
    ([case(0, NAN, 1)], 'c0: time nan; expected a number of at least 0'), ([case(0, -1.0, 1)], 'c0: time -1.0'),
    ([case(0, 1.0, 2)], 'c0: event 2; expected 0 for none to 1, for death'),
    ([case(0, 1.0, 0), case(1, 1.0, 1, 'test')], 'no event among the 1 training patients'),
    ([case(0, 0.0, 1), case(1, 1.0, 0)], 'all events among the 2 training patients are at time 0'),
    ([case(0, 1.0, 1, a=math.inf)], 'c0: a is inf')])
def test_invalid_input_is_refused(cases, said):
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


def treated(*targets):
    return Source(cases=tuple(dataclasses.replace(case(n, 0, 0, a=float(n)), target=target)
                              for n, target in enumerate(targets)), classes=('usual', 'new'), problem='treatment')


def test_treatments_and_outcomes_without_simulated_truth():
    data = dataset(treated(TreatmentOutcome(0, 1.0, 7.0, 8.0), TreatmentOutcome(1, 4.0), TreatmentOutcome(1, 4.0)))
    rows = data.batch(np.arange(3))
    assert sorted(rows) == ['covariates', 'outcome', 'treatment'] and data.warnings == []
    assert rows['treatment'].tolist() == [0, 1, 1] and rows['outcome'].tolist() == [1, 4, 4]
    known = data.statistics
    assert known['mean'] == 3 and known['std'] == pytest.approx(np.sqrt(2)) and known['treated'] == pytest.approx(2 / 3)
    assert [case.target.effect for case in data.source.cases] == [1.0, None, None]
    other = dataset(treated(TreatmentOutcome(0, 2.0, 7.0, 8.0), *[TreatmentOutcome(1, 4.0)] * 2))
    assert data.fingerprint != other.fingerprint


@pytest.mark.parametrize('targets, said', [
    ([TreatmentOutcome(2, 1.0)], 'c0: treatment 2; expected 0 for usual or 1 for new'),
    ([Outcome(1.0, 1)], 'c0: treatment None'), ([TreatmentOutcome(1, NAN)], 'c0: outcome nan; expected a number'),
    ([TreatmentOutcome(1, 1.0, math.inf)], 'c0: mu0 inf'),
    ([TreatmentOutcome(1, 1.0)] * 3, "no patient of the group 'usual' among the 3 training patients"),
    ([TreatmentOutcome(0, 1.0)] * 2, "no patient of the group 'new' among the 2")])
def test_treatments_that_are_refused(targets, said):
    with pytest.raises(InputError, match=said):
        dataset(treated(*targets))
