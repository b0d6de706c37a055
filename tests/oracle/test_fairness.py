import numpy as np
import pytest
from sklearn import metrics

from medjax.statistics import intervals
from medjax.tasks.classification import fairness
from medjax.tasks.classification.table import Cases

fairlearn = pytest.importorskip('fairlearn.metrics')

NAMES = {'accuracy': metrics.accuracy_score, 'sensitivity': metrics.recall_score,
         'specificity': fairlearn.true_negative_rate, 'precision': metrics.precision_score, 'f1': metrics.f1_score,
         'balanced_accuracy': metrics.balanced_accuracy_score, 'mcc': metrics.matthews_corrcoef}


@pytest.mark.parametrize('seed', range(5))
def test_metrics_and_gaps_equal_fairlearn(seed):
    rng = np.random.default_rng(seed)
    group, targets = rng.choice(['F', 'M', 'unknown'], 300, p=[0.5, 0.4, 0.1]), rng.integers(0, 2, 300)
    p = np.clip(0.3 * targets + 0.1 * (group == 'F') + 0.6 * rng.random(300), 0, 1)
    cases = Cases('binary', ('well', 'sick'), tuple(map(str, range(300))), np.arange(300), targets,
                  np.stack([1 - p, p], -1))
    predicted = cases.probs.argmax(1)
    got = fairness.subgroup_analysis(cases, group, intervals.left_out(cases.patients))
    of = {'sensitive_features': group}
    for name, want in (('demographic_parity_difference', fairlearn.demographic_parity_difference),
                       ('equalised_odds_difference', fairlearn.equalized_odds_difference)):
        assert got['gaps'][name]['value'] == pytest.approx(want(targets, predicted, **of), abs=1e-12)
    frame = fairlearn.MetricFrame(metrics=NAMES, y_true=targets, y_pred=predicted, **of)
    for name in NAMES:
        by_group = {key: entry['metrics'][name]['value'] for key, entry in got['groups'].items()}
        assert by_group == pytest.approx(frame.by_group[name].to_dict(), abs=1e-12)
        worst = got['worst'][name]
        assert worst['value'] == pytest.approx(frame.group_min()[name], abs=1e-12)
        assert worst['group'] == frame.by_group[name].idxmin()
        assert worst['difference']['value'] == pytest.approx(frame.difference()[name], abs=1e-12)
    ranked = fairlearn.MetricFrame(metrics=metrics.roc_auc_score, y_true=targets, y_pred=p, **of)
    assert got['worst']['auroc']['value'] == pytest.approx(ranked.group_min(), abs=1e-12)
