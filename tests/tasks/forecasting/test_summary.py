"""Metrics of forecasting: against scikit-learn on the same visits, where they are undefined, and damaged tables."""

import math

import numpy as np
import pytest
from scipy import special
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from medjax.errors import InputError
from medjax.tasks.forecasting import merge, summary
from medjax.tasks.forecasting.table import read
from tests.metrics.ipcw import horizon_weights
from tests.tasks.forecasting import forecasts
from tests.tasks.forecasting.forecasts import EVENTS, LEADS, NAMES, WITHIN


def table(patients=60, events=EVENTS, seed=0):
    rows = list(forecasts.rows_of('test', patients, np.random.default_rng(seed), events))
    return rows, read(rows, NAMES, events, WITHIN)


def test_metrics_equal_scikit_learn():
    rows, of = table()
    got, ratios = summary.compute_metrics(of, LEADS), []
    for name in NAMES:
        some = [row for row in rows if row[f'next_{name}'] != '']
        came = [row[f'next_{name}'] for row in some]
        for end, stem in (('', 'forecast'), ('_carried', 'carried'), ('_ridge', 'ridge')):
            said = [row[f'{stem}_{name}'] for row in some]
            assert got[f'mae_{name}{end}'] == pytest.approx(metrics.mean_absolute_error(came, said))
            assert got[f'rmse_{name}{end}'] == pytest.approx(metrics.root_mean_squared_error(came, said))
            assert got[f'r2_{name}{end}'] == pytest.approx(metrics.r2_score(came, said))
        ratios.append(got[f'mae_{name}'] / got[f'mae_{name}_carried'])
    assert got['mase'] == pytest.approx(np.mean(ratios)) and got['mase_gain'] == got['mase_ridge'] - got['mase']
    known = [row for row in rows if row['gap'] > WITHIN or row['ended']]
    came = np.array([row['gap'] <= WITHIN for row in known])
    weight = horizon_weights([row['gap'] for row in rows], [bool(row['ended']) for row in rows], WITHIN)
    weight = weight[[row['gap'] > WITHIN or bool(row['ended']) for row in rows]]
    assert weight.max() > 1.1
    for end, stem in (('', 'chance_death'), ('_logistic', 'logistic_death')):
        said = np.array([row[stem] for row in known])
        assert got[f'auroc{end}'] == pytest.approx(metrics.roc_auc_score(came, said, sample_weight=weight))
        assert got[f'auprc{end}'] == pytest.approx(metrics.average_precision_score(
            came, said, sample_weight=weight))
        assert got[f'brier{end}'] == pytest.approx(metrics.brier_score_loss(came, said, sample_weight=weight))
        log_odds = special.logit(np.clip(said, 1e-12, 1 - 1e-12))
        fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_odds[:, None], came, weight)
        assert got[f'calibration_slope{end}'] == pytest.approx(fit.coef_[0, 0], abs=1e-5)
        shifted = special.expit(got[f'calibration_intercept{end}'] + log_odds)
        assert (weight * (came - shifted)).sum() == pytest.approx(0, abs=1e-8)
        for low, high in ((0, 1), (1, 2)):
            span = np.array([not hit or low < row['gap'] <= high for hit, row in zip(came, known)])
            assert got[f'auroc_in_{low}_{high}{end}'] == pytest.approx(metrics.roc_auc_score(
                came[span], said[span], sample_weight=weight[span]))
    assert got['auroc_gain'] == got['auroc'] - got['auroc_logistic']


def test_weights_are_multiplicities():
    rows, of = table(20)
    times = np.random.default_rng(1).integers(0, 3, len(rows))
    _, repeated = rows, read([row for row, count in zip(rows, times) for _ in range(count)], NAMES, EVENTS,
                             WITHIN)
    got, want = summary.compute_metrics(of, LEADS, times[None]), summary.compute_metrics(repeated, LEADS)
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], [value], rtol=1e-6, err_msg=name)


