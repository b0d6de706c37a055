"""Survival estimates and scores against lifelines and scikit-survival, with ties in time and in risk."""

import numpy as np
import pytest

from medjax.metrics import concordance, survival
from medjax.tasks.survival.evaluator import breslow_baseline

lifelines = pytest.importorskip('lifelines')
datasets = pytest.importorskip('lifelines.datasets')
statistics = pytest.importorskip('lifelines.statistics')
utils = pytest.importorskip('lifelines.utils')
compare = pytest.importorskip('sksurv.compare')
metrics = pytest.importorskip('sksurv.metrics')
nonparametric = pytest.importorskip('sksurv.nonparametric')
Surv = pytest.importorskip('sksurv.util').Surv

CASES = [(seed, decimals) for seed in range(5) for decimals in (0, 6)]


def cohort(seed, decimals, n=150):
    """Times, event numbers and risks, rounded; the last time is an event's alone, as scikit-survival must have it."""
    rng = np.random.default_rng(seed)
    time, censored = rng.weibull(1.5, n) * 20, rng.exponential(25, n)
    risk = (-time / 8 + rng.normal(0, 1, n)).round(min(decimals, 3))
    kind = np.where(time <= censored, rng.integers(1, 3, n), 0)
    time = np.minimum(time, censored).round(decimals) + 0.5
    time[0], kind[0] = time.max() + 1, 1
    return time, kind, risk


def surv(time, event):
    return Surv.from_arrays(event, time)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize('case', CASES)
def test_kaplan_meier_equals_lifelines(case):
    time, kind, _ = cohort(*case)
    fitted = lifelines.KaplanMeierFitter().fit(time, kind > 0)
    curve = survival.kaplan_meier(time, kind > 0)
    assert fitted.timeline[1:].tolist() == curve.times.tolist()
    close(curve.values, fitted.survival_function_.to_numpy()[1:, 0])
    close(curve.at_risk, fitted.event_table['at_risk'].to_numpy()[1:])
    inside = (curve.values > 0) & (curve.values < 1)
    limits = fitted.confidence_interval_.to_numpy()[1:][inside]
    close(np.stack([curve.low, curve.high], 1)[inside], limits)


@pytest.mark.parametrize('case', CASES)
def test_aalen_johansen_equals_scikit_survival(case):
    """Its interval is that of equation 6 of Dinse and Larson, which is undefined where nobody is left."""
    time, kind, _ = cohort(*case)
    kind[0] = 0
    times, values, limits = nonparametric.cumulative_incidence_competing_risks(
        kind, time, conf_type='log-log', var_type='Dinse_Approx')
    for of in (1, 2):
        curve = survival.aalen_johansen(time, kind, of)
        assert times.tolist() == curve.times.tolist()
        close(curve.values, values[of])
        inside = curve.values > 0
        close(np.stack([curve.low, curve.high])[:, inside], limits[of][:, inside])


@pytest.mark.filterwarnings('ignore:Starting with pandas')
@pytest.mark.parametrize('case', CASES)
def test_logrank_equals_lifelines_and_scikit_survival(case):
    time, kind, risk = cohort(*case)
    group = np.digitize(risk, np.quantile(risk, [1 / 3, 2 / 3]))
    chi2, df, p = survival.logrank(time, kind > 0, group)
    theirs = statistics.multivariate_logrank_test(time, group, kind > 0)
    close((chi2, df, p), (theirs.test_statistic, 2, theirs.p_value))
    close((chi2, p), compare.compare_survival(surv(time, kind > 0), group))


@pytest.mark.parametrize('case', CASES)
def test_harrell_equals_lifelines_and_scikit_survival(case):
    time, kind, risk = cohort(*case)
    got = concordance.harrell(time, kind == 1, risk)
    assert 0.5 < got < 1
    close(got, utils.concordance_index(time, -risk, kind == 1))
    close(got, metrics.concordance_index_censored(kind == 1, time, risk)[0])


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('tau', [None, 8.5, 20.0])
def test_uno_equals_scikit_survival(case, tau):
    time, kind, risk = cohort(*case)
    mine = surv(time, kind == 1)
    close(concordance.uno(time, kind == 1, risk, tau), metrics.concordance_index_ipcw(mine, mine, risk, tau)[0])


