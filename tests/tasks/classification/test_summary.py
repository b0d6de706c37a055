import csv
import io
import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from medjax.errors import InputError
from medjax.tasks.classification.summary import summarise

CLASSES = ('well', 'sick')


def table(n=60, seed=0, split='test', patients=None, classes=CLASSES, skill=2.0, **columns):
    """Cases whose probabilities know something of their classes."""
    rng = np.random.default_rng([seed, len(split)])
    targets = np.concatenate([np.arange(len(classes)), rng.integers(0, len(classes), n - len(classes))])
    logits = rng.normal(0, 1, (n, len(classes))) + skill * np.eye(len(classes))[targets]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return [{'split': split, 'id': f'{split}{i}', 'patient': f'{split}{i % (patients or n)}',
             'target': classes[t], **{f'prob_{name}': float(p[k]) for k, name in enumerate(classes)},
             **{name: values[i % len(values)] for name, values in columns.items()}}
            for i, (t, p) in enumerate(zip(targets, probs))]


def labels(n=60, seed=0, split='test', unknown=0.2):
    rng = np.random.default_rng([seed, len(split)])
    targets = rng.integers(0, 2, (n, 2))
    probs = np.clip(0.5 * targets + 0.5 * rng.random((n, 2)) - 0.1, 0, 1)
    known = rng.random((n, 2)) > unknown
    return [{'split': split, 'id': f'{split}{i}', 'patient': f'{split}{i}',
             **{f'target_{name}': int(targets[i, k]) if known[i, k] else '' for k, name in enumerate('uv')},
             **{f'prob_{name}': float(probs[i, k]) for k, name in enumerate('uv')}} for i in range(n)]


def few(rows, problem='binary', classes=CLASSES, **options):
    return summarise(rows, problem, classes, **options)


def plain(value):
    """The value after JSON, with NaN distinguished from None."""
    return json.loads(json.dumps(value))


def test_metrics_are_computed_for_each_split():
    rows = table() + table(40, 1, 'val')
    found = few(rows)['metrics']
    assert set(found) == {'test', 'val'}
    truth = [row['target'] == 'sick' for row in rows if row['split'] == 'test']
    p = np.array([row['prob_sick'] for row in rows if row['split'] == 'test'])
    test = found['test']
    assert test['auroc']['value'] == pytest.approx(metrics.roc_auc_score(truth, p))
    assert test['sensitivity']['value'] == pytest.approx(metrics.recall_score(truth, p > 0.5))
    assert test['brier']['value'] == pytest.approx(metrics.brier_score_loss(truth, p))
    assert test['auroc']['n'] == test['auroc']['cases'] == 60 and found['val']['auroc']['n'] == 40
    assert 'kappa_weighted' not in test and 'auroc_sick' not in test
    for name in ('balanced_accuracy', 'f1', 'f1_micro', 'kappa', 'mcc', 'log_loss'):
        low, high = test[name]['ci95']
        assert low <= high and test[name]['unit'] == 'patient' and test[name]['method'] == 'jackknife', name
    sick, decided = np.array(truth), p > 0.5
    for name, counts, hit in (('accuracy', np.ones(60, bool), sick == decided), ('sensitivity', sick, decided),
                              ('specificity', ~sick, ~decided), ('precision', decided, sick)):
        k, n = int(hit[counts].sum()), int(counts.sum())
        low, high = stats.beta.ppf([0.025, 0.975], [k, k + 1], [n - k + 1, n - k])  # Clopper–Pearson
        assert test[name]['ci95'] == pytest.approx([low if k else 0, high if k < n else 1]), name
        assert (test[name]['count'], test[name]['n'], test[name]['cases']) == (k, n, n), name


def test_cases_of_a_patient_are_resampled_together():
    rows = table(30, skill=0.5)
    twice = [{**row, 'id': f'{row["id"]}{copy}'} for row in rows for copy in 'ab']
    once, both = few(rows)['metrics']['test'], few(twice)['metrics']['test']
    # A patient whose case is there twice says nothing new: the same figure and the same interval.
    assert both['accuracy']['n'] == 30 and both['accuracy']['cases'] == 60
    assert both['brier']['ci95'] == pytest.approx(once['brier']['ci95'])
    assert both['accuracy']['ci95'] == pytest.approx(once['accuracy']['ci95'], abs=0.015)


def test_interval_of_an_accuracy_is_binomial():
    # 200 patients, each right with .8: percentiles of the bootstrap are those of a binomial's share.
    rows = [{'split': 'test', 'id': str(i), 'target': CLASSES[i % 2], 'prob_well': float((i % 2 == 0) ^ (i < 40)),
             'prob_sick': float((i % 2 == 1) ^ (i < 40))} for i in range(200)]
    entry = summarise(rows, 'binary', CLASSES)['metrics']['test']['accuracy']
    assert entry['value'] == 0.8
    np.testing.assert_allclose(entry['ci95'], [0.745, 0.855], atol=0.008)


