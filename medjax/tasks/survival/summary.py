"""A survival model's predictions table summed up: concordance, Brier scores, risk groups and calibration."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import concordance, survival
from medjax.metrics.classification import mean_over_defined
from medjax.metrics.survival import Curve
from medjax.statistics import bootstrap, intervals
from medjax.tasks.survival.table import Row, Table, read

CONVENTIONS = (
    'A case whose event is not known is censored at its last time. Harrell\'s C-index is the share of pairs in the '
    'right order, of all pairs in which one case has the event and the other is seen without it at that time or '
    'later; equal risks count half, two events at the same time are no pair, and at equal times a censored case '
    'outlives one with an event. Uno\'s weights each pair by the inverse square of the chance to be still '
    'uncensored, of events before the last time of the predicted curves. Antolini\'s compares, at the time of each '
    'event up to that last time, the predicted incidences then, equal ones counting half. Curves are linear between'
    ' their times, from 0 at time 0, and level after the last. AUC and Brier score at a horizon weight cases with '
    'an event by then by the inverse chance to be uncensored at their own time, those seen beyond it by that at the'
    ' horizon, and leave out those censored before; the integrated Brier score is the mean over the times of the '
    'curves that lie before the split\'s last follow-up, by the trapezoid rule. The chance to be uncensored is the '
    'Kaplan–Meier estimate of the evaluated cases themselves, events first where times are equal, at and not just '
    'before a time. With several events the concordances take the others for censored; AUC and Brier score take '
    'them for what they are: after another event a case stays without this one. A figure without an event\'s name is'
    ' then the mean over the events that have it. Horizons, where none are given, are the quartiles of the events\' '
    'times, and risk groups the thirds of the risk, of validation cases, held fixed. Observed incidence is one less'
    ' Kaplan–Meier\'s estimate, or with several events Aalen–Johansen\'s, with log-log intervals; the log-rank test '
    'takes other events for censored. Intervals of figures are over patients, all cases of a patient drawn together'
    ' (percentile bootstrap), where at least nine of ten resamples define the figure, from those.')
QUANTILES = (0.25, 0.5, 0.75)  # of the events' times: the horizons
GROUPS = ('low', 'medium', 'high')
ADVICE = ('as advised', 'otherwise')  # how patients were treated
POINTS = 200  # of a drawn curve
BINS, FEWEST = 10, 20  # of a calibration: bins at most, and cases in each at least
WHY = {'c_index': 'no case with the event is outlived by another',
       'c_uno': 'no case with the event before the curves\' last time is outlived by another',
       'c_td': 'no case with the event up to the curves\' last time is outlived by another',
       'ibs': 'fewer than two times of the curves lie before the last follow-up',
       'auc': 'nobody with the event by then, or nobody without it', 'brier': 'nobody is followed that long'}


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: concordance, Brier scores, risk groups and calibration.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    source = evaluator.data.source
    known = {'problem': 'survival', 'unit': source.unit, 'conventions': CONVENTIONS}
    if not rows:
        return known
    found = summarise(rows, source.classes, unit=source.unit, horizons=evaluator.horizons)
    return {**found.pop('metrics'), **known, 'analysis': found}


def figures(table: Table, horizons: Sequence[float], weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All figures of some cases, as `[...]` for `weight [..., n]`, by their names in `results.json`.

    `c_index` (Harrell's), `c_uno`, `c_td` (Antolini's), `ibs`, and for each horizon H `auc_H` and `brier_H`; with
    several events each is the mean over them, and those of each are there as `NAME_EVENT`.
    """
    weight = np.ones(len(table.ids)) if weight is None else np.asarray(weight)
    each = [_of_event(table, k, horizons, weight) for k in range(len(table.events))]
    if len(each) == 1:
        return each[0]
    out = {name: mean_over_defined([found[name] for found in each]) for name in each[0]}
    return out | {f'{name}_{event}': values for event, found in zip(table.events, each)
                  for name, values in found.items()}


