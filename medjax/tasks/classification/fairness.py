"""Subgroup performance: metrics of each group of patients, and gaps between groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.statistics import permutation
from medjax.tasks.classification import operating_point
from medjax.tasks.classification.family import FAMILY
from medjax.tasks.classification.intervals import compute_metrics, metric_entries
from medjax.tasks.classification.table import Cases

FEW = 10  # positives or negatives in a group; with fewer its metrics are unreliable
PERMUTATIONS = 1000
UNKNOWN = 'unknown'  # the group of cases with an empty cell
GAPS = {'demographic_parity_difference': 'fewer than two groups have a case',
        'equalised_odds_difference': 'fewer than two groups have positives, or negatives'}

Thresholds = Mapping[str, float]


def read_groups(rows: Sequence[Mapping[str, Any]], column: str) -> np.ndarray:
    """The group of each row `[n]`, as text."""
    return np.array([str(row.get(column) if row.get(column) not in (None, '') else UNKNOWN) for row in rows], str)


def subgroup_analysis(cases: Cases, group: np.ndarray, without: np.ndarray,
                      thresholds: Thresholds | None = None) -> dict[str, Any]:
    """All metrics of each group with confidence intervals, and the gaps between groups.

    A largest difference is never negative: small groups show a gap by chance even where groups do not differ. Gaps
    therefore come with those of permuted groups; see `statistics.permutation`.

    Args:
      cases: `n` cases.
      group: `[n]` text.
      without: `[rows, n]`, of `statistics.intervals.left_out`, for the metrics' intervals.
      thresholds: of `operating_point.choose_thresholds`; with them also metrics and gaps of these decisions.

    Returns:
      - `groups`: for each group `n` patients, `cases`, `counts` of positives and negatives by class, and `metrics`;
      - `gaps`: see `group_gaps`, of the decisions at 0.5 or of the most probable class, and at the thresholds;
      - `worst`: for each metric the `group` with the worst value, that `value`, and the `difference` from the best
        group;
      - `warnings`: lines.
      Metrics are entries as in `statistics.intervals.entry`, gaps and differences as in `statistics.permutation.entry`.
    """
    names = np.unique(group).tolist()
    shuffled = permutation.shuffled_groups(group, cases.patients, PERMUTATIONS, seed=0)
    out: dict[str, Any] = {'groups': {}, 'gaps': group_gaps(cases, group, shuffled), 'worst': {}, 'warnings': []}
    if thresholds:
        out['gaps'] |= group_gaps(cases, group, shuffled, thresholds)
    null = {}
    for name in names:
        inside = group == name
        part, weight = cases.take(inside), without[:, inside]
        samples = compute_metrics(part, weight) | operating_point.metrics_at(part, thresholds or {}, weight)
        members = (shuffled == name).astype(np.uint8)
        null[name] = compute_metrics(cases, members) | operating_point.metrics_at(cases, thresholds or {}, members)
        values = compute_metrics(part) | operating_point.metrics_at(part, thresholds or {})
        counts = _class_counts(part)
        out['groups'][name] = {'n': len(np.unique(part.patients[part.known])), 'cases': int(part.known.sum()),
                               'counts': counts, 'metrics': metric_entries(part, values, samples, thresholds)}
        out['warnings'] += [
            f'{name}: {count["positives"]} cases of {label}, {count["negatives"]} others: metrics are unreliable with '
            f'fewer than {FEW}' for label, count in counts.items() if min(count.values()) < FEW]
    for metric in (out['groups'][names[0]]['metrics'] if names else ()):
        values = {name: out['groups'][name]['metrics'][metric]['value'] for name in names}
        worst = _worst_group(metric, values, np.stack([null[name][metric] for name in names]), cases)
        if worst:
            out['worst'][metric] = worst
    return out


def group_gaps(cases: Cases, group: np.ndarray, shuffled: np.ndarray,
               thresholds: Thresholds | None = None) -> dict[str, Any]:
    """The largest differences between groups in the rates of positive decisions, and in their errors.

    Demographic parity difference: the difference in the rate of positive decisions. Equalised odds difference: the
    difference in sensitivity or in the false positive rate, whichever is larger (Hardt et al. 2016, NeurIPS). A group
    without positives has no sensitivity and is left out of that difference. Without thresholds the decision is the most
    probable class.

    Args:
      cases: `n` cases.
      group: `[n]` text.
      shuffled: `[permutations, n]`, of `statistics.permutation.shuffled_groups`.
      thresholds: of `operating_point.choose_thresholds`; names then end in `_operating`, before the class.

    Returns:
      Entries of `statistics.permutation.entry`: `demographic_parity_difference` and `equalised_odds_difference` between
      the two most different groups; for several classes or labels the largest, and each as `NAME_CLASS`.
    """
    known = {name: mask for name, _, mask in cases.parts()}
    names, suffix = np.unique(group), operating_point.SUFFIX if thresholds else ''
    values: dict[str, dict[str, np.ndarray]] = {}
    null: dict[str, dict[str, np.ndarray]] = {}
    for label, positive, chosen, mask in _decisions(cases, thresholds):
        for out, members in ((values, group), (null, shuffled)):
            every, picked, true, hit, false, alarm = (
                np.stack([(members == name) @ (column & mask).astype(float) for name in names], -1) for column in (
                    mask, chosen, positive, chosen & positive, ~positive, chosen & ~positive))
            sensitivity, false_positive = _rate_range(hit, true), _rate_range(alarm, false)
            out[label] = {'demographic_parity_difference': _rate_range(picked, every),
                          'equalised_odds_difference': np.maximum(sensitivity, false_positive)}
    gaps = {}
    for name, reason in GAPS.items():
        patients = cases.patients[cases.known]
        if values:
            gaps[name + suffix] = permutation.entry(float(_largest([of[name] for of in values.values()])),
                                                    _largest([of[name] for of in null.values()]), patients, reason)
        for label in values if len(values) > 1 else ():
            patients = cases.patients[known.get(label, cases.known)]
            gaps[f'{name}{suffix}_{label}'] = permutation.entry(float(values[label][name]), null[label][name],
                                                                patients, reason)
    return gaps


def _decisions(cases: Cases, thresholds: Thresholds | None) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """For the positive class, or each class or label: its name, and `[n]` bool truth, decision and known cases."""
    everywhere = np.ones(len(cases), bool)
    out = []
    for label, part, mask in cases.parts():
        if part.binary and (not thresholds or label in thresholds):
            positive, chosen = np.zeros(len(cases), bool), np.zeros(len(cases), bool)
            positive[mask] = part.targets == 1
            chosen[mask] = part.probs[:, 1] >= thresholds[label] if thresholds else part.probs.argmax(1) == 1
            out.append((label, positive, chosen, mask))
        elif not part.binary and not thresholds:
            out += [(name, part.targets == k, part.probs.argmax(1) == k, everywhere)
                    for k, name in enumerate(part.classes)]
    return out


def _class_counts(cases: Cases) -> dict[str, dict[str, int]]:
    """The numbers of positives and negatives of the positive class, or of each class or label."""
    return {label or cases.classes[1]: {'positives': int((positive & mask).sum()),
                                        'negatives': int((~positive & mask).sum())}
            for label, positive, _, mask in _decisions(cases, None)}


def _worst_group(metric: str, values: Mapping[str, float], null: np.ndarray,
                 cases: Cases) -> dict[str, Any] | None:
    """The worst of the groups for which a metric is defined; None where there are fewer than two.

    Args:
      metric: its name.
      values: its value for each group.
      null: `[groups, permutations]`, its values in permuted groups.
      cases: all cases.
    """
    known = {name: value for name, value in values.items() if not np.isnan(value)}
    if len(known) < 2:
        return None
    described = FAMILY.metrics.find(metric)
    choose = max if described is not None and described.better == 'lower' else min
    worst = choose(known, key=known.get)
    return {'group': worst, 'value': known[worst], 'difference': permutation.entry(
        max(known.values()) - min(known.values()), _range(null.T), cases.patients[cases.known],
        'fewer than two groups have it')}


def _rate_range(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The range `[...]` of part / whole over the last axis; see `_range`."""
    return _range(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _range(values: np.ndarray) -> np.ndarray:
    """The largest minus the smallest over the last axis, without NaN; NaN where fewer than two are known."""
    known = ~np.isnan(values)
    high = np.where(known, values, -np.inf).max(-1, initial=-np.inf)
    low = np.where(known, values, np.inf).min(-1, initial=np.inf)
    enough = known.sum(-1) > 1
    return np.where(enough, np.where(enough, high, 0) - np.where(enough, low, 0), np.nan)


def _largest(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The elementwise maximum of arrays, without NaN."""
    return np.fmax.reduce(np.stack(parts))
