import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from medjax.metrics import classification

GRID = 4  # few values, many ties


@st.composite
def tables(draw):
    """Targets of which classes may be absent, tied probabilities, and weights whose sums are exact."""
    k, n = draw(st.integers(2, 4)), draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2 ** 32 - 1)))
    targets = rng.choice(rng.permutation(k)[:rng.integers(1, k + 1)], n)
    raw = rng.integers(0, GRID + 1, (n, k)) + 1e-9 * (rng.random() < 0.5)
    probs = np.where(raw.sum(1, keepdims=True) > 0, raw, 1).astype(float)
    return targets, probs / probs.sum(1, keepdims=True), rng.integers(1, 13, n) / 4


def by_sklearn(targets, probs, weight):
    """The metric by scikit-learn, with options for our conventions."""
    k, predicted, nan = probs.shape[1], probs.argmax(1), float('nan')
    seen = np.union1d(targets, predicted)
    everything, w = np.arange(k), {'sample_weight': weight}

    def side(truth, decision, labels=None, **options):
        return metrics.recall_score(truth, decision, labels=labels, zero_division=nan, **options, **w)

    def of_area(score, c):
        positive = targets == c
        return score(positive, probs[:, c], **w) if 0 < positive.sum() < len(targets) else nan
    auroc = [of_area(metrics.roc_auc_score, c) for c in everything]
    auprc = [of_area(metrics.average_precision_score, c) for c in everything]
    specificity = [side(targets != c, predicted != c) for c in everything]
    sensitivity = [side(targets == c, predicted == c) for c in everything]
    two = k == 2
    average = {'average': 'binary'} if two else {'average': 'macro', 'labels': seen}
    none = two and 1 not in seen
    out = {
        'accuracy': metrics.accuracy_score(targets, predicted, **w),
        'balanced_accuracy': metrics.balanced_accuracy_score(targets, predicted, **w),
        'precision': nan if none else metrics.precision_score(targets, predicted, zero_division=0, **average, **w),
        'f1': nan if none else metrics.f1_score(targets, predicted, zero_division=0, **average, **w),
        'f1_micro': metrics.f1_score(targets, predicted, average='micro', labels=everything, **w),
        'mcc': metrics.matthews_corrcoef(targets, predicted, **w) if len(np.unique(targets)) > 1 else nan,
        'brier': metrics.brier_score_loss(targets, probs, labels=everything, **w),
        'log_loss': metrics.log_loss(targets, probs, labels=everything, **w)}
    for name, scheme in (('kappa', None), ('kappa_weighted', 'quadratic')):
        out[name] = metrics.cohen_kappa_score(targets, predicted, labels=everything, weights=scheme,
                                              replace_undefined_by=nan, **w)
    for name, each in (('auroc', auroc), ('auprc', auprc), ('sensitivity', sensitivity), ('specificity', specificity)):
        out[name] = each[1] if two else np.nanmean(each)
        if not two:
            out |= {(name, c): value for c, value in enumerate(each)}
    return out


@settings(max_examples=50, deadline=None)
@given(tables())
def test_metrics_equal_scikit_learn(table):
    got = classification.compute_metrics(*table)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        want = by_sklearn(*table)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, atol=1e-12, err_msg=str(name))
    assert {name for name in got if isinstance(name, str)} == set(classification.UNDEFINED)


def test_weights_may_be_any_numbers():
    rng = np.random.default_rng(4)
    for k in (2, 3):
        targets, probs, weight = rng.integers(0, k, 300), rng.dirichlet(np.ones(k), 300), rng.exponential(1, 300)
        got = classification.compute_metrics(targets, probs, weight)
        for name, value in by_sklearn(targets, probs, weight).items():
            np.testing.assert_allclose(got[name], value, rtol=1e-12, atol=1e-12, err_msg=str(name))
        got = classification.compute_metrics(targets, probs, weight * (targets == 1))  # all that is left is one class
        assert all(np.isnan(got[name]) for name in ('auroc', 'auprc', 'mcc'))
        assert np.isnan(got['specificity'] if k == 2 else got['specificity', 1])