@pytest.mark.parametrize('case', CASES)
def test_auc_equals_scikit_survival(case):
    time, kind, risk = cohort(*case)
    mine, horizons = surv(time, kind == 1), np.array([3.5, 8.5, 14.2])
    want, _ = metrics.cumulative_dynamic_auc(mine, mine, risk, horizons)
    close([survival.cumulative_dynamic_auc(time, kind == 1, risk, h) for h in horizons], want)


@pytest.mark.parametrize('case', CASES)
def test_brier_scores_equal_scikit_survival(case):
    time, kind, risk = cohort(*case)
    mine, at = surv(time, kind == 1), np.array([1.5, 2.5, 4.0, 8.5, 14.2, 19.9])
    curves = np.exp(-np.exp(risk)[:, None] * at / 20)
    _, want = metrics.brier_score(mine, mine, curves, at)
    close(survival.brier(time, kind == 1, curves, at), want)
    close(survival.integrated_brier(time, kind == 1, curves, at), metrics.integrated_brier_score(
        mine, mine, curves, at))


@pytest.mark.parametrize('case', CASES)
def test_a_resample_equals_scikit_survival_on_repeated_cases(case):
    time, kind, risk = cohort(*case)
    weight = np.random.default_rng(1).integers(0, 3, len(time))
    weight[0] = 1
    again = np.repeat(np.arange(len(time)), weight)
    mine, event = surv(time[again], kind[again] == 1), kind == 1
    close(concordance.harrell(time, event, risk, weight), utils.concordance_index(
        time[again], -risk[again], event[again]))
    close(concordance.uno(time, event, risk, 14.2, weight), metrics.concordance_index_ipcw(
        mine, mine, risk[again], 14.2)[0])
    close(survival.cumulative_dynamic_auc(time, event, risk, 8.5, weight), metrics.cumulative_dynamic_auc(
        mine, mine, risk[again], [8.5])[0][0])


@pytest.mark.parametrize('case', CASES)
def test_nelson_aalen_and_restricted_mean_equal_lifelines(case):
    time, kind, _ = cohort(*case)
    times = np.unique(time)
    want = lifelines.NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, kind > 0).cumulative_hazard_
    got = breslow_baseline(np.zeros((len(time), 1, 1)), time, (kind > 0).astype(int), times).cumsum(1)[0]
    close(got, want.to_numpy()[1:, 0])
    curve, fitted = survival.kaplan_meier(time, kind > 0), lifelines.KaplanMeierFitter().fit(time, kind > 0)
    starts = np.append(0.0, curve.times[curve.times < 12.3])
    close((np.diff(np.append(starts, 12.3)) * curve.at(starts)[0]).sum(),
          utils.restricted_mean_survival_time(fitted, t=12.3))


@pytest.mark.parametrize('name, time, event, risk', [
    ('load_waltons', 'T', 'E', None), ('load_rossi', 'week', 'arrest', 'prio'), ('load_larynx', 'time', 'death', 'age'),
    ('load_leukemia', 't', 'status', 'logWBC'), ('load_gbsg2', 'time', 'cens', 'pnodes')])
def test_data_files_of_lifelines(name, time, event, risk):
    data = getattr(datasets, name)()
    time, event = data[time].to_numpy(float), data[event].to_numpy() == 1
    fitted, curve = lifelines.KaplanMeierFitter().fit(time, event), survival.kaplan_meier(time, event)
    close(curve.values, fitted.survival_function_at_times(curve.times).to_numpy())
    if risk:
        risk = data[risk].to_numpy(float)
        close(concordance.harrell(time, event, risk), utils.concordance_index(time, -risk, event))
        at = np.quantile(time[event], [0.2, 0.5])
        for h in at:
            want, _ = metrics.cumulative_dynamic_auc(surv(time, event), surv(time, event), risk, [h])
            close(survival.cumulative_dynamic_auc(time, event, risk, h), want[0])
