"""Metrics of survival analysis from the predictions table: concordance, Brier scores, risk groups and calibration."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import concordance, survival
from medjax.metrics.classification import compute_in_blocks, mean_over_defined
from medjax.metrics.survival import Curve
from medjax.statistics import calibration, intervals, per_patient, recalibration
from medjax.tasks.survival.table import Predictions, Row, read, read_recommendation

CONVENTIONS = (
    'A case without an event is censored at its last time. Harrell\'s C-index is the share of concordant pairs among '
    'the comparable ones: pairs in which one case has the event and the other is known to be without it at that time '
    'or later. Equal risks count one half, two events at the same time are not comparable, and at equal times a '
    'censored case outlives a case with the event. Uno\'s C-index weights each pair by the inverse square of the '
    'probability of being uncensored, and counts events before the last time of the predicted curves. Antolini\'s '
    'compares the predicted incidences at the time of each event up to that last time; equal incidences count one '
    'half. Predicted curves are linear between their times, 0 at time 0, and constant after the last time. AUC and '
    'Brier score at a horizon weight cases with an event by the horizon by the inverse probability of being uncensored '
    'at their own time, and cases followed beyond the horizon by that at the horizon; cases censored before it are '
    'left out. Calibration slope and calibration-in-the-large at a horizon are those of logistic recalibration of the '
    'predicted incidence, with the same cases weighted by the inverse probability of being uncensored just before the '
    'event, or at the horizon. The integrated Brier score (IBS) is the mean over the times of the curves that lie '
    'before the last follow-up of the split, by the trapezoidal rule. The probability of being uncensored is the '
    'Kaplan–Meier estimate of the evaluated cases, with events before censorings at equal times, taken at a time and '
    'not just before it. With several events, concordance indices treat the other events as censoring; AUC and Brier '
    'score treat them as competing events: after another event a case remains without this one. A metric without the '
    'name of an event is then the mean over the events that have it. Horizons, unless given, are the quartiles of the '
    'times of the events of the split calibrate, or of the validation cases where there is none, and risk groups are '
    'the thirds of the risks of the same cases; both are held fixed. Observed incidence is one minus the Kaplan–Meier '
    'estimate, or with several events the Aalen–Johansen estimate, with log-log intervals, or those of the jackknife '
    'over patients if they have several cases; the log-rank test treats other events as censoring and cases as '
    'independent. Intervals of metrics are t intervals over patients with the standard error of the jackknife, all '
    'cases of a patient left out together.')
QUANTILES = (0.25, 0.5, 0.75)  # of the times of events: the horizons
GROUPS = ('low', 'medium', 'high')
ADVICE = ('as advised', 'otherwise')  # how patients were treated
MAX_POINTS = 200  # of a stored curve
MAX_BINS, MIN_CASES = 10, 20  # of a calibration: number of bins, and of cases in each
UNDEFINED = {'c_index': 'no case with the event is outlived by another',
             'c_uno': 'no case with the event before the last time of the curves is outlived by another',
             'c_td': 'no case with the event up to the last time of the curves is outlived by another',
             'ibs': 'fewer than two times of the curves lie before the last follow-up',
             'auc': 'no case with the event by then, or none without it',
             'brier': 'no case is followed that long',
             'calibration_slope': 'no case with the event by then, none without it, or predictions that separate them',
             'calibration_intercept': 'no case with the event by then, or none without it'}


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """The results of a predictions table: concordance, Brier scores, risk groups and calibration.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals; `analysis`, see `summarise`; and `conventions`.
    """
    source = evaluator.data.source
    header = {'problem': 'survival', 'unit': source.unit, 'conventions': CONVENTIONS}
    if not rows:
        return header
    results = summarise(rows, source.classes, unit=source.unit, horizons=evaluator.horizons)
    return {**results.pop('metrics'), **header, 'analysis': results}


def compute_metrics(table: Predictions, horizons: Sequence[float],
                    weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics by their names in `results.json`, `[...]` each for `weight [..., n]`.

    These are `c_index` (Harrell's), `c_uno`, `c_td` (Antolini's), `ibs`, and for each horizon H `auc_H`, `brier_H`,
    `calibration_slope_H` and `calibration_intercept_H`.
    With several events each is the mean over the events, and `NAME_EVENT` is that of an event.
    """
    return ranking_metrics(table, weight) | curve_metrics(table, horizons, weight)