def summarise(rows: Sequence[Row], events: Sequence[str], unit: str = '', *, horizons: Sequence[float] = (),
              resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Sums a survival model's predictions table up.

    Args:
      rows: as for `read`, each with its `split`.
      events: names; risk groups are of the first.
      unit: of time, for words.
      horizons: times at which figures are told; by default the quartiles of the events' times.
      resamples: bootstrap draws.
      seed: of the draws, the same for all figures.

    Returns:
      - `metrics`: {split: {name: entry}}: `figures` as of `measure.entry`, each with `events`, how many there are;
      - `horizons`: times; `horizons_given`, whether nobody's events set them; and `horizons_from`, the split that sets
        the cuts between risk groups, and by its events the horizons that are not given;
      - `groups`: {split: `cuts` [2] of the risk, `groups` [{`name`, `n`, `events`, `curve`: `times`, `survival`, `low`,
        `high`, `at_risk`; `survival_at` {horizon: share}}], `logrank` {`chi2`, `df`, `p`}};
      - `calibration`: {split: {horizon: `event`, `horizon`, `error` (mean distance of observed from predicted) and
        `bins` [{`predicted`, `observed`, `low`, `high`, `n`, `events`}]}}; of further events under `horizon_EVENT`;
      - `advice`, where rows have `given` and `benefit`: {split: `advised`, the share of positive benefits, and `groups`
        and `logrank` as above, of those who were treated 'as advised' and 'otherwise'};
      - `warnings`: lines.

    Raises:
      InputError: as `read`; no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    tables = {split: read(some, events) for split, some in bootstrap.rows_by_split(rows).items()}
    source = next((split for split in ('val', 'test', *tables) if split in tables and tables[split].event.any()),
                  next(iter(tables)))
    given = bool(horizons)
    horizons, warnings = _horizons(tables[source], horizons)
    cuts = np.quantile(tables[source].risk[:, 0], [1 / 3, 2 / 3])
    out: dict[str, Any] = {'metrics': {}, 'horizons': horizons, 'horizons_given': given, 'horizons_from': source,
                           'groups': {}, 'calibration': {},
                           'warnings': warnings + _warnings(tables, source, unit, given)}
    for split, table in tables.items():
        draws = intervals.multiplicities(table.patients, resamples, seed)
        samples = figures(table, horizons, draws)
        out['metrics'][split] = entries(table, figures(table, horizons), samples)
        out['groups'][split] = _groups(table, cuts, horizons)
        advised = [(bootstrap.parse_number(row.get('given')), bootstrap.parse_number(row.get('benefit'))) for row in rows
                   if row['split'] == split]
        if all(benefit == benefit for _, benefit in advised):
            out.setdefault('advice', {})[split] = _advice(table, np.array(advised), horizons)
        out['calibration'][split] = {f'{h:g}{f"_{name}" if k else ""}': {'event': name, 'horizon': h}
                                     | _calibration(table, k, h)
                                     for k, name in enumerate(table.events) for h in horizons}
    return out


def _horizons(table: Table, given: Sequence[float]) -> tuple[list[float], list[str]]:
    """The times at which figures are told, and a line on those that cannot be."""
    if not table.event.any() and not given:
        return [], ['no event: no horizons']
    times = sorted(given) or sorted(
        {float(f'{time:.3g}') for time in np.quantile(table.time[table.event > 0], QUANTILES)} - {0.0})
    kept = [time for time in times if time <= table.grid[-1]]
    beyond = ', '.join(f'{time:g}' for time in times if time not in kept)
    return kept, [f'horizons: {beyond} lie after the last time of the predicted curves, {table.grid[-1]:g}: left out'
                  ] if beyond else []


def _of_event(table: Table, k: int, horizons: Sequence[float], weight: np.ndarray) -> dict[str, np.ndarray]:
    time, event, other, risk = table.time, table.has(k), table.other(k), table.risk[:, k]
    # Beyond the last follow-up only cases with the event would be judged.
    nowhere, last, end = np.full(weight.shape[:-1], np.nan), time.max(), float(table.grid[-1])
    at, grid = functools.partial(table.incidence_at, k), table.grid[table.grid < last]
    out = {'c_index': concordance.harrell(time, event, risk, weight),
           'c_uno': concordance.uno(time, event, risk, end, weight),
           'c_td': concordance.antolini(time, event, at, end, weight), 'ibs': nowhere}
    if len(grid) > 1:
        out['ibs'] = survival.integrated_brier(time, event, 1 - at(grid), grid, weight, other)
    for h in horizons:
        score, out[f'brier_{h:g}'] = at(np.array([h])), nowhere
        out[f'auc_{h:g}'] = survival.cumulative_dynamic_auc(time, event, score[:, 0], h, weight, other)
        if h < last:
            out[f'brier_{h:g}'] = survival.brier(time, event, 1 - score, np.array([h]), weight, other)[..., 0]
    return out


def entries(table: Table, values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Figures with intervals: `values []` of the cases and `samples [resamples]`, by name; see `measure.entry`."""
    out = {}
    for name, value in values.items():
        of = max((k for k, event in enumerate(table.events) if name.endswith(f'_{event}')),
                 key=lambda k: len(table.events[k]), default=None)
        reason = next(words for stem, words in WHY.items() if name.startswith(stem))
        count = (table.event > 0 if of is None else table.has(of)).sum()
        out[name] = intervals.entry(float(value), samples[name], table.patients, reason) | {'events': int(count)}
    return out


def _groups(table: Table, cuts: np.ndarray, horizons: Sequence[float]) -> dict[str, Any]:
    return {'cuts': cuts.tolist(), **_parted(table, np.digitize(table.risk[:, 0], cuts), GROUPS, horizons)}


def _advice(table: Table, advised: np.ndarray, horizons: Sequence[float]) -> dict[str, Any]:
    given, benefit = advised.T
    return {'advised': float((benefit > 0).mean()),
            **_parted(table, ((given > 0) != (benefit > 0)).astype(int), ADVICE, horizons)}


def _parted(table: Table, place: np.ndarray, names: Sequence[str], horizons: Sequence[float]) -> dict[str, Any]:
    groups = []
    for number, name in enumerate(names):
        chosen = place == number
        if chosen.any():
            curve = table.observed(0, chosen)
            groups.append({'name': name, 'n': int(chosen.sum()), 'events': int(table.has(0)[chosen].sum()),
                           'curve': _drawn(curve, int(chosen.sum())),
                           'survival_at': {f'{h:g}': _at(curve, h)['value'] for h in horizons}})
    chi2, df, p = survival.logrank(table.time, table.has(0), place)
    return {'groups': groups, 'logrank': {'chi2': chi2, 'df': df, 'p': p}}


def _drawn(curve: Curve, n: int) -> dict[str, list[float]]:
    """A step function from time 0, thinned: what is left of it is exact."""
    turns = np.flatnonzero(np.diff(curve.values, prepend=1.0) != 0)
    kept = np.unique(np.append(turns, len(curve.times) - 1))
    kept = kept[np.unique(np.linspace(0, len(kept) - 1, POINTS - 1).round().astype(int))]
    begin = {'times': 0.0, 'survival': 1.0, 'low': 1.0, 'high': 1.0, 'at_risk': float(n)}
    arrays = (curve.times, curve.values, curve.low, curve.high, curve.at_risk)
    return {name: [first, *array[kept].tolist()] for (name, first), array in zip(begin.items(), arrays)}


def _at(curve: Curve, when: float) -> dict[str, float]:
    """A curve's value at a time with its interval; NaN after the last follow-up, and the limits of 0 and of 1 too."""
    value, low, high = (float(array[()]) if when <= curve.times[-1] else math.nan for array in curve.at(when))
    # Nothing has varied there; an interval without width would claim to know.
    low, high = (math.nan, math.nan) if value in (0, 1) else (low, high)
    return {'value': value, 'low': low, 'high': high}


def _calibration(table: Table, k: int, horizon: float) -> dict[str, Any]:
    predicted, bins = table.incidence_at(k, np.array([horizon]))[:, 0], []
    order = np.argsort(predicted, kind='stable')
    size, start = max(FEWEST, math.ceil(len(order) / BINS)), 0
    # Equal predictions stay in one bin.
    for end in np.append(np.flatnonzero(np.diff(predicted[order])) + 1, len(order)).tolist():
        if end == len(order) or (end - start >= size and len(order) - end >= FEWEST):
            chosen, start = np.isin(np.arange(len(order)), order[start:end]), end
            found = _at(table.observed(k, chosen), horizon)
            bins.append({'predicted': float(predicted[chosen].mean()), 'observed': 1 - found['value'],
                         'low': 1 - found['high'], 'high': 1 - found['low'], 'n': int(chosen.sum()),
                         'events': int((table.has(k) & chosen & (table.time <= horizon)).sum())})
    apart = np.array([[abs(one['predicted'] - one['observed']), one['n']] for one in bins])
    apart = apart[~np.isnan(apart[:, 0])]
    return {'bins': bins, 'error': float(np.average(apart[:, 0], weights=apart[:, 1])) if len(apart) else math.nan}


def _warnings(tables: Mapping[str, Table], source: str, unit: str, given: bool) -> list[str]:
    """What a reader must know of the table before its figures."""
    lines = [] if any(split.startswith('test') for split in tables) else ['no test cases: no figures on them']
    if source != 'val':
        what = 'risk groups are' if given else 'horizons and risk groups are'
        lines.append(f'no validation cases with an event: {what} set by the {source} cases')
    for split, table in tables.items():
        lines += [f'{split}: nobody has the event {name}: no C-index and no AUC of it'
                  for k, name in enumerate(table.events) if not table.has(k).any()]
        beyond = int((table.time > table.grid[-1]).sum())
        if beyond:
            lines.append(f'{split}: {beyond} of {len(table.ids)} cases are followed beyond the last time of the '
                         f'curves, {table.grid[-1]:g} {unit}'.rstrip() + ': what needs curves is judged up to it')
    return lines
