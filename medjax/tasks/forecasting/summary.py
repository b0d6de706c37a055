"""A table of forecasts summed up: errors of the next values, and how well events are told from what comes before."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import classification
from medjax.metrics.classification import weighted_mean
from medjax.ops import time_series
from medjax.statistics import bootstrap, calibration, intervals

CONVENTIONS = (
    'A forecast of a value is for the time of the next visit, from that visit\'s patient up to the present one: who '
    'does not come again, or of whom the value is not measured then, is not in the figures, and they say nothing of '
    'such patients. MAE and RMSE are the mean absolute and the root mean square error in the value\'s own unit (of '
    '\'log\' values natural logarithms), R² 1 less the mean square error over the variance of what came, which may be '
    'negative. Carried forward is the value as it was last measured, and the training mean where it never was. MASE is '
    'the MAE over that of carrying forward, mean over the values: below 1 is better than to carry forward. The gain is '
    'by how much the network is better than ridge or logistic regression on the same visits. Ridge regression sees '
    'what was measured last, what is missing, the covariates, the time since the first visit and how far the next one '
    'is; logistic regression the same but the last. Both learn from the training patients\' visits. '
    'Early warning is judged at every visit of which it is known whether the event came within the horizon: where '
    'observation ends before the horizon, it is not; another event within it says that this one does not come. AUROC '
    'and AUPRC count each visit once; by lead time those visits are positive after which the event came within that '
    'span, and negative, for all spans, those after which it did not come within the horizon. The share of positives '
    'is what AUPRC is without any skill. Intervals are over patients, with all their visits (percentile bootstrap), '
    'where at least nine of ten resamples define the figure, from those; nothing is fitted again.')
METHODS = {'': 'network', 'carried': 'carried forward', 'ridge': 'ridge'}  # of values
CHANCES = {'': 'network', 'logistic': 'logistic'}  # of events
STEMS = {'': 'forecast', 'carried': 'carried', 'ridge': 'ridge'}  # of their columns, as in `{stem}_{value}`
FEW = 20  # events below which an AUROC is worth a warning
WHY = {'mase': 'no value has a forecast', 'auroc': 'events in all of these visits, or in none',
       'auprc': 'events in all of these visits, or in none', 'r2': 'what came does not vary'}

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Visits as a predictions table has them.

    Attributes:
      patients: `[n]` int, the same for visits of one patient.
      time: `[n]`, since the first visit.
      ahead: `[n]`, to the next visit; NaN where there is none.
      names: of V values.
      now: `[n, V]`, NaN where nothing was measured.
      next: `[n, V]`, at the next visit.
      told: for each of METHODS that is there `[n, V]`.
      events: names of E events; none where there is no horizon.
      happened: `[n, E]`, whether each came within the horizon.
      known: `[n, E]`, whether that is known.
      gap: `[n]`, to the event or the end of observation.
      ended: `[n]`, the event's number from 1, 0 for none.
      chance: for each of CHANCES that is there `[n, E]`.
    """

    patients: np.ndarray
    time: np.ndarray
    ahead: np.ndarray
    names: tuple[str, ...]
    now: np.ndarray
    next: np.ndarray
    told: Mapping[str, np.ndarray]
    events: tuple[str, ...]
    happened: np.ndarray
    known: np.ndarray
    gap: np.ndarray
    ended: np.ndarray
    chance: Mapping[str, np.ndarray]


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: errors of the next values and the risk of events, of the network and of simpler models.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    source = evaluator.data.source
    known = {'problem': 'forecast', 'unit': source.unit, 'conventions': CONVENTIONS}
    if not rows:
        return known
    found = summarise(rows, source.measured, source.classes, evaluator.data.within, evaluator.leads)
    return {**found.pop('metrics'), **known, 'analysis': found}


