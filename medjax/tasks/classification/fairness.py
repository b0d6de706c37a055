"""What a classification is worth for each group of patients, and how far the groups are apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.metrics import classification
from medjax.statistics import intervals
from medjax.tasks.classification import operating_point
from medjax.tasks.classification.intervals import compute_metrics, metric_entries
from medjax.tasks.classification.table import Cases

FEW = 10  # positives or negatives of a group, below which its figures say little
UNKNOWN = 'unknown'  # the group of cases whose cell is empty
GAPS = {'demographic_parity_difference': 'fewer than two groups have a case',
        'equalised_odds_difference': 'fewer than two groups have positives, or negatives'}


def groups(rows: Sequence[Mapping[str, Any]], column: str) -> np.ndarray:
    """Each row's group `[n]`, as text."""
    return np.array([str(row.get(column) if row.get(column) not in (None, '') else UNKNOWN) for row in rows], str)


def by_group(cases: Cases, group: np.ndarray, draws: np.ndarray,
             at: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Every figure by group with its bootstrap interval, and the gaps between groups.

    Patients are drawn from all groups together, so that a gap's interval holds what both of its sides vary. A largest
    difference is never negative: where groups are alike, small ones show a gap by chance alone.

    Args:
      cases: `n` of them.
      group: `[n]` text.
      draws: `[resamples, n]`, of `measure.multiplicities`.
      at: thresholds of `operating.thresholds`: figures and gaps of those decisions too, as `NAME_operating`.

    Returns:
      `groups`: for each `n` patients, `cases`, `counts` of positives and negatives by class, and `metrics` (as
      `measure.entry`); `gaps`: `demographic_parity_difference` and `equalised_odds_difference` between the groups
      farthest apart, as `measure.entry`, of several classes the largest and each under `_CLASS`; `worst`: for each
      metric the `group` with the worst value, that `value`, and the `difference` to the best group's; `warnings`.
    """
    names = np.unique(group).tolist()
    out: dict[str, Any] = {'groups': {}, 'gaps': gaps(cases, group, draws), 'worst': {}, 'warnings': []}
    if at:
        out['gaps'] |= gaps(cases, group, draws, at)
    samples = {}
    for name in names:
        inside = group == name
        part, weight = cases.take(inside), draws[:, inside]
        samples[name] = compute_metrics(part, weight) | operating_point.figures(part, at or {}, weight)
        values = compute_metrics(part) | operating_point.figures(part, at or {})
        counts = _counts(part)
        out['groups'][name] = {'n': len(np.unique(part.patients[part.judged])), 'cases': int(part.judged.sum()),
                               'counts': counts, 'metrics': metric_entries(part, values, samples[name])}
        out['warnings'] += [
            f'{name}: {count["positives"]} cases of {label}, {count["negatives"]} others; fewer than {FEW} say little'
            for label, count in counts.items() if min(count.values()) < FEW]
    for metric in (out['groups'][names[0]]['metrics'] if names else ()):
        found = _worst(metric, {name: out['groups'][name]['metrics'][metric]['value'] for name in names},
                       np.stack([samples[name][metric] for name in names]), cases)
        out['worst'] |= {metric: found} if found else {}
    return out


def gaps(cases: Cases, group: np.ndarray, draws: np.ndarray, at: Mapping[str, float] | None = None) -> dict[str, Any]:
    """The largest differences between groups in how often, and how rightly, they are decided to be positive.

    Demographic parity: of the share decided positive. Equalised odds: of sensitivity or of the false alarms' share,
    whichever differs more (Hardt et al. 2016, NeurIPS). A group without positives has no sensitivity, and is left out
    of that difference. Without `at` the decision is the most probable class.

    Returns:
      Entries as in `by_group`; with `at` their names end in `_operating`, before the class.
    """
    (names, number), known = np.unique(group, return_inverse=True), {name: mask for name, _, mask in cases.parts()}
    value, samples, end = {}, {}, '_operating' if at else ''
    for label, positive, chosen, mask in _decisions(cases, at):
        for out, weight in ((value, np.ones(len(cases))), (samples, draws)):
            every, picked, true, hit, false, alarm = (
                classification.bin_sums(column & mask, number, len(names), weight) for column in (
                    mask, chosen, positive, chosen & positive, ~positive, chosen & ~positive))
            sensitivity, alarms = _spread(hit, true), _spread(alarm, false)
            out[label] = {'demographic_parity_difference': _spread(picked, every),
                          'equalised_odds_difference': np.maximum(sensitivity, alarms)}
    found = {}
    for name, reason in GAPS.items():
        patients = cases.patients[cases.judged]
        if value:
            found[name + end] = intervals.entry(float(_largest([of[name] for of in value.values()])),
                                              _largest([of[name] for of in samples.values()]), patients, reason)
        for label in value if len(value) > 1 else ():
            patients = cases.patients[known.get(label, cases.judged)]
            found[f'{name}{end}_{label}'] = intervals.entry(float(value[label][name]), samples[label][name], patients,
                                                          reason)
    return found


def _decisions(cases: Cases, at: Mapping[str, float] | None) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """The positive class, or each class or label: its name, truth, decision, and where that is judged, `[n]` bool."""
    everywhere = np.ones(len(cases), bool)
    out = []
    for label, part, mask in cases.parts():
        if part.binary and (not at or label in at):
            positive, chosen = np.zeros(len(cases), bool), np.zeros(len(cases), bool)
            positive[mask] = part.targets == 1
            chosen[mask] = part.probs[:, 1] >= at[label] if at else part.probs.argmax(1) == 1
            out.append((label, positive, chosen, mask))
        elif not part.binary and not at:
            out += [(name, part.targets == k, part.probs.argmax(1) == k, everywhere)
                    for k, name in enumerate(part.classes)]
    return out


def _counts(cases: Cases) -> dict[str, dict[str, int]]:
    """Positives and negatives of the positive class, or of each class or label."""
    return {label or cases.classes[1]: {'positives': int((positive & mask).sum()),
                                        'negatives': int((~positive & mask).sum())}
            for label, positive, _, mask in _decisions(cases, None)}


def _worst(metric: str, values: Mapping[str, float], samples: np.ndarray, cases: Cases) -> dict[str, Any] | None:
    """The worst of the groups that have the metric, which two of them must."""
    known = {name: value for name, value in values.items() if not np.isnan(value)}
    if len(known) < 2:
        return None
    lower = metric.startswith(classification.LOWER)
    worst = (max if lower else min)(known, key=known.get)
    return {'group': worst, 'value': known[worst], 'difference': intervals.entry(
        max(known.values()) - min(known.values()), _range(samples.T), cases.patients[cases.judged],
        'fewer than two groups have it')}


def _spread(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The range `[...]` of part / whole over the last axis; see `_range`."""
    return _range(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _range(values: np.ndarray) -> np.ndarray:
    """Largest less smallest over the last axis, leaving NaN out; NaN where fewer than two are known."""
    known = ~np.isnan(values)
    high = np.where(known, values, -np.inf).max(-1, initial=-np.inf)
    low = np.where(known, values, np.inf).min(-1, initial=np.inf)
    enough = known.sum(-1) > 1
    return np.where(enough, np.where(enough, high, 0) - np.where(enough, low, 0), np.nan)


def _largest(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The largest of arrays, place by place, leaving NaN out."""
    return np.fmax.reduce(np.stack(parts))
