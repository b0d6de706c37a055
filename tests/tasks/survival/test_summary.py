"""The predictions table of survival analysis and its metrics: reading, values by hand, and undefined metrics."""

import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from medjax.errors import InputError
from medjax.metrics import concordance
from medjax.metrics import survival as estimates
from medjax.tasks.survival import summary
from medjax.tasks.survival import table as survival_table
from medjax.tasks.survival.split import AT_HORIZON
from tests.tasks.survival.survivals import rows_of


def row(number, time, event='', risk=0.0, at=(0.2, 0.4), **more):
    """A case of the event 'death' with curves at 5 and 10."""
    return {'split': 'test', 'id': f'c{number}', 'patient': f'p{number}', 'time': time, 'event': event,
            'risk_death': risk, 'incidence_death_at_5': at[0], 'incidence_death_at_10': at[1]} | more


FOUR = [row(0, 2, 'death', 4.0, (0.8, 0.9)), row(1, 4, 'death', 3.0, (0.6, 0.9)), row(2, 7, '', 2.0, (0.3, 0.6)),
        row(3, 12, 'death', 1.0, (0.1, 0.2))]


def cohort(events=('death',), val=300, test=400, seed=0, error=0.0):
    rng = np.random.default_rng(seed)
    return [*rows_of('val', val, events, rng, error), *rows_of('test', test, events, rng, error)]


@pytest.fixture(scope='module')
def competing():
    rows = cohort(('death', 'transplant'))
    return rows, summary.summarise(rows, ('death', 'transplant'), 'months')


@pytest.fixture(scope='module')
def single():
    rows = cohort()
    return rows, summary.summarise(rows, ('death',), 'months')


def test_rows_as_arrays():
    table = survival_table.read([*FOUR, row(4, 9.5, 'death', patient='p0')], ('death',))
    assert table.ids == ('c0', 'c1', 'c2', 'c3', 'c4') and table.patients.tolist() == [0, 1, 2, 3, 0]
    assert table.time.tolist() == [2, 4, 7, 12, 9.5] and table.event.tolist() == [1, 1, 0, 1, 1]
    assert table.risk.shape == (5, 1) and table.grid.tolist() == [5, 10] and table.incidence.shape == (5, 1, 2)
    assert not table.has_other_event(0).any() and table.has_event(0).tolist() == [True, True, False, True, True]


def test_cells_may_be_text_and_columns_in_any_order():
    text = [{key: str(value) for key, value in reversed(one.items())} for one in FOUR]
    got, want = survival_table.read(text, ('death',)), survival_table.read(FOUR, ('death',))
    assert all(np.array_equal(getattr(got, name), getattr(want, name))
               for name in ('time', 'event', 'risk', 'grid', 'incidence'))


def test_curves_are_linear_between_times_from_zero_and_constant_after_the_last():
    got = survival_table.read(FOUR, ('death',)).incidence_at(0, np.array([0, 2.5, 5, 6, 10, 99]))
    assert got[0] == pytest.approx(np.array([0, 0.4, 0.8, 0.82, 0.9, 0.9]))


def test_columns_of_events_with_a_common_prefix_are_distinguished():
    events, one = ('death', 'death_at_1'), row(0, 2, 'death_at_1', risk_death_at_1=1.0)
    with pytest.raises(InputError, match='incidence_death_at_'):
        survival_table.read([one | {f'incidence_death_at_1_at_{t}': 0.1 for t in (5, 10)}], events)


