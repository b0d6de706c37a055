"""Paired comparisons against SciPy's t test and paired bootstrap, p values and Holm's correction by hand."""

import numpy as np
import pytest
from scipy import stats

from medjax.errors import InputError
from medjax.statistics import paired


def rows(values, patients=None, split='test'):
    return [{'split': split, 'id': f'c{n:02d}', 'patient': patients[n] if patients else f'p{n:02d}', 'dice': value}
            for n, value in enumerate(values)]


def compare(tables, columns=('dice',), every=False, **options):
    cases = {name: paired.CaseMeans(table, columns) for name, table in tables.items()}
    first = next(iter(cases.values()))
    found, _ = paired.compare(cases, paired.CaseMeans.means, paired.CaseMeans.counted, first.patients,
                              paired.pairs(list(tables), every), **options)
    for one in found:
        one['tests'] = {}
    paired.adjust(found)
    return found


def simulated(shift, n=40):
    rng = np.random.default_rng(5)
    a = rng.normal(0.8, 0.1, n)
    return a, a - shift + rng.normal(0, 0.05, n)


@pytest.mark.parametrize('shift', [0.0, 0.012, 0.03])
def test_differences_of_normal_values_are_those_of_the_paired_t_test(shift):
    a, b = simulated(shift)
    (found,) = compare({'a': rows(a), 'b': rows(b)})
    difference, right = found['metrics']['dice']['difference'], stats.ttest_rel(a, b)
    assert difference['value'] == pytest.approx(a.mean() - b.mean()) and difference['n'] == 40
    limits = right.confidence_interval()
    np.testing.assert_allclose(difference['ci95'], limits, atol=0.06 * np.ptp(limits))
    assert difference['p'] == pytest.approx(right.pvalue, abs=0.03) and difference['resamples'] == 2000
    assert (difference['p'] < 0.05) == (not difference['ci95'][0] <= 0 <= difference['ci95'][1])


def test_p_values_are_the_level_at_which_the_interval_excludes_zero():
    a = np.random.default_rng(2).lognormal(0, 1, 15)
    (found,) = compare({'a': rows(a), 'b': rows(np.zeros(15))})
    for limit in found['metrics']['dice']['difference']['ci95']:
        (moved,) = compare({'a': rows(a - limit), 'b': rows(np.zeros(15))})
        assert moved['metrics']['dice']['difference']['p'] == pytest.approx(0.05)


def test_errors_are_those_of_scipys_paired_bootstrap():
    a, b = simulated(0.01)
    (found,) = compare({'a': rows(a), 'b': rows(b)})
    error = stats.bootstrap((a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), paired=True,
                            rng=np.random.default_rng(3)).standard_error * np.sqrt(40 / 39)
    freedom = 2 / (max(stats.kurtosis(a - b, bias=False), 0) / 40 + 2 / 39)
    want = stats.t.ppf(0.975, freedom) * error
    assert np.ptp(found['metrics']['dice']['difference']['ci95']) / 2 == pytest.approx(want, rel=0.05)


def test_all_cases_of_a_patient_are_drawn_together():
    for drawn in paired.draw_patients(np.array([3, 3, 8, 1, 8]), 50, 0):
        assert drawn[0] == drawn[1] and drawn[2] == drawn[4] and drawn[[0, 2, 3]].sum() == 3
    assert paired.draw_patients(np.zeros(0, int), 4, 0).shape == (4, 0)


def test_blocks_draw_the_same(monkeypatch):
    whole = paired.draw_patients(np.arange(9), 20, 3)
    monkeypatch.setattr(paired, 'BLOCK', 30)
    np.testing.assert_array_equal(paired.draw_patients(np.arange(9), 20, 3), whole)


def test_proportions_of_independent_cases_have_mcnemars_p_value():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 50)) < 0.7
    cases = {name: paired.CaseMeans(rows(hits.astype(float)), ['dice']) for name, hits in (('a', a), ('b', b))}
    options = paired.CaseMeans.means, paired.CaseMeans.counted, cases['a'].patients, [('a', 'b')]
    (found,), _ = paired.compare(cases, *options, hits=lambda one, other: {'dice': (a, b)})
    difference = found['metrics']['dice']['difference']
    assert difference['value'] == pytest.approx(a.mean() - b.mean()) and difference['method'] == 'Agresti–Min'
    only = (a & ~b).sum(), (b & ~a).sum()
    assert difference['p'] == pytest.approx(stats.binomtest(int(only[0]), int(sum(only))).pvalue)


def test_cases_of_a_patient_are_averaged_and_drawn_together():
    a, b = simulated(0.01, 12)
    patients = [f'p{n:02d}' for n in range(12)]
    (once,) = compare({'a': rows(a, patients), 'b': rows(b, patients)})
    (again,) = compare({'a': rows(np.repeat(a, 3), np.repeat(patients, 3).tolist()),
                        'b': rows(np.repeat(b, 3), np.repeat(patients, 3).tolist())})
    one, other = (found['metrics']['dice']['difference'] for found in (once, again))
    assert other['ci95'] == pytest.approx(one['ci95']) and other['p'] == pytest.approx(one['p'])
    assert other['n'] == 12 and other['cases'] == 36