def test_threshold_is_chosen_on_validation_and_reported_on_test():
    val = [(0, 0.1), (0, 0.2), (0, 0.35), (0, 0.6), (1, 0.3), (1, 0.4), (1, 0.5), (1, 0.9)]
    test = [(0, 0.1), (0, 0.45), (1, 0.4), (1, 0.8), (1, 0.2)]
    rows = [{'split': split, 'id': f'{split}{i}', 'target': CLASSES[t], 'prob_well': 1 - p, 'prob_sick': p}
            for split, cases in (('val', val), ('test', test)) for i, (t, p) in enumerate(cases)]
    found = few(rows)
    # At .4: sensitivity 3/4, specificity 3/4; at .3: 1 and 1/2. Of two as good the higher.
    assert found['operating'] == {'threshold': 0.4, 'rule': 'Youden', 'split': 'val'}
    values = {name: found['metrics']['test'][f'{name}_operating']['value']
              for name in ('sensitivity', 'specificity', 'precision', 'accuracy')}
    assert values == pytest.approx({'sensitivity': 2 / 3, 'specificity': 1 / 2, 'precision': 2 / 3, 'accuracy': 3 / 5})
    assert 'sensitivity_operating' not in found['metrics']['val']
    given = few(rows, sensitivity=0.9)
    assert given['operating']['threshold'] == 0.3 and '0.9' in given['operating']['rule']
    assert few(rows, sensitivity=0.75)['operating']['threshold'] == 0.4


@pytest.mark.parametrize('problem', ['binary', 'multilabel'])
def test_nothing_is_fitted_on_test(problem):
    make, classes = {'binary': (table, CLASSES), 'multilabel': (labels, ('u', 'v'))}[problem]
    fitted = []
    for seed in (0, 1):
        found = few(make(seed=seed) + make(80, 7, 'val'), problem, classes)
        each = [(found[part][name] if problem == 'multilabel' else found[part]) for name in classes
                for part in ('operating', 'calibration', 'conformal')]
        fitted.append([[point['threshold'], cal['temperature']['parameters'], cal['platt']['parameters'],
                        cal['isotonic']['parameters'], sets['threshold']]
                       for point, cal, sets in zip(each[::3], each[1::3], each[2::3])])
    assert fitted[0] == fitted[1]


@pytest.mark.parametrize('problem', ['binary', 'multilabel'])
def test_a_calibration_split_alone_is_fitted_on_where_there_is_one(problem):
    make, classes = {'binary': (table, CLASSES), 'multilabel': (labels, ('u', 'v'))}[problem]
    test, apart = make(), make(80, 7, 'calibrate')
    parts = ('operating', 'calibration', 'conformal')
    # Equal to a fit on the same cases as validation cases, whatever other validation cases there are.
    expected = few([*test, *({**row, 'split': 'val'} for row in apart)], problem, classes)
    for seed in (0, 1):
        found = few([*test, *apart, *make(50, seed, 'val')], problem, classes)
        for name in classes:
            got, want = ([one[part][name] if problem == 'multilabel' else one[part] for part in parts]
                         for one in (found, expected))
            assert got[0] == {**want[0], 'split': 'calibrate'}
            assert {key: one['fitted_on'] for key, one in got[1].items()} == dict.fromkeys(got[1], 'calibrate')
            assert {key: one['parameters'] for key, one in got[1].items()} == {
                key: one['parameters'] for key, one in want[1].items()}
            assert got[2] == {**want[2], 'fitted_on': 'calibrate'}
        assert {'val', 'calibrate', 'test'} == set(found['metrics'])


def test_without_validation_nothing_is_fitted_and_a_warning_is_given():
    found = few(table())
    assert not {'operating', 'calibration', 'conformal'} & set(found)
    assert 'no validation cases: no operating point, calibration or conformal sets' in found['warnings']
    assert found['selective']['points'][-1]['coverage'] == 1
    assert not any('operating' in name for name in found['metrics']['test'])