def read(rows: Sequence[Row], names: Sequence[str], events: Sequence[str], within: float) -> Table:
    """Reads rows of a predictions table; cells are text or numbers.

    Args:
      rows: a mapping per visit, as `tasks.forecasting.evaluator` gives it.
      names: of the values.
      events: names.
      within: the horizon; 0 for no events.

    Raises:
      InputError: names the case, the column, and what was expected there.
    """
    first, events = rows[0] if rows else {}, tuple(events) * bool(within)

    def cells(name: str, *, empty: bool = False, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
        return np.array([_number(row, number, name, empty, low, high) for number, row in enumerate(rows)], np.float64)

    def several(stem: str, of: Sequence[str], **options: Any) -> np.ndarray:
        return np.stack([cells(f'{stem}_{name}' if stem else name, **options) for name in of], 1) if of else (
            np.zeros((len(rows), 0)))

    gap, ended = np.zeros(len(rows)), np.zeros(len(rows), int)
    if events:
        gap = cells('gap', low=0)
        for number, row in enumerate(rows):
            if row.get('ended') not in ('', *events):
                raise InputError(f'predictions, case {row.get("id", number)}: ended: {row.get("ended")!r}; expected '
                                 f'nothing or one of: {", ".join(events)}')
        ended = np.array([events.index(row['ended']) + 1 if row['ended'] else 0 for row in rows], int)
    happened, known = time_series.soon(gap, ended, within, len(events))
    table = Table(bootstrap.patient_numbers(rows), cells('time'), cells('ahead', empty=True),
                  tuple(names), several('', names, empty=True), several('next', names, empty=True),
                  {method: several(stem, names, empty=True) for method, stem in STEMS.items()
                   if not method or f'{stem}_{names[0]}' in first}, events, happened, known, gap, ended,
                  {method: several(method or 'chance', events, low=0, high=1) for method in CHANCES
                   if events and (not method or f'{method}_{events[0]}' in first)})
    for method, told in table.told.items():
        for number, k in np.argwhere(~np.isnan(table.next) & np.isnan(told))[:1]:
            raise InputError(f'predictions, case {rows[number].get("id", number)}: {STEMS[method]}_{names[k]}: '
                             'nothing; expected a number, for the next value is there')
    return table


def figures(table: Table, leads: Sequence[float], weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All figures of some visits, as `[...]` for `weight [..., n]`, by their names in `results.json`.

    `mase` and `mase_ridge`; of each value `mae_VALUE`, `rmse_VALUE`, `r2_VALUE`; of each event `auroc`, `auprc`,
    `brier` and by lead time `auroc_in_LOW_HIGH`, `auprc_in_LOW_HIGH`; with several events `auroc_EVENT` and so on.
    Those of another method end in its name. `mase_gain` and `auroc_gain` say by how much the network is better than
    ridge and logistic regression.
    """
    weight = np.ones(len(table.time)) if weight is None else np.asarray(weight)
    out: dict[str, np.ndarray] = {}
    for k, name in enumerate(table.names):
        there = ~np.isnan(table.next[:, k])
        came, w = table.next[there, k], weight[..., there]
        came = came - (came.mean() if len(came) else 0.0)  # far from 0 squares would lose their digits
        spread = weighted_mean(came**2, w) - weighted_mean(came, w)**2
        for method, told in table.told.items():
            off = told[there, k] - table.next[there, k]
            square = weighted_mean(off**2, w)
            with np.errstate(invalid='ignore', divide='ignore'):
                r2 = np.where(spread > 0, 1 - square / spread, np.nan)
            out |= {key_of(stem, name, method): value for stem, value in (
                ('mae', weighted_mean(np.abs(off), w)), ('rmse', np.sqrt(square)), ('r2', r2))}
    for method in table.told:
        if method != 'carried' and table.names:
            out[key_of('mase', '', method)] = classification.mean_over_defined([
                _over(out[key_of('mae', name, method)], out[key_of('mae', name, 'carried')]) for name in table.names])
    if 'mase_ridge' in out:
        out['mase_gain'] = out['mase_ridge'] - out['mase']
    for k, event in enumerate(table.events):
        name = event if len(table.events) > 1 else ''
        known, came = table.known[:, k], table.happened[:, k]
        spans = {span: known & (~came | ((table.gap > low) & (table.gap <= high)) | ((low == 0) & (table.gap == 0)))
                 for span, (low, high) in spans_of(leads).items()}
        for method, chance in table.chance.items():
            found = {'brier': weighted_mean((chance[known, k] - came[known])**2, weight[..., known])}
            for span, chosen in {'': known, **spans}.items():
                pair = classification.auroc_and_auprc(came[chosen], chance[chosen, k], weight[..., chosen])
                found |= {stem + span: value for stem, value in zip(('auroc', 'auprc'), pair)}
            out |= {key_of(stem, name, method): value for stem, value in found.items()}
        if 'logistic' in table.chance:
            out[key_of('auroc_gain', name, '')] = out[key_of('auroc', name, '')] - out[
                key_of('auroc', name, 'logistic')]
    return out


def key_of(stem: str, name: str, method: str) -> str:
    """A figure's name in `results.json`."""
    return '_'.join(filter(None, (stem, name, method)))


def spans_of(leads: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Spans of lead time by the end of their figures' names."""
    return {f'_in_{low:g}_{high:g}': (low, high) for low, high in zip((0.0, *leads), leads)}


def counting(table: Table, key: str) -> np.ndarray:
    """`[n]` bool: visits that a figure of that name is about."""
    for k, name in sorted(enumerate(table.names), key=lambda pair: -len(pair[1])):
        if key.startswith(tuple(f'{stem}_{name}' for stem in ('mae', 'rmse', 'r2'))):
            return ~np.isnan(table.next[:, k])
    if key.startswith('mase'):
        return (~np.isnan(table.next)).any(1)
    for k, event in sorted(enumerate(table.events), key=lambda pair: -len(pair[1])):
        if len(table.events) == 1 or f'_{event}' in key:
            return table.known[:, k]
    return np.ones(len(table.time), bool)


def entries(table: Table, values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Figures with intervals: `values []` of the visits and `samples [resamples]`, by name; see `measure.entry`."""
    return {name: intervals.entry(float(value), samples[name], table.patients[counting(table, name)],
                                next((words for stem, words in WHY.items() if name.startswith(stem)), 'no such visit'))
            for name, value in values.items()}


def summarise(rows: Sequence[Row], names: Sequence[str], events: Sequence[str], within: float, leads: Sequence[float],
              *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Sums a predictions table up.

    Args:
      rows: as for `read`, each with its `split`.
      names: of the values.
      events: names.
      within: the horizon; 0 for no events.
      leads: times before an event, rising up to the horizon.
      resamples: bootstrap draws.
      seed: of the draws, the same for all figures.

    Returns:
      `metrics`: {split: {name: entry}}, `figures` as of `measure.entry`; `measured`, `within` and `leads`;
      `calibration`: {split: {event: bins as of `calibration.reliability`}}; `positives`: {split: {event: {span: how
      many visits are positive, '' for the whole horizon, and 'known' ones}}}; and `warnings`, lines.

    Raises:
      InputError: as `read`; no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    out: dict[str, Any] = {'metrics': {}, 'measured': list(names), 'within': within, 'leads': list(leads),
                           'calibration': {}, 'positives': {}, 'warnings': []}
    for split, some in bootstrap.rows_by_split(rows).items():
        table = read(some, names, events, within)
        draws = intervals.multiplicities(table.patients, resamples, seed)
        out['metrics'][split] = entries(table, figures(table, leads), figures(table, leads, draws))
        out['calibration'][split], out['positives'][split] = {}, {}
        for k, event in enumerate(table.events):
            known, came = table.known[:, k], table.happened[:, k]
            out['calibration'][split][event] = calibration.reliability_bins(table.chance[''][known, k], came[known])
            gaps = table.gap[came]
            out['positives'][split][event] = {'known': int(known.sum()), '': int(came.sum()), **{
                span: int(((gaps <= high) & ((gaps > low) | (low == 0))).sum())
                for span, (low, high) in spans_of(leads).items()}}
            had = len(np.unique(table.patients[came]))
            if had < FEW:
                out['warnings'].append(f'{split}: {event} within {within:g} in {had} patient{"s" * (had != 1)} only: '
                                       'figures of early warning prove little')
    if 'test' not in out['metrics']:
        out['warnings'].append('no test cases: no figures on them')
    return out


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _number(row: Row, number: int, column: str, empty: bool, low: float, high: float) -> float:
    cell = row.get(column)
    if cell == '' and empty:
        return math.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        expected = 'a number' + f' from {low:g} to {high:g}' * math.isfinite(high) + ', or nothing' * empty
        raise InputError(f'predictions, case {row.get("id", number)}: {column}: {cell}; expected {expected}')
    return value