@pytest.mark.parametrize('change, message', [
    ({'time': -1}, r'case c0: time: -1; expected a time of 0 or more'),
    ({'time': ''}, r'case c0: time: ; expected a time'),
    ({'time': 'inf'}, r'case c0: time: inf; expected a time'),
    ({'event': 'relapse'}, r'case c0: event: relapse; expected one of death, or nothing'),
    ({'risk_death': float('nan')}, r'case c0: risk_death: nan; expected a number'),
    ({'risk_death': None}, r'case c0: risk_death: None; expected a number'),
    ({'incidence_death_at_5': 1.5}, r'case c0: incidence_death_at_5: 1.5; expected a number from 0 to 1'),
    ({'incidence_death_at_10': 'x'}, r'case c0: incidence_death_at_10: x; expected a number from 0 to 1'),
    ({'incidence_death_at_10': 0.7}, r'case c0: incidence_death_at_10: 0.7; expected no less than the 0.8 of inc'),
    ({'incidence_death_at_0': 0.0}, r'incidence_death_at_…: .*0; expected a column for each time of a grid'),
    ({'incidence_death_at_5.0': 0.8}, r'incidence_death_at_…: .*5.0; expected a column for each time'),
])
def test_bad_cells_are_named(change, message):
    with pytest.raises(InputError, match=message) as error:
        survival_table.read([FOUR[0] | change, *FOUR[1:]], ('death',))
    assert '\n' not in str(error.value)


def test_missing_columns_are_named():
    for column in ('time', 'event', 'risk_death', 'incidence_death_at_10'):
        rows = [dict(one) for one in FOUR]
        del rows[2][column]
        with pytest.raises(InputError, match=f'case c2: {column}'):
            survival_table.read(rows, ('death',))
    with pytest.raises(InputError, match='incidence_death_at_…: no column'):
        survival_table.read([{'id': 'a', 'time': 1, 'event': '', 'risk_death': 1}], ('death',))
    with pytest.raises(InputError, match='no case; expected at least one'):
        summary.summarise([], ('death',))


def test_incidences_of_all_events_are_one_at_most_together():
    more = {'risk_relapse': 0, 'incidence_relapse_at_5': 0.1, 'incidence_relapse_at_10': 0.2}
    with pytest.raises(InputError, match=r'case c0: the incidences at 10 sum to 1.1; expected at most 1'):
        survival_table.read([FOUR[0] | more], ('death', 'relapse'))


def test_metrics_by_hand():
    """All ranked right. At 5 nobody is censored yet, and the first two are cases."""
    found = summary.compute_metrics(survival_table.read(FOUR, ('death',)), [5.0])
    assert found['c_index'] == found['c_uno'] == found['c_td'] == found['auc_5'] == 1
    assert found['brier_5'] == pytest.approx((0.2 ** 2 + 0.4 ** 2 + 0.3 ** 2 + 0.1 ** 2) / 4)
    # At 10 the third is not counted, and the last, one of two at risk when it was censored, twice.
    at_10 = (0.1 ** 2 + 0.1 ** 2 + 2 * 0.2 ** 2) / 4
    assert found['ibs'] == pytest.approx((found['brier_5'] + at_10) / 2)


def test_uno_and_antolini_stop_where_the_curves_do():
    """Of the events at 2, 10 and 12, ranked in reverse, Antolini's counts two and Uno's the first alone."""
    rows = [row(0, 2, 'death', 9.0, (0.9, 0.9)), row(1, 10, 'death', 1.0, (0.1, 0.2)),
            row(2, 12, 'death', 2.0, (0.2, 0.3)), row(3, 13, '', 3.0, (0.3, 0.4))]
    found = summary.compute_metrics(survival_table.read(rows, ('death',)), [])
    assert (found['c_index'], found['c_td'], found['c_uno']) == (3 / 6, 3 / 5, 1)