def test_a_case_that_one_run_leaves_undefined_counts_in_the_other():
    # The second run sees a structure that is not there, in a case in which the first one has no Dice.
    (found,) = compare({'a': rows([0.8, 0.7, '', 0.9]), 'b': rows([0.8, 0.7, 0.0, 0.9])})
    got = found['metrics']['dice']
    assert got['a'] == pytest.approx(0.8) and got['b'] == pytest.approx(0.6)
    assert got['difference']['value'] == pytest.approx(0.2)
    assert got['difference']['cases'] == 4 and got['difference']['one_run'] == 1


def test_equal_results_have_no_difference():
    (found,) = compare({'a': rows([0.5, 0.7]), 'b': rows([0.5, 0.7])})
    difference = found['metrics']['dice']['difference']
    assert difference['value'] == 0 and difference['p'] == 1 and difference['ci95'] is None
    assert difference['why'] == 'equal in all resamples: no confidence interval'


def test_p_values_are_uniform_where_there_is_no_difference():
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        a, b = rng.normal(size=(2, 40))
        (one,) = compare({'a': rows(a), 'b': rows(b)}, resamples=400)
        found.append(one['metrics']['dice']['difference']['p'])
    assert abs(np.mean(np.array(found) < 0.05) - 0.05) < 0.03  # 2.4 standard errors
    assert stats.kstest(found, 'uniform').pvalue > 0.01


def test_holm_by_hand():
    # m = 4: .01 × 4, .02 × 3, .03 × 2 (not below the one before), .04 × 1 (likewise)
    assert paired.holm([0.03, 0.01, None, 0.04, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert paired.holm([0.5, 0.6]) == [1.0, 1.0] and paired.holm([]) == [] and paired.holm([0.2]) == [0.2]


def test_every_pair_and_metric_is_corrected_together():
    tables = {name: [{**row, 'hd95': value} for row, value in zip(rows(simulated(shift)[1]), simulated(-shift)[1])]
              for name, shift in (('a', 0.0), ('b', 0.02), ('c', 0.03))}
    first, every = (compare(tables, ('dice', 'hd95'), every) for every in (False, True))
    assert [(found['a'], found['b']) for found in first] == [('a', 'b'), ('a', 'c')]
    assert [(found['a'], found['b']) for found in every] == [('a', 'b'), ('a', 'c'), ('b', 'c')]
    entries = [entry['difference'] for found in every for entry in found['metrics'].values()]
    assert [entry['p_holm'] for entry in entries] == paired.holm([entry['p'] for entry in entries])
    assert len(entries) == 6 and compare(tables, ('dice', 'hd95'), names=['hd95'])[0]['metrics'].keys() == {'hd95'}
    with pytest.raises(InputError, match="--metrics: 'nsd'; expected some of: dice"):
        compare(tables, names=['nsd'])


def test_metrics_that_not_all_runs_have_are_named():
    cases = {'a': paired.CaseMeans(rows([0.5, 0.6]), ['dice']), 'b': paired.CaseMeans(
        [{**row, 'nsd': 1.0} for row in rows([0.5, 0.6])], ['dice', 'nsd'])}
    options = paired.CaseMeans.means, paired.CaseMeans.counted, cases['a'].patients, [('a', 'b')]
    (found,), left_out = paired.compare(cases, *options)
    assert set(found['metrics']) == {'dice'} and left_out == ['nsd']
    with pytest.raises(InputError, match='a b: no metric that all runs have'):
        paired.compare({**cases, 'a': paired.CaseMeans(rows([0.5, 0.6]), [])}, *options)


def test_a_single_patient_has_no_test():
    (found,) = compare({'a': rows([0.8]), 'b': rows([0.7])})
    assert found['metrics']['dice']['difference']['p'] is found['metrics']['dice']['difference']['p_holm'] is None


@pytest.mark.parametrize('spoil, message', [
    (lambda b: b[:3], 'b: 2 of the 5 test cases of a are missing, and 0 of its 3 cases are not there, such as c03'),
    (lambda b: [*b, {**b[0], 'id': 'x'}], 'b: 0 of the 5 .* missing, and 1 of its 6 cases are not there, such as x'),
    (lambda b: [{**row, 'split': 'val'} for row in b], 'b: 5 of the 5 test cases of a are missing'),
    (lambda b: [*b, b[2]], 'b: case c02 is twice in test'),
    (lambda b: [{**row, 'patient': 'p'} for row in b], "b: case c00: patient is 'p', in a 'p00'")])
def test_runs_with_other_cases_are_refused(spoil, message):
    table = rows([0.5] * 5)
    with pytest.raises(InputError, match=message):
        paired.same_cases({'a': table, 'b': spoil(table)}, 'test')
    assert paired.same_cases({'a': table, 'b': table[::-1]}, 'test') == [table, table]


def test_known_columns_are_compared_as_numbers():
    a = [{'id': 'x', 'time': '1.5', 'event': '', 'risk': '3'}]
    paired.check_columns(a, [{'id': 'x', 'time': '1.50', 'event': '', 'risk': '4'}], ('time', 'event').__contains__,
                         'b', 'a')
    with pytest.raises(InputError, match="b: case x: event is 'death', in a ''"):
        paired.check_columns(a, [{**a[0], 'event': 'death'}], ('time', 'event').__contains__, 'b', 'a')