def test_calibration_and_conformal_sets_on_test():
    found = few(table(400, skill=1.5) + table(400, 1, 'val', skill=1.5), coverage=0.8)
    for method in ('temperature', 'platt', 'isotonic'):
        of = found['calibration'][method]
        assert of['ece']['before'] == pytest.approx(found['metrics']['test']['ece']['value'])
        assert of['log_loss']['before'] == pytest.approx(found['metrics']['test']['log_loss']['value'])
        assert of['brier']['after'] < 1.05 * of['brier']['before'] and of['fitted_on'] == 'val'
        assert sum(b['n'] for b in of['reliability']['sick']) == 400
    sets = found['conformal']
    assert sets['nominal_coverage'] == 0.8 and sets['fitted_cases'] == 400
    assert sets['coverage']['ci95'][0] < sets['coverage']['value'] < sets['coverage']['ci95'][1]
    assert sets['coverage']['value'] == pytest.approx(0.8, abs=0.08)
    assert sum(sets['sizes'].values()) == 400
    assert sum(int(k) * v for k, v in sets['sizes'].items()) / 400 == pytest.approx(sets['set_size']['value'])
    points = found['selective']['points']
    assert len(points) <= 50 and points[-1]['risk'] == pytest.approx(1 - found['metrics']['test']['accuracy']['value'])
    assert found['selective']['aurc']['value'] < points[-1]['risk']


def test_several_classes_and_ordinal_ones():
    classes = ('a', 'b', 'c')
    rows = table(90, classes=classes) + table(90, 1, 'val', classes=classes)
    several, ordinal = few(rows, 'multiclass', classes), few(rows, 'ordinal', classes)
    test = several['metrics']['test']
    assert test['auroc']['value'] == pytest.approx(np.mean([test[f'auroc_{name}']['value'] for name in classes]))
    assert {f'{m}_{c}' for m in ('auroc', 'sensitivity', 'specificity', 'precision') for c in classes} <= set(test)
    assert 'operating' not in several and several['calibration']['platt']['parameters']['a'][0] > 0
    predicted = [max(classes, key=lambda name: row[f'prob_{name}']) for row in rows[:90]]
    want = metrics.cohen_kappa_score([row['target'] for row in rows[:90]], predicted, weights='quadratic')
    assert ordinal['metrics']['test']['kappa_weighted']['value'] == pytest.approx(want)
    assert ordinal['metrics']['test'] == {**test, 'kappa_weighted': ordinal['metrics']['test']['kappa_weighted']}


def test_labels_are_evaluated_where_known():
    rows = labels() + labels(60, 1, 'val')
    found = few(rows, 'multilabel', ('u', 'v'))
    known = [row for row in rows[:60] if row['target_u'] != '']
    entry = found['metrics']['test']['auroc_u']
    want = metrics.roc_auc_score([row['target_u'] for row in known], [row['prob_u'] for row in known])
    assert entry['value'] == pytest.approx(want) and entry['cases'] == len(known) < 60
    assert entry['method'] == 'Newcombe' and found['metrics']['test']['f1_u']['method'] == 'jackknife'
    assert found['metrics']['test']['auroc']['cases'] == sum(
        row['target_u'] != '' or row['target_v'] != '' for row in rows[:60])
    assert set(found['operating']) == set(found['conformal']) == set(found['selective']) == {'u', 'v'}
    assert 'sensitivity_operating_v' in found['metrics']['test']
    assert found['calibration']['u']['temperature']['ece']['before'] == pytest.approx(
        found['metrics']['test']['ece_u']['value'])


def test_cells_of_text_and_the_order_of_rows_change_nothing():
    rows = table(50, sex=['F', 'M', 'F']) + table(30, 1, 'val', sex=['F'])
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    file.seek(0)
    want = few(rows, subgroups=['sex'])
    assert plain(few(list(csv.DictReader(file)), subgroups=['sex'])) == plain(want)
    again = few(rows[::-1], subgroups=['sex'])
    assert again['operating'] == want['operating'] and again['warnings'][::-1] == want['warnings'][::-1]
    for name, entry in want['metrics']['test'].items():
        assert again['metrics']['test'][name]['value'] == pytest.approx(entry['value'], abs=1e-12)


def test_subgroups_and_columns_that_are_not_grouped():
    rows = table(80, sex=['F', 'M', ''], age=[str(a) for a in range(30, 70)])
    found = few(rows, subgroups=['sex', 'age'])
    assert list(found['subgroups']) == ['sex'] and list(found['subgroups']['sex']['groups']) == ['F', 'M', 'unknown']
    assert any(line.startswith('age: 40 values') for line in found['warnings'])
    with pytest.raises(InputError, match=r'subgroups: scanner; expected a column.*sex'):
        few(rows, subgroups=['scanner'])


def test_uncertainty_of_an_ensemble_has_a_risk_coverage_curve():
    rows = table(40, skill=0.5)
    wrong = [(row['prob_sick'] > 0.5) != (row['target'] == 'sick') for row in rows]
    results = few([{**row, 'uncertainty': float(w)} for row, w in zip(rows, wrong)])
    # Errors come last: the least area that so many of them can have.
    k = sum(wrong)
    want = sum(j / (40 - k + j) for j in range(1, k + 1)) / 40
    got = results['selective_uncertainty']['aurc']['value']
    assert got == pytest.approx(want) and got < results['selective']['aurc']['value']
    assert 'selective_uncertainty' not in few(rows)