def test_horizons_are_the_quartiles_of_validation_events(single):
    rows, found = single
    times = [one['time'] for one in rows if one['split'] == 'val' and one['event']]
    assert found['horizons'] == [float(f'{t:.3g}') for t in np.quantile(times, [0.25, 0.5, 0.75])]
    assert found['horizons_from'] == 'val'
    apart = [{**one, 'split': 'calibrate', 'time': one['time'] / 2} for one in rows if one['split'] == 'val']
    halved = summary.summarise([*rows, *apart], ['death'])
    assert halved['horizons_from'] == 'calibrate'
    assert halved['horizons'] == [float(f'{t / 2:.3g}') for t in np.quantile(times, [0.25, 0.5, 0.75])]
    keys = {'c_index', 'c_uno', 'c_td', 'ibs', *(f'{s}_{h:g}' for s in AT_HORIZON for h in found['horizons'])}
    assert {split: set(entries) for split, entries in found['metrics'].items()} == {'val': keys, 'test': keys}


def test_entries_have_intervals_counts_and_events(single):
    rows, found = single
    dead = sum(one['split'] == 'test' and one['event'] == 'death' for one in rows)
    for name, entry in found['metrics']['test'].items():
        assert entry['ci95'][0] < entry['value'] < entry['ci95'][1], name
        assert (entry['n'], entry['cases'], entry['events'], entry['method']) == (400, 400, dead, 'jackknife')
    assert found['metrics']['test']['c_index']['value'] > 0.6


def test_cases_of_a_patient_are_left_out_together():
    """Each patient twice: as many patients, and so intervals as wide, as once."""
    rows = cohort(val=0, test=80)
    once, twice = (summary.summarise([one for one in rows for _ in range(times)], ('death',))['metrics']['test']['ibs']
                   for times in (1, 2))
    assert (once['n'], twice['n'], twice['cases']) == (80, 80, 160)
    assert twice['ci95'] == pytest.approx(once['ci95'], abs=1e-12)


def test_with_several_events_a_metric_is_the_mean_over_them(competing):
    _, found = competing
    of = found['metrics']['test']
    at = [f'{score}_{h:g}' for score in ('auc', 'brier') for h in found['horizons']]
    for name in ('c_index', 'c_uno', 'c_td', 'ibs', *at):
        parts = [of[f'{name}_{event}'] for event in ('death', 'transplant')]
        assert of[name]['value'] == pytest.approx(np.mean([part['value'] for part in parts]))
        assert of[name]['events'] == sum(part['events'] for part in parts)


def test_a_competing_event_is_not_censoring_for_brier_scores_and_auc(competing):
    rows, found = competing
    test = survival_table.read([one for one in rows if one['split'] == 'test'], ('death', 'transplant'))
    h, of = found['horizons'][2], found['metrics']['test']
    score, known = test.incidence_at(1, np.array([h])), (test.time, test.has_event(1))
    others = test.has_event(0), None
    brier = [estimates.brier(*known, 1 - score, np.array([h]), competing=other)[0] for other in others]
    auc = [estimates.cumulative_dynamic_auc(*known, score[:, 0], h, competing=other) for other in others]
    assert of[f'brier_{h:g}_transplant']['value'] == brier[0] != brier[1]
    assert of[f'auc_{h:g}_transplant']['value'] == auc[0] != auc[1]


def test_an_event_without_cases_is_left_out_of_means():
    rows = [one | {'event': one['event'].replace('transplant', '')} for one in cohort(('death', 'transplant'), 0, 60)]
    found = summary.summarise(rows, ('death', 'transplant'))
    of = found['metrics']['test']
    assert of['c_index']['value'] == of['c_index_death']['value']
    assert np.isnan(of['c_index_transplant']['value']) and 'outlived' in of['c_index_transplant']['why']
    assert any('no case has the event transplant' in line for line in found['warnings'])


def test_true_risks_have_better_metrics_than_noisy_ones():
    """The true risks are beaten by no others, and their curves' Brier score by none with an error."""
    true, wrong = (summary.compute_metrics(survival_table.read(cohort(val=0, test=600, error=e), ('death',)), [20.0])
                   for e in (0.0, 1.5))
    for name in ('c_index', 'c_uno', 'c_td', 'auc_20'):
        assert true[name] > wrong[name] + 0.05, name
    for name in ('ibs', 'brier_20'):
        assert true[name] < wrong[name] - 0.01, name