def ranking_metrics(table: Predictions, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Those of `compute_metrics` that use the order of predictions alone: the C-indices."""
    return _over_events(table, _ranking_metrics, weight)


def curve_metrics(table: Predictions, horizons: Sequence[float],
                  weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Those of `compute_metrics` that use predicted probabilities: `ibs`, and those of each horizon."""
    return _over_events(table, functools.partial(_curve_metrics, horizons=horizons), weight)


def summarise(rows: Sequence[Row], events: Sequence[str], unit: str = '', *, horizons: Sequence[float] = (),
              absolute_groups: bool = False) -> dict[str, Any]:
    """The metrics and the analysis of a predictions table.

    Args:
      rows: as for `table.read`, each with its `split`.
      events: names; risk groups are of the first.
      unit: of time, for warnings.
      horizons: times of AUC, Brier score and calibration; by default the quartiles of the times of events.
      absolute_groups: form risk groups by the predicted incidence at the middle horizon, which can be compared across
        the models of different folds, in place of the risk.

    Returns:
      - `metrics`: {split: {name: entry}}: `compute_metrics` as of `intervals.entry`, each with `events`, their number;
      - `horizons`: times; `horizons_given`, whether they were given; and `horizons_from`, the split that determines the
        cuts between risk groups and, unless given, the horizons;
      - `groups`: {split: `cuts` [2] of the risk, `groups` [{`name`, `n`, `events`, `curve`: `times`, `survival`, `low`,
        `high`, `at_risk`; `survival_at` {horizon: probability}}], `logrank` {`chi2`, `df`, `p`}};
      - `calibration`: {split: {horizon: `event`, `horizon`, `error` (mean absolute difference of observed and
        predicted) and `bins` [{`predicted`, `observed`, `ci95` or None, `n`, `events`}]}}; of further events under
        `horizon_EVENT`;
      - `advice`, where rows have a treatment recommendation: {split: `advised`, the share with a positive benefit, and
        `groups` and `logrank` as above, of patients treated 'as advised' and 'otherwise'};
      - `warnings`: lines.

    Raises:
      InputError: as for `table.read`, or there is no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected at least one')
    by_split = per_patient.rows_by_split(rows)
    tables = {split: read(part, events) for split, part in by_split.items()}
    preferred = [split for split in ('calibrate', 'val', 'test', *tables) if split in tables]
    source = next((split for split in preferred if tables[split].event.any()), next(iter(tables)))
    given = bool(horizons)
    horizons, warnings = _horizons(tables[source], horizons)
    middle = np.array([horizons[len(horizons) // 2] if horizons else tables[source].grid[-1]])

    def group_score(table: Predictions) -> np.ndarray:
        return table.incidence_at(0, middle)[:, 0] if absolute_groups else table.risk[:, 0]

    cuts = np.quantile(group_score(tables[source]), [1 / 3, 2 / 3])
    out: dict[str, Any] = {'metrics': {}, 'horizons': horizons, 'horizons_given': given, 'horizons_from': source,
                           'groups': {}, 'calibration': {},
                           'warnings': warnings + _warnings(tables, source, unit, given)}
    for split, table in tables.items():
        samples = compute_metrics(table, horizons, intervals.left_out(table.patients))
        out['metrics'][split] = entries(table, {name: values[0] for name, values in samples.items()}, samples)
        out['groups'][split] = _risk_groups(table, group_score(table), cuts, horizons)
        recommendation = read_recommendation(by_split[split])
        if recommendation is not None:
            out.setdefault('advice', {})[split] = _recommendation(table, recommendation, horizons)
        out['calibration'][split] = _calibrations(table, horizons)
    return out


def entries(table: Predictions, values: Mapping[str, np.ndarray],
            samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Metrics with confidence intervals as of `intervals.entry`, each with `events`, the number of events.

    Args:
      table: the cases.
      values: `[]` by name.
      samples: by name, for each row of `intervals.left_out`.
    """
    out = {}
    for name, value in values.items():
        event = max((k for k, event in enumerate(table.events) if name.endswith(f'_{event}')),
                    key=lambda k: len(table.events[k]), default=None)
        reason = next(words for stem, words in UNDEFINED.items() if name.startswith(stem))
        count = (table.event > 0 if event is None else table.has_event(event)).sum()
        out[name] = intervals.entry(float(value), samples[name], table.patients, reason, name) | {'events': int(count)}
    return out


def _horizons(table: Predictions, given: Sequence[float]) -> tuple[list[float], list[str]]:
    """The horizons within the predicted curves, and a warning about the others."""
    if not table.event.any() and not given:
        return [], ['no event: no horizons']
    times = sorted(given) or sorted(
        {float(f'{time:.3g}') for time in np.quantile(table.time[table.event > 0], QUANTILES)} - {0.0})
    kept = [time for time in times if time <= table.grid[-1]]
    beyond = ', '.join(f'{time:g}' for time in times if time not in kept)
    if not beyond:
        return kept, []
    return kept, [f'horizons: {beyond} lie after the last time of the predicted curves, {table.grid[-1]:g}: left out']


def _over_events(table: Predictions, metrics: Callable[..., dict[str, np.ndarray]],
                 weight: np.ndarray | None) -> dict[str, np.ndarray]:
    """Metrics of each event, and their means over the events for which they are defined; see `compute_metrics`."""
    weight = np.ones(len(table.ids)) if weight is None else np.asarray(weight)
    by_event = [metrics(table, k, weight=weight) for k in range(len(table.events))]
    if len(by_event) == 1:
        return by_event[0]
    out = {name: mean_over_defined([values_of_event[name] for values_of_event in by_event]) for name in by_event[0]}
    return out | {f'{name}_{event}': values for event, values_of_event in zip(table.events, by_event)
                  for name, values in values_of_event.items()}


def _ranking_metrics(table: Predictions, k: int, weight: np.ndarray) -> dict[str, np.ndarray]:
    time, event, risk, end = table.time, table.has_event(k), table.risk[:, k], float(table.grid[-1])
    patients = table.patients if len(np.unique(table.patients)) < len(table.patients) else None
    incidence_at = functools.partial(table.incidence_at, k)
    return {'c_index': concordance.harrell(time, event, risk, weight, patients),
            'c_uno': concordance.uno(time, event, risk, end, weight, patients),
            'c_td': concordance.antolini(time, event, incidence_at, end, weight, patients)}


def _curve_metrics(table: Predictions, k: int, horizons: Sequence[float],
                   weight: np.ndarray) -> dict[str, np.ndarray]:
    time, event, other = table.time, table.has_event(k), table.has_other_event(k)
    # Beyond the last follow-up only cases with the event would count.
    undefined, last = np.full(weight.shape[:-1], np.nan), time.max()
    incidence_at, grid = functools.partial(table.incidence_at, k), table.grid[table.grid < last]
    out = {'ibs': undefined}
    if len(grid) > 1:
        out['ibs'] = survival.integrated_brier(time, event, 1 - incidence_at(grid), grid, weight, other)
    for h in horizons:
        score, out[f'brier_{h:g}'] = incidence_at(np.array([h])), undefined
        out[f'auc_{h:g}'] = survival.cumulative_dynamic_auc(time, event, score[:, 0], h, weight, other)
        if h < last:
            out[f'brier_{h:g}'] = survival.brier(time, event, 1 - score, np.array([h]), weight, other)[..., 0]
        out |= _recalibration(table, k, h, weight)
    return out


def _recalibration(table: Predictions, k: int, horizon: float, weight: np.ndarray) -> dict[str, np.ndarray]:
    """Calibration slope and calibration-in-the-large of the predicted incidence at a horizon, weighted by IPCW."""
    occurs = table.has_event(k) & (table.time <= horizon)
    log_odds = recalibration.logit(table.incidence_at(k, np.array([horizon]))[:, 0])

    def block(w: np.ndarray) -> dict[str, np.ndarray]:
        inverse = w * survival.horizon_weights(table.time, table.event > 0, horizon, w)
        return {f'calibration_slope_{horizon:g}': recalibration.slope(occurs, log_odds, inverse),
                f'calibration_intercept_{horizon:g}': recalibration.intercept(occurs, log_odds, inverse)}
    return compute_in_blocks(block, weight)


def _risk_groups(table: Predictions, score: np.ndarray, cuts: np.ndarray, horizons: Sequence[float]) -> dict[str, Any]:
    return {'cuts': cuts.tolist(), **_compare_groups(table, np.digitize(score, cuts), GROUPS, horizons)}


def _recommendation(table: Predictions, recommendation: np.ndarray, horizons: Sequence[float]) -> dict[str, Any]:
    treated, benefit = recommendation.T
    otherwise = ((treated > 0) != (benefit > 0)).astype(int)
    return {'advised': float((benefit > 0).mean()), **_compare_groups(table, otherwise, ADVICE, horizons)}


def _compare_groups(table: Predictions, place: np.ndarray, names: Sequence[str],
                    horizons: Sequence[float]) -> dict[str, Any]:
    """Observed curves of groups, and the log-rank test between them; `place [n]` is each case's place in `names`."""
    groups = []
    for number, name in enumerate(names):
        members = place == number
        if members.any():
            curve = table.event_free(0, members)
            groups.append({'name': name, 'n': len(np.unique(table.patients[members])),
                           'events': int(table.has_event(0)[members].sum()),
                           'curve': _thinned(curve, int(members.sum())),
                           'survival_at': {f'{h:g}': _value_at(curve, h)['value'] for h in horizons}})
    chi2, df, p = survival.logrank(table.time, table.has_event(0), place)
    return {'groups': groups, 'logrank': {'chi2': chi2, 'df': df, 'p': p}}


def _thinned(curve: Curve, n: int) -> dict[str, list[float]]:
    """A step function from time 0 with at most MAX_POINTS of its own points."""
    steps = np.flatnonzero(np.diff(curve.values, prepend=1.0) != 0)
    kept = np.unique(np.append(steps, len(curve.times) - 1))
    kept = kept[np.unique(np.linspace(0, len(kept) - 1, MAX_POINTS - 1).round().astype(int))]
    begin = {'times': 0.0, 'survival': 1.0, 'low': 1.0, 'high': 1.0, 'at_risk': float(n)}
    arrays = (curve.times, curve.values, curve.low, curve.high, curve.at_risk)
    return {name: [first, *array[kept].tolist()] for (name, first), array in zip(begin.items(), arrays)}


def _value_at(curve: Curve, time: float) -> dict[str, float]:
    """A curve's value at a time with its interval; NaN after the last follow-up, and for the interval of 0 and of 1."""
    value, low, high = (float(array[()]) if time <= curve.times[-1] else math.nan for array in curve.at(time))
    if value in (0, 1):  # the estimate has no variance there, and the interval no width
        low = high = math.nan
    return {'value': value, 'low': low, 'high': high}


def _calibrations(table: Predictions, horizons: Sequence[float]) -> dict[str, Any]:
    """The calibration of each event at each horizon."""
    out = {}
    for k, event in enumerate(table.events):
        for h in horizons:
            key = f'{h:g}_{event}' if k else f'{h:g}'
            out[key] = {'event': event, 'horizon': h, **_calibration(table, k, h)}
    return out


def _calibration(table: Predictions, k: int, horizon: float) -> dict[str, Any]:
    predicted, bins = table.incidence_at(k, np.array([horizon]))[:, 0], []
    order = np.argsort(predicted, kind='stable')
    size, start = max(MIN_CASES, math.ceil(len(order) / MAX_BINS)), 0
    # Equal predictions stay in one bin.
    for end in np.append(np.flatnonzero(np.diff(predicted[order])) + 1, len(order)).tolist():
        if end == len(order) or (end - start >= size and len(order) - end >= MIN_CASES):
            members, start = np.isin(np.arange(len(order)), order[start:end]), end
            event_free = _value_at(table.event_free(k, members), horizon)
            limits = None if math.isnan(event_free['low']) else [1 - event_free['high'], 1 - event_free['low']]
            bins.append({'predicted': float(predicted[members].mean()), 'observed': 1 - event_free['value'],
                         'ci95': limits, 'n': int(members.sum()),
                         'events': int((table.has_event(k) & members & (table.time <= horizon)).sum())})
    return {'bins': bins, 'error': calibration.mean_calibration_error(bins)}


def _warnings(tables: Mapping[str, Predictions], source: str, unit: str, given: bool) -> list[str]:
    lines = per_patient.missing_test(tables)
    if source not in ('calibrate', 'val'):
        what = 'risk groups are' if given else 'horizons and risk groups are'
        lines.append(f'no validation cases with an event: {what} set by the {source} cases')
    for split, table in tables.items():
        patients = len(np.unique(table.patients))
        if patients < len(table.ids):
            lines.append(f'{split}: {len(table.ids)} cases of {patients} patients: the log-rank test assumes '
                         'independent cases, so its p value is too small; intervals are over patients')
        lines += [f'{split}: no case has the event {name}: no C-index and no AUC of it'
                  for k, name in enumerate(table.events) if not table.has_event(k).any()]
        beyond = int((table.time > table.grid[-1]).sum())
        if beyond:
            end = f'{table.grid[-1]:g} {unit}'.rstrip()
            lines.append(f'{split}: {beyond} of {len(table.ids)} cases are followed beyond the last time of the '
                         f'predicted curves, {end}: metrics of curves are computed up to it')
    return lines
