"""Calibration, net benefit and predictive values of classes and labels: what each is computed of."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.statistics import decision_curve, predictive_values, recalibration
from medjax.tasks.classification import intervals, merge, probability_analysis, table
from medjax.tasks.classification.summary import summarise
from tests.tasks.classification import diagnoses


def rows_of(problem, count=150):
    return [row for split, n in (('val', 80), ('test', count))
            for row in diagnoses.rows_of(problem, split, n, np.random.default_rng(len(split)))]


def problems_of(rows, problem):
    """The truth and the probability of each class against all others, or of each label where it is known."""
    for name in diagnoses.KINDS[problem][1 if problem == 'binary' else 0:]:
        known = [row for row in rows if row['split'] == 'test' and (
            problem != 'multilabel' or not np.isnan(row[f'target_{name}']))]
        truth = [row[f'target_{name}'] == 1 if problem == 'multilabel' else row['target'] == name for row in known]
        yield name, np.array(truth), np.array([row[f'prob_{name}'] for row in known]), known


@pytest.mark.parametrize('problem', ['binary', 'ordinal', 'multilabel'])
def test_each_problem_is_its_own_against_all_others(problem):
    rows = rows_of(problem)
    found = summarise(rows, problem, diagnoses.KINDS[problem], decision_thresholds=(0.1, 0.4))
    metrics, analysis = found['metrics']['test'], found['probability']
    names = []
    for name, truth, p, known in problems_of(rows, problem):
        names.append(name)
        suffix, log_odds = '' if problem == 'binary' else f'_{name}', np.log(p / (1 - p))
        slope, intercept = metrics[f'calibration_slope{suffix}'], metrics[f'calibration_intercept{suffix}']
        assert slope['value'] == pytest.approx(recalibration.slope(truth, log_odds), abs=1e-6)
        assert intercept['value'] == pytest.approx(recalibration.intercept(truth, log_odds), abs=1e-6)
        assert slope['ci95'][0] < slope['value'] < slope['ci95'][1] and slope['method'] == 'jackknife'
        assert slope['n'] == len({row['patient'] for row in known}) < slope['cases'] == len(known)
        curve, decision = analysis[name]['curve'], analysis[name]['decision']
        assert curve['predicted'][-1] == pytest.approx(np.quantile(p, 0.99)) and 0 <= curve['e50'] <= curve['e90'] < 1
        thresholds = np.linspace(0.1, 0.4, 91)
        np.testing.assert_allclose(decision['model'], decision_curve.net_benefit(truth, p, thresholds), atol=1e-12)
        share = truth.mean()
        treat_all = share - (1 - share) * thresholds / (1 - thresholds)
        np.testing.assert_allclose(decision['all'], treat_all, atol=1e-12)
        gain = np.array(decision['model']) - np.maximum(treat_all, 0)
        np.testing.assert_allclose(decision['gain'], gain, atol=1e-12)
        assert (np.array(decision['low']) <= decision['model']).all()
        assert (np.array(decision['gain_high']) >= decision['gain']).all()
        own = analysis[name]['predictive_values']['own']
        assert own['prevalence'] == pytest.approx(share)
        if problem == 'multilabel':
            assert own['ppv']['value'] == pytest.approx(metrics[f'precision_operating_{name}']['value'])
    assert list(analysis) == names


def test_predictive_values_at_a_stated_prevalence():
    rows = rows_of('binary')
    found = summarise(rows, 'binary', diagnoses.KINDS['binary'], prevalence={'pneumonia': 0.03})
    values = found['probability']['pneumonia']['predictive_values']
    assert values['threshold'] == found['operating']['threshold'] and values['stated']['prevalence'] == 0.03
    metrics = found['metrics']['test']
    ppv, npv = predictive_values.at_prevalence(metrics['sensitivity_operating']['value'],
                                               metrics['specificity_operating']['value'], 0.03)
    assert [values['stated'][name]['value'] for name in ('ppv', 'npv')] == pytest.approx([ppv, npv])
    assert ppv < values['own']['ppv']['value'] and npv > values['own']['npv']['value']
    assert values['stated']['ppv']['ci95'][0] < ppv < values['stated']['ppv']['ci95'][1]


def test_without_a_finite_slope_metric_and_curve_say_why():
    rows = [{'split': 'test', 'id': str(n), 'target': 'ab'[n // 5], 'prob_a': 1 - p, 'prob_b': p}
            for n, p in enumerate(np.linspace(0.05, 0.95, 10))]
    found = summarise(rows, 'binary', 'ab')
    slope, intercept = (found['metrics']['test'][f'calibration_{kind}'] for kind in ('slope', 'intercept'))
    assert np.isnan(slope['value']) and slope['why'] == recalibration.SEPARATED
    assert intercept['value'] == pytest.approx(0, abs=1e-9) and intercept['ci95']
    assert found['probability']['b']['curve'] == {'why': recalibration.SEPARATED}
    one = summarise(rows[:5], 'binary', 'ab')['metrics']['test']
    assert one['calibration_slope']['why'] == one['calibration_intercept']['why'] == recalibration.ONE_CLASS


def test_the_error_is_that_of_the_positive_class_and_the_predicted_one_has_its_own_name():
    cases = table.Cases('binary', ('a', 'b'), tuple(map(str, range(100))), np.arange(100),
                        np.concatenate([np.arange(50) < 30, np.ones(50, bool)]).astype(int),
                        np.repeat([[0.7, 0.3], [0.3, 0.7]], 50, axis=0))
    found = intervals.compute_metrics(cases)
    assert found['ece'] == pytest.approx(0.3) and found['ece_predicted'] == pytest.approx(0)
    several = intervals.compute_metrics(table.read(rows_of('ordinal'), 'ordinal', diagnoses.KINDS['ordinal']))
    assert 'ece' in several and 'ece_predicted' not in several


@pytest.mark.parametrize('given, problem, want', [
    (0.1, 'binary', {'b': 0.1}), ({'b': 0.1}, 'binary', {'b': 0.1}), (None, 'binary', {}),
    ({'a': 0.2}, 'multilabel', {'a': 0.2})])
def test_a_prevalence_has_the_name_of_its_class(given, problem, want):
    assert probability_analysis.named_prevalence(given, problem, ('a', 'b')) == want


@pytest.mark.parametrize('given, problem', [({'a': 0.1}, 'binary'), (0.1, 'multiclass'), ({'c': 0.1}, 'multilabel')])
def test_a_prevalence_of_no_class_is_refused(given, problem):
    with pytest.raises(InputError, match=r'evaluate\.prevalence: .*; expected numbers by the name of a class: '):
        probability_analysis.named_prevalence(given, problem, ('a', 'b'))


def test_folds_have_the_analysis_of_all_their_cases(folders):
    from medjax.report import run_files
    run = run_files.read(folders['binary'])
    merged = merge.merge({'a': run}).results
    want = run.results['analysis']['probability']['pneumonia']
    got = merged['analysis']['probability']['pneumonia']
    assert got['curve'] == want['curve'] and got['decision']['model'] == want['decision']['model']
    assert merged['test']['calibration_slope']['value'] == run.results['test']['calibration_slope']['value']