def test_risk_groups_are_cut_where_validation_cases_are(single):
    rows, found = single
    risk = lambda split: np.array([one['risk_death'] for one in rows if one['split'] == split])
    groups = found['groups']['test']
    assert groups['cuts'] == np.quantile(risk('val'), [1 / 3, 2 / 3]).tolist()
    low, medium, high = groups['groups']
    assert [low['name'], medium['name'], high['name']] == ['low', 'medium', 'high']
    assert low['n'] == (risk('test') < groups['cuts'][0]).sum()
    assert high['n'] == (risk('test') >= groups['cuts'][1]).sum()
    for h in found['horizons']:
        assert low['survival_at'][f'{h:g}'] > medium['survival_at'][f'{h:g}'] > high['survival_at'][f'{h:g}']
    assert groups['logrank']['df'] == 2 and groups['logrank']['p'] < 1e-6


def test_a_thinned_curve_has_exact_points():
    rows = cohort(val=0, test=900)
    curve = summary.summarise(rows, ('death',))['groups']['test']['groups'][2]['curve']
    table = survival_table.read(rows, ('death',))
    chosen = table.risk[:, 0] >= np.quantile(table.risk[:, 0], 2 / 3)
    full = estimates.kaplan_meier(table.time[chosen], table.event[chosen] > 0)
    assert len(curve['times']) <= 200 and curve['times'][0] == 0 and curve['survival'][0] == 1
    assert curve['at_risk'][0] == chosen.sum() and curve['times'][-1] == table.time[chosen].max()
    assert curve['survival'][1:] == full.at(np.array(curve['times'][1:]))[0].tolist()


@pytest.mark.parametrize('kind', ['single', 'competing'])
def test_true_probabilities_are_calibrated(kind, request):
    """Predictions are the truth: the most part of the bins' intervals hold it, and the mean distance is chance's."""
    _, found = request.getfixturevalue(kind)
    bins = [one for split in found['calibration'].values() for of in split.values() for one in of['bins']]
    held = [one['ci95'][0] <= one['predicted'] <= one['ci95'][1] for one in bins if 0 < one['observed'] < 1]
    assert len(held) > 0.8 * len(bins) and 0.82 < np.mean(held) < 1
    for split, cases in (('val', 300), ('test', 400)):
        for of in found['calibration'][split].values():
            assert sum(one['n'] for one in of['bins']) == cases and len(of['bins']) == 10
            assert min(one['n'] for one in of['bins']) >= 20 and of['error'] < 0.12
            assert np.all(np.diff([one['predicted'] for one in of['bins']]) > 0)


def test_calibration_of_each_event(competing):
    _, found = competing
    first, second = f'{found["horizons"][0]:g}', f'{found["horizons"][0]:g}_transplant'
    assert found['calibration']['test'][first]['event'] == 'death'
    assert found['calibration']['test'][second]['event'] == 'transplant'


def test_observed_incidence_by_hand():
    """20 equal predictions; a quarter dies by 5 and none is censored before: one bin."""
    rows = [row(k, 3 if k < 5 else 12, 'death', at=(0.3, 0.4)) for k in range(20)]
    of = summary._calibration(survival_table.read(rows, ('death',)), 0, 5.0)
    (one,) = of['bins']
    assert (one['n'], one['events']) == (20, 5) and of['error'] == pytest.approx(0.05)
    assert (one['predicted'], one['observed']) == pytest.approx((0.3, 0.25)) and one['ci95'][0] < 0.25 < one['ci95'][1]


@pytest.mark.parametrize('cases, distinct, sizes', [(30, 30, [30]), (45, 45, [20, 25]), (60, 2, [30, 30])])
def test_bins_have_twenty_cases_and_equal_predictions_stay_together(cases, distinct, sizes):
    rows = [row(k, 3 + k, 'death', at=(0.01 * (k % distinct), 0.9)) for k in range(cases)]
    of = summary._calibration(survival_table.read(rows, ('death',)), 0, 5.0)
    assert [one['n'] for one in of['bins']] == sizes