def test_macro_auroc_is_scikit_learns_where_all_classes_are_there():
    rng = np.random.default_rng(0)
    targets, probs = rng.integers(0, 4, 200), rng.dirichlet(np.ones(4), 200)
    want = metrics.roc_auc_score(targets, probs, multi_class='ovr')
    assert classification.compute_metrics(targets, probs)['auroc'] == pytest.approx(want, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(tables(), st.integers(0, 2 ** 32 - 1))
def test_weights_are_repetitions_and_leading_axes_are_a_loop(table, seed):
    targets, probs, _ = table
    weight = np.random.default_rng(seed).integers(0, 3, (2, 3, len(targets)), dtype=np.uint8)
    got = classification.compute_metrics(targets, probs, weight)
    for at in np.ndindex(2, 3):
        again = np.repeat(np.arange(len(targets)), weight[at])
        want = classification.compute_metrics(targets[again], probs[again])
        for name in want:
            np.testing.assert_allclose(got[name][at], want[name], rtol=1e-12, atol=1e-12, err_msg=str(name))


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    targets, probs, weight = rng.integers(0, 3, 40), rng.dirichlet(np.ones(3), 40), rng.integers(0, 4, (7, 40))
    whole = classification.compute_metrics(targets, probs, weight)
    monkeypatch.setattr(classification, 'BLOCK', 90)
    for name, values in classification.compute_metrics(targets, probs, weight).items():
        np.testing.assert_array_equal(values, whole[name])


def test_resamples_of_many_cases_stay_small_in_memory():
    # 500 resamples of 10 000 cases are 40 MB as float64, and each score would need several of it at once.
    rng = np.random.default_rng(2)
    probs, weight = rng.dirichlet(np.ones(2), 10_000), np.broadcast_to(np.uint8(1), (500, 10_000))
    tracemalloc.start()
    found = classification.compute_metrics(rng.integers(0, 2, 10_000), probs, weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6 and found['auroc'].shape == (500,) and np.ptp(found['auroc']) == 0


def test_by_hand():
    targets, positive = np.array([1, 1, 1, 0, 0]), np.array([0.9, 0.6, 0.4, 0.6, 0.1])
    got = classification.compute_metrics(targets, np.stack([1 - positive, positive], -1))
    # Pairs in order: .9 beats both; .6 beats one and ties with one; .4 beats one: 2 + 1.5 + 1 of 6.
    assert got['auroc'] == pytest.approx(4.5 / 6)
    # From the top: precision 1 at recall 1/3, 2/3 at 2/3 (the tie comes together), 3/4 at 1.
    assert got['auprc'] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert got['sensitivity'] == pytest.approx(2 / 3) and got['specificity'] == 0.5
    assert got['brier'] == pytest.approx((0.01 + 0.16 + 0.36 + 0.36 + 0.01) / 5)
    # Chance agrees on 3/5 · 3/5 + 2/5 · 2/5 = .52, and they agree on .6.
    assert got['kappa'] == pytest.approx((0.6 - 0.52) / 0.48)


def test_limits():
    targets = np.array([0, 1, 2, 1])
    for probs, value in ((np.eye(3)[targets], 1.0), (np.full((4, 3), 1 / 3), 0.5)):
        got = classification.compute_metrics(targets, probs)
        assert got['auroc'] == value and (got['kappa'] == 1) == (value == 1)
    wrong = classification.compute_metrics(np.array([1, 0]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert wrong['auroc'] == 0 and wrong['kappa'] == wrong['mcc'] == -1 and wrong['brier'] == 1
    assert wrong['log_loss'] == pytest.approx(36.04, abs=0.01)


@pytest.mark.parametrize('targets, undefined', [
    ([0, 0], {'auroc', 'auprc', 'sensitivity', 'mcc'}),
    ([1, 1], {'auroc', 'auprc', 'specificity', 'mcc'}),
    ([], set(classification.UNDEFINED))])
def test_undefined_metrics_are_nan(targets, undefined):
    probs = np.array([[0.8, 0.2], [0.3, 0.7]])[:len(targets)]
    got = classification.compute_metrics(np.array(targets, int), probs)
    assert {name for name, value in got.items() if np.isnan(value)} == undefined <= set(classification.UNDEFINED)


def test_a_class_that_is_never_predicted_does_not_improve_a_mean():
    # Class 2 is missed each time; its precision is 0 and not left out. Class 3 is in neither: left out.
    probs = np.eye(4)[[0, 1, 0, 1]]
    got = classification.compute_metrics(np.array([0, 1, 2, 2]), probs)
    assert got[('precision', 2)] == 0 and got['precision'] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert np.isnan(got[('precision', 3)]) and got['sensitivity'] == pytest.approx(2 / 3)


def test_labels_are_binary_problems_and_unknown_ones_are_left_out():
    rng = np.random.default_rng(3)
    targets, probs = rng.integers(-1, 2, (60, 3)), rng.integers(0, 6, (60, 3)) / 5
    weight = rng.integers(0, 3, (4, 60))
    got = classification.compute_metrics(targets, probs, weight)
    each = []
    for k in range(3):
        known, p = targets[:, k] >= 0, probs[:, k]
        binary = np.stack([1 - p, p], -1)[known]
        each.append(classification.compute_metrics(targets[known, k], binary, weight[:, known]))
        for name in each[-1]:
            np.testing.assert_array_equal(got[(name, k)], each[-1][name])
    np.testing.assert_allclose(got['auroc'], np.mean([found['auroc'] for found in each], 0), rtol=1e-12)
    known = np.maximum(targets, 0)
    got = classification.compute_metrics(known, probs)
    for name, average in (('f1', 'macro'), ('f1_micro', 'micro')):
        assert got[name] == pytest.approx(metrics.f1_score(known, probs > 0.5, average=average), abs=1e-12)
    assert got['auroc'] == pytest.approx(metrics.roc_auc_score(known, probs), abs=1e-12)
    assert got['accuracy'] == pytest.approx(1 - metrics.hamming_loss(known, probs > 0.5), abs=1e-12)