def test_each_of_several_events_has_its_metrics():
    events = ('death', 'stroke')
    rows, of = table(80, events)
    got = summary.compute_metrics(of, LEADS)
    known = [row for row in rows if row['gap'] > WITHIN or row['ended']]
    came = [row['gap'] <= WITHIN and row['ended'] == 'stroke' for row in known]
    weight = horizon_weights([row['gap'] for row in rows], [bool(row['ended']) for row in rows], WITHIN)
    assert got['auroc_stroke'] == pytest.approx(metrics.roc_auc_score(
        came, [row['chance_stroke'] for row in known], sample_weight=weight[weight > 0]))
    assert 'auroc' not in got and {'auroc_death_gain', 'auroc_gain_death'} & got.keys() == {'auroc_gain_death'}


def test_undefined_metrics_have_a_reason():
    rows = [{**row, 'ended': ''} for row in table(12)[0]]
    found = summary.summarise(rows, NAMES, EVENTS, WITHIN, LEADS)
    entry = found['metrics']['test']['auroc']
    assert math.isnan(entry['value']) and entry['why'] == 'the event occurs after all of these visits, or after none'
    assert found['positives']['test']['death'][''] == 0
    assert any('death within 2 in only 0 patients' in line for line in found['warnings'])
    no_events = summary.summarise(rows, NAMES, EVENTS, 0.0, ())
    assert not any(name.startswith('au') for name in no_events['metrics']['test'])
    assert found['metrics']['test']['mase']['ci95'] == no_events['metrics']['test']['mase']['ci95']


def test_intervals_are_over_patients():
    rows, of = table(30)
    entry = summary.summarise(rows, NAMES, EVENTS, WITHIN, LEADS)['metrics']['test']['mae_sugar']
    some = {row['patient'] for row in rows if row['next_sugar'] != ''}
    assert entry['n'] == len(some) and entry['cases'] == sum(row['next_sugar'] != '' for row in rows)
    assert entry['ci95'][0] < entry['value'] < entry['ci95'][1]


def test_runs_over_seeds_are_means():
    rng = np.random.default_rng(0)
    first = list(forecasts.rows_of('test', 25, rng))
    second = [{**row, **{name: row[name] + 1 for name in row if name.startswith('forecast_') and row[name] != ''}}
              for row in first]
    text = {name: [{key: str(cell) for key, cell in row.items()} for row in rows]
            for name, rows in (('a', first), ('b', second))}
    found, mean = merge.pooled(text, NAMES, EVENTS, WITHIN, LEADS)
    each = [summary.compute_metrics(read(rows, NAMES, EVENTS, WITHIN), LEADS)['mase'] for rows in (first, second)]
    assert found['mase']['value'] == pytest.approx(np.mean(each)) and found['mase']['runs'] == 2
    assert found['mase']['run_sd'] == pytest.approx(np.std(each, ddof=1))
    both = {row['id']: row for row in mean}
    for row in first:
        name = 'forecast_sugar'
        assert both[row['id']][name] == ('' if row[name] == '' else pytest.approx(row[name] + 0.5))


@pytest.mark.parametrize('changes, message', [
    (dict(gap=-1), r'predictions, case test000_0: gap: -1; expected a number'),
    (dict(ended='flu'), "predictions, case test000_0: ended: 'flu'; expected nothing or one of: death"),
    (dict(chance_death=1.5), 'case test000_0: chance_death: 1.5; expected a number from 0 to 1'),
    (dict(time='soon'), 'case test000_0: time: soon; expected a number'),
    ({'next_sugar': 3.0, 'forecast_sugar': ''}, 'case test000_0: forecast_sugar: nothing; expected a number, because'),
    ({'next_sugar': math.nan}, 'case test000_0: next_sugar: nan; expected a number, or nothing'),
])
def test_damaged_tables(changes, message):
    rows = table(3)[0]
    rows[0] = rows[0] | changes
    with pytest.raises(InputError, match=message):
        read(rows, NAMES, EVENTS, WITHIN)


def test_no_rows():
    with pytest.raises(InputError, match='predictions: no case'):
        summary.summarise([], NAMES, EVENTS, WITHIN, LEADS)