def test_an_interval_without_width_is_none():
    """None of 20 dies by 5: the observed share is 0 and has no variance."""
    table = survival_table.read([row(k, 12, 'death') for k in range(20)], ('death',))
    (one,) = summary._calibration(table, 0, 5.0)['bins']
    assert one['observed'] == 0 and one['ci95'] is None


def test_without_events_metrics_are_missing():
    found = summary.summarise([row(k, 3 + k) for k in range(30)], ('death',))
    assert found['horizons'] == [] and any('no event' in line for line in found['warnings'])
    of = found['metrics']['test']
    for name in ('c_index', 'c_uno', 'c_td'):
        assert np.isnan(of[name]['value']) and of[name]['ci95'] is None and 'outlived' in of[name]['why']
    assert np.isnan(found['groups']['test']['logrank']['p'])


def test_one_patient_has_no_interval_and_no_pair():
    of = summary.summarise([row(0, 12, 'death')], ('death',))['metrics']['test']
    assert np.isnan(of['c_index']['value']) and 'why' in of['c_index']
    assert of['ibs']['ci95'] is None and 'one patient' in of['ibs']['why']


def test_missing_metrics_have_a_warning():
    """The curves end at 10: horizons beyond are left out, and cases beyond are counted."""
    rows = [row(k, 4 + k, 'death', risk=-k) for k in range(30)]
    found = summary.summarise(rows, ('death',), 'months')
    assert found['horizons'] == [] and any('left out' in line for line in found['warnings'])
    assert any('23 of 30' in line and '10 months' in line for line in found['warnings'])
    assert any('set by the test cases' in line for line in found['warnings'])


def test_nobody_followed_to_a_horizon():
    """The test cases' last is at 8; there is neither a Brier score at 9 nor anything observed then."""
    rows = [row(k, 4 + k / 5, 'death' if k % 2 else '', risk=-k) for k in range(21)]
    table = survival_table.read(rows, ('death',))
    found = summary.compute_metrics(table, [9.0])
    assert np.isnan(found['brier_9']) and np.isnan(found['auc_9']) and np.isnan(found['ibs'])
    assert np.isnan(summary._calibration(table, 0, 9.0)['bins'][0]['observed'])


def test_the_order_of_rows_changes_nothing(single):
    rows, found = single
    again = summary.summarise(rows[::-1], ('death',), 'months')
    for name, entry in found['metrics']['test'].items():
        assert again['metrics']['test'][name]['value'] == pytest.approx(entry['value'], abs=1e-12)
    assert again['groups']['test'] == found['groups']['test']


def test_the_c_index_is_that_of_the_arrays(single):
    rows, found = single
    test = survival_table.read([one for one in rows if one['split'] == 'test'], ('death',))
    want = concordance.harrell(test.time, test.has_event(0), test.risk[:, 0])
    assert found['metrics']['test']['c_index']['value'] == want


