import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from medjax.statistics import delong, ranking


def test_areas_and_their_intervals():
    rng = np.random.default_rng(0)
    positive, patients = rng.random(60) < 0.4, np.repeat(np.arange(30), 2)
    score = rng.normal(positive)
    found = ranking.area_entries(positive, score, patients)
    assert found['auroc']['value'] == pytest.approx(metrics.roc_auc_score(positive, score))
    assert found['auroc']['ci95'] == delong.auroc_interval(positive, score, patients)['ci95']
    value, count = metrics.average_precision_score(positive, score), len(np.unique(patients[positive]))
    assert found['auprc']['value'] == pytest.approx(value) and found['auprc']['method'] == 'binomial'
    hits = value * count
    want = stats.beta.ppf([0.025, 0.975], [hits, hits + 1], [count - hits + 1, count - hits])  # Clopper–Pearson
    assert found['auprc']['ci95'] == pytest.approx(want.tolist())
    assert {(entry['n'], entry['cases'], entry['unit']) for entry in found.values()} == {(30, 60, 'patient')}


def test_a_perfect_ranking_has_intervals_with_a_width():
    positive = np.arange(20) < 8
    found = ranking.area_entries(positive, positive.astype(float), np.arange(20))
    assert found['auroc']['ci95'][0] < 0.95 and found['auroc']['ci95'][1] == 1
    assert found['auprc']['ci95'] == pytest.approx([0.025 ** (1 / 8), 1])


@pytest.mark.parametrize('positive, patients, why', [
    ([1, 1, 1], [0, 1, 2], 'one class'), ([1, 0, 0], [0, 0, 0], 'one patient')])
def test_without_an_interval_the_reason_is_given(positive, patients, why):
    found = ranking.area_entries(np.array(positive, bool), np.array([0.1, 0.2, 0.3]), np.array(patients))
    assert all(entry['ci95'] is None and entry['why'].startswith(why) for entry in found.values())