def test_a_single_class_has_a_warning():
    rows = [{**row, 'target': 'well'} for row in table(12)] + table(20, 1, 'val')
    found = few(rows)
    entry = found['metrics']['test']['auroc']
    assert np.isnan(entry['value']) and entry['ci95'] is None and 'one class only' in entry['why']
    assert any(line.startswith('test: one class only, well') for line in found['warnings'])
    assert not np.isnan(found['metrics']['test']['accuracy']['value'])
    only_val = few(table() + [{**row, 'target': 'sick'} for row in table(12, 1, 'val')])
    assert 'operating' not in only_val and 'calibration' not in only_val
    assert any('no operating point and no calibration' in line for line in only_val['warnings'])


def test_a_class_without_training_cases_is_named():
    classes = ('a', 'b', 'c')
    val = [row for row in table(30, 1, 'val', classes=classes) if row['target'] != 'c']
    rows = table(30, classes=classes) + val
    count = sum(row['target'] == 'c' for row in rows)
    lines = few(rows, 'multiclass', classes)['warnings']
    assert f'test: {count} cases of c, a class without a val row' in lines
    assert any(line.startswith('val: no case of c') for line in lines)


def test_a_metric_that_one_patient_defines_has_no_interval():
    rows = [{'split': 'test', 'id': str(i), 'target': CLASSES[i == 0], 'prob_well': 0.6, 'prob_sick': 0.4}
            for i in range(30)]
    entry = few(rows)['metrics']['test']['mcc']
    assert entry['value'] == 0 and entry['ci95'] is None
    assert 'not defined without some patient (one class only' in entry['why']
    single = few([{**row, 'patient': 'p'} for row in table(10)])['metrics']['test']['accuracy']
    assert single['n'] == 1 and single['why'] == 'one patient: no confidence interval'


@pytest.mark.parametrize('problem, make, classes', [
    ('binary', table, CLASSES), ('multilabel', labels, ('u', 'v'))])
def test_results_are_plain_json(problem, make, classes):
    rows = make() + make(40, 1, 'val') + make(40, 2, 'train')
    found = few([{**row, 'sex': 'FM'[i % 2]} for i, row in enumerate(rows)], problem, classes, subgroups=['sex'])
    assert json.dumps(plain(found)) == json.dumps(found)


@pytest.mark.parametrize('change, message', [
    ({'prob_sick': 'high'}, 'case test3: prob_sick: high; expected a number from 0 to 1'),
    ({'prob_sick': float('nan')}, 'case test3: prob_sick: nan'),
    ({'prob_sick': 1.2}, 'case test3: prob_sick: 1.2'),
    ({'prob_sick': 0.9, 'prob_well': 0.9}, 'case test3: the probabilities of well, sick sum to 1.8; expected 1'),
    ({'target': 'dead'}, 'case test3: target: dead; expected one of well, sick'),
    ({'split': ''}, 'case test3: split')])
def test_bad_rows_are_named(change, message):
    rows = table(10)
    rows[3] |= change
    with pytest.raises(InputError, match=message):
        few(rows)


@pytest.mark.parametrize('call, message', [
    (lambda: few([]), 'no case'),
    (lambda: few(table(), 'regression'), 'problem: regression; expected one of binary'),
    (lambda: few(table(), 'binary', ('a', 'b', 'c')), 'classes: a, b, c; expected two'),
    (lambda: few(table(), sensitivity=90), 'sensitivity: 90'),
    (lambda: few(table(), coverage=1.0), 'coverage: 1.0'),
    (lambda: few([{**row, 'target_u': 2} for row in labels()], 'multilabel', 'uv'), 'target_u: 2; expected 0, 1')])
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_non_numeric_uncertainty_is_named():
    rows = [{**row, 'uncertainty': 'high' if row['id'] == 'test3' else 0.1} for row in table(8)]
    with pytest.raises(InputError, match='case test3: uncertainty: high; expected a number'):
        few(rows)


@pytest.mark.parametrize('name', ['micro', 'adaptive', 'operating', 'weighted'])
def test_a_label_may_not_have_the_name_of_a_metric(name):
    rows = [{'split': 'test', 'id': str(i), f'target_{name}': i % 2, f'prob_{name}': 0.3} for i in range(4)]
    with pytest.raises(InputError, match=f'classes: {name}; expected none of'):
        few(rows, 'multilabel', (name,))