def test_recalibration_at_a_horizon_is_a_logistic_regression_weighted_for_censoring():
    rng = np.random.default_rng(0)
    times, events = rng.integers(1, 9, 60), rng.choice(['death', 'death', ''], 60)
    rows = [row(number, float(time), event, at=(p, min(1, p + 0.1))) for number, (time, event, p) in enumerate(
        zip(times, events, rng.uniform(0.1, 0.8, 60)))]
    table = survival_table.read(rows, ['death'])
    weight = np.stack([np.ones(60, np.uint8), rng.multinomial(60, np.full(60, 1 / 60)).astype(np.uint8)])
    found = summary.compute_metrics(table, [5.0], weight)
    log_odds = special.logit([one['incidence_death_at_5'] for one in rows])
    for place, count in enumerate(weight.astype(float)):
        def uncensored(until, count=count):
            """The Kaplan–Meier estimate of being uncensored, step by step: at equal times events come first."""
            g = 1.0
            for t in range(1, 9):
                if t <= until:
                    lost = count[(times == t) & (events == '')].sum()
                    at_risk = count[times >= t].sum() - count[(times == t) & (events == 'death')].sum()
                    g *= 1 - lost / at_risk if at_risk else 1
            return g
        inverse = np.array([0 if t <= 5 and not event else 1 / uncensored(5 if t > 5 else t - 0.5)
                            for t, event in zip(times, events)]) * count
        occurs = (times <= 5) & (events == 'death')
        fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_odds[:, None], occurs, inverse)
        assert found['calibration_slope_5'][place] == pytest.approx(fit.coef_[0, 0], abs=1e-5)
        a = found['calibration_intercept_5'][place]
        assert (inverse * (occurs - special.expit(a + log_odds))).sum() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize('events', [('death',), ('death', 'transplant')])
def test_true_probabilities_have_a_slope_of_one_and_an_intercept_of_zero(events):
    """Also with censoring, and with a competing event after which the event does not come."""
    rows = list(rows_of('test', 12_000, events, np.random.default_rng(5), 0.0))
    found = summary.curve_metrics(survival_table.read(rows, events), [10.0, 25.0])
    for horizon in (10, 25):
        suffix = f'{horizon}_death' if len(events) > 1 else f'{horizon}'
        assert found[f'calibration_slope_{suffix}'] == pytest.approx(1, abs=0.06)
        assert found[f'calibration_intercept_{suffix}'] == pytest.approx(0, abs=0.06)


def test_patients_treated_as_advised():
    """Four patients: two of them treated as the sign of the benefit says, and the log-rank test of the two pairs."""
    rng = np.random.default_rng(0)
    rows = [{**row, 'given': given, 'benefit': benefit} for row, given, benefit in zip(
        rows_of('test', 4, ('death',), rng), ('1', '0', '1', '0'), ('0.2', '-0.1', '-0.3', '0.4'))]
    found = summary.summarise(rows, ('death',))['advice']['test']
    assert found['advised'] == 0.5
    assert [(group['name'], group['n']) for group in found['groups']] == [('as advised', 2), ('otherwise', 2)]
    table = survival_table.read(rows, ('death',))
    chi2, df, _ = estimates.logrank(table.time, table.has_event(0), np.array([0, 0, 1, 1]))
    assert found['logrank']['df'] == df == 1 and found['logrank']['chi2'] == pytest.approx(chi2)
    assert 'advice' not in summary.summarise([{**row, 'benefit': ''} for row in rows], ('death',))


def test_curves_of_groups_have_intervals_over_patients():
    rows = list(rows_of('test', 150, ('death', 'relapse'), np.random.default_rng(0)))
    copies = [{**row, 'id': f'{row["id"]}_{copy}'} for row in rows for copy in range(3)]
    every = np.ones(150, bool)
    for events in (('death',), ('death', 'relapse')):
        of = [[{**row, 'event': row['event'] if row['event'] in events else ''} for row in table]
              for table in (rows, copies)]
        once, again = (survival_table.read(table, events) for table in of)
        curve, repeated = once.event_free(0, every), again.event_free(0, np.repeat(every, 3))
        np.testing.assert_allclose(repeated.values, curve.values, atol=1e-12)
        middle = (curve.at_risk > 30) & (curve.values < 0.95)
        ratio = (repeated.high - repeated.low)[middle] / (curve.high - curve.low)[middle]
        assert abs(ratio - 1).max() < 0.2 and middle.sum() > 20
    found = summary.summarise(copies, ('death', 'relapse'))
    assert sum(group['n'] for group in found['groups']['test']['groups']) == 150
    assert any('450 cases of 150 patients: the log-rank test assumes' in line for line in found['warnings'])
