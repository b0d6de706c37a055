"""Metrics of forecasting from the predictions table: errors of the next values, and early warning of events."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import classification
from medjax.metrics.classification import weighted_mean
from medjax.statistics import calibration, intervals, per_patient, recalibration
from medjax.tasks.forecasting.table import Predictions, Row, read

CONVENTIONS = (
    'A forecast is for the time of the next visit and uses the patient\'s visits up to the present one. Patients who '
    'do not return, and values that are not measured at the next visit, are not in the metrics, which say nothing of '
    'them. MAE and RMSE are the mean absolute and root mean squared error in the value\'s own unit (natural logarithms '
    'for \'log\' values); R² is one minus the mean squared error divided by the variance of the measured values, and '
    'may be negative. Carried forward is the last observation carried forward, or the training mean where there is '
    'none. MASE is the MAE divided by that of carrying forward, mean over the values; below 1 is better than carrying '
    'forward. The gain is the improvement of the network over ridge or logistic regression on the same visits. Ridge '
    'regression uses the last observations, which values are missing, the covariates, the time since the first visit '
    'and the time until the next one; logistic regression uses the same without the latter. Both are fitted to visits '
    'of the training patients. Early warning is evaluated at every visit for which it is known whether the event '
    'occurs within the horizon. It is not known where observation ends before the horizon; where another event occurs '
    'within the horizon, this one does not. AUROC and AUPRC count each visit once. By lead time, positive visits are '
    'those after which the event occurs within that span; negative visits, for all spans, are those after which it '
    'does not occur within the horizon. Visits count by the inverse probability of censoring: visits with an event '
    'within the horizon by that just before it, others by that at the horizon, by the Kaplan–Meier estimate over the '
    'evaluated visits. Calibration slope and calibration-in-the-large are those of logistic recalibration of the risk '
    'within the horizon, with the same weights. The AUPRC of an uninformative prediction is the share of positives. '
    'Intervals are t intervals over patients with the standard error of the jackknife, all visits of a patient left '
    'out together. Models are not fitted again.')
FEW_EVENTS = 20  # patients with an event below which early warning gets a warning
UNDEFINED = {'mase': 'no value has a forecast',
             'auroc': 'the event occurs after all of these visits, or after none',
             'auprc': 'the event occurs after all of these visits, or after none',
             'calibration_slope': 'the event occurs after all visits or none, or the risks separate them',
             'calibration_intercept': 'the event occurs after all of these visits, or after none',
             'r2': 'the measured values do not vary'}


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """The results of a predictions table: errors of the next values and early warning, of the network and baselines.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals; `analysis`, see `summarise`; and `conventions`.
    """
    source = evaluator.data.source
    header = {'problem': 'forecast', 'unit': source.unit, 'conventions': CONVENTIONS}
    if not rows:
        return header
    results = summarise(rows, source.measured, source.classes, evaluator.data.horizon, evaluator.lead_times,
                        unit=source.unit)
    return {**results.pop('metrics'), **header, 'analysis': results}


def compute_metrics(table: Predictions, lead_times: Sequence[float],
                    weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics by their names in `results.json`, `[...]` each for `weight [..., n]`.

    These are `mase` and `mase_ridge`; for each value `mae_VALUE`, `rmse_VALUE`, `r2_VALUE`; for each event `auroc`,
    `auprc`, `brier`, `calibration_slope`, `calibration_intercept` and by lead time `auroc_in_LOW_HIGH`,
    `auprc_in_LOW_HIGH`, or with several events `auroc_EVENT` and so on. Those of a baseline end in its name.
    `mase_gain` and `auroc_gain` are the improvement of the network over ridge and logistic regression.
    """
    weight = np.ones(len(table.time)) if weight is None else np.asarray(weight)
    out: dict[str, np.ndarray] = {}
    for k, name in enumerate(table.names):
        out |= _value_metrics(table, k, name, weight)
    for method in table.forecasts:
        if method != 'carried' and table.names:
            out[metric_key('mase', '', method)] = classification.mean_over_defined([
                _ratio(out[metric_key('mae', name, method)], out[metric_key('mae', name, 'carried')])
                for name in table.names])
    if 'mase_ridge' in out:
        out['mase_gain'] = out['mase_ridge'] - out['mase']
    for k, event in enumerate(table.events):
        out |= _event_metrics(table, k, event if len(table.events) > 1 else '', lead_times, weight)
    return out


def _value_metrics(table: Predictions, k: int, name: str, weight: np.ndarray) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    there = ~np.isnan(table.next[:, k])
    measured, weight = table.next[there, k], weight[..., there]
    measured = measured - (measured.mean() if len(measured) else 0.0)  # squares of large numbers would lose digits
    variance = weighted_mean(measured**2, weight) - weighted_mean(measured, weight)**2
    for method, forecast in table.forecasts.items():
        error = forecast[there, k] - table.next[there, k]
        squared = weighted_mean(error**2, weight)
        with np.errstate(invalid='ignore', divide='ignore'):
            r2 = np.where(variance > 0, 1 - squared / variance, np.nan)
        out |= {metric_key(stem, name, method): value for stem, value in (
            ('mae', weighted_mean(np.abs(error), weight)), ('rmse', np.sqrt(squared)), ('r2', r2))}
    return out


def _event_metrics(table: Predictions, k: int, name: str, lead_times: Sequence[float],
                   weight: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of one event, computed in blocks of weightings."""
    return classification.compute_in_blocks(lambda w: _block_metrics(table, k, name, lead_times, w), weight)


def _block_metrics(table: Predictions, k: int, name: str, lead_times: Sequence[float],
                   weight: np.ndarray) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    weight = weight * table.event_weight(weight)
    known, occurs, gap = table.known[:, k], table.occurs[:, k], table.gap
    visits = {'': known}
    for span, (low, high) in lead_spans(lead_times).items():
        within = (gap > low) & (gap <= high)
        visits[span] = known & (~occurs | within | ((low == 0) & (gap == 0)))
    for method, risk in table.risks.items():
        found = {'brier': weighted_mean((risk[known, k] - occurs[known])**2, weight[..., known])}
        calibrated = occurs[known], recalibration.logit(risk[known, k]), weight[..., known]
        found |= {'calibration_slope': recalibration.slope(*calibrated),
                  'calibration_intercept': recalibration.intercept(*calibrated)}
        for span, chosen in visits.items():
            auroc, auprc = classification.auroc_and_auprc(occurs[chosen], risk[chosen, k], weight[..., chosen])
            found |= {f'auroc{span}': auroc, f'auprc{span}': auprc}
        out |= {metric_key(stem, name, method): value for stem, value in found.items()}
    if 'logistic' in table.risks:
        out[metric_key('auroc_gain', name, '')] = (
            out[metric_key('auroc', name, '')] - out[metric_key('auroc', name, 'logistic')])
    return out


def metric_key(stem: str, name: str, method: str) -> str:
    """The name of a metric in `results.json`."""
    return '_'.join(filter(None, (stem, name, method)))


def lead_spans(lead_times: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Spans of lead time by the end of their metrics' names."""
    return {f'_in_{low:g}_{high:g}': (low, high) for low, high in zip((0.0, *lead_times), lead_times)}


def counted_visits(table: Predictions, key: str) -> np.ndarray:
    """The visits that count for a metric, `[n]` bool."""
    for k, name in sorted(enumerate(table.names), key=lambda pair: -len(pair[1])):
        if key.startswith(tuple(f'{stem}_{name}' for stem in ('mae', 'rmse', 'r2'))):
            return ~np.isnan(table.next[:, k])
    if key.startswith('mase'):
        return (~np.isnan(table.next)).any(1)
    for k, event in sorted(enumerate(table.events), key=lambda pair: -len(pair[1])):
        if len(table.events) == 1 or f'_{event}' in key:
            return table.known[:, k]
    return np.ones(len(table.time), bool)


def entries(table: Predictions, values: Mapping[str, np.ndarray],
            samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Metrics with confidence intervals as of `intervals.entry`.

    Args:
      table: the visits.
      values: `[]` by name.
      samples: by name, for each row of `intervals.left_out`.
    """
    out = {}
    for name, value in values.items():
        reason = next((words for stem, words in UNDEFINED.items() if name.startswith(stem)), 'no such visit')
        out[name] = intervals.entry(float(value), samples[name], table.patients[counted_visits(table, name)], reason,
                                    name)
    return out


def summarise(rows: Sequence[Row], names: Sequence[str], events: Sequence[str], horizon: float,
              lead_times: Sequence[float],
              *, unit: str = '') -> dict[str, Any]:
    """The metrics and the analysis of a predictions table.

    Args:
      rows: as for `table.read`, each with its `split`.
      names: of the values.
      events: names of the events.
      horizon: the horizon, in the source's unit of time; 0 for no events.
      lead_times: limits of the lead times: times before an event, rising up to the horizon.
      unit: of the horizon, for the warnings.

    Returns:
      `metrics`: {split: {name: entry}}, `compute_metrics` as of `intervals.entry`; `measured`, `horizon` and
      `lead_times`; `calibration`: {split: {event: bins as of `calibration.reliability_bins`}}; `positives`: {split:
      {event: {span: number of positive visits, '' for the whole horizon, and 'known', of all}}}; and `warnings`, lines.

    Raises:
      InputError: as for `table.read`, or there is no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected at least one')
    out: dict[str, Any] = {'metrics': {}, 'measured': list(names), 'horizon': horizon, 'lead_times': list(lead_times),
                           'calibration': {}, 'positives': {}, 'warnings': []}
    for split, part in per_patient.rows_by_split(rows).items():
        table = read(part, names, events, horizon)
        out['metrics'][split] = entries(table, compute_metrics(table, lead_times), compute_metrics(
            table, lead_times, intervals.left_out(table.patients)))
        out['calibration'][split], out['positives'][split] = {}, {}
        for k, event in enumerate(table.events):
            known, occurs = table.known[:, k], table.occurs[:, k]
            out['calibration'][split][event] = calibration.reliability_bins(
                table.risks[''][known, k], occurs[known], table.event_weight()[known])
            out['positives'][split][event] = _positives(table, k, lead_times)
            patients = len(np.unique(table.patients[occurs]))
            if patients < FEW_EVENTS:
                count = f'{patients} patient' if patients == 1 else f'{patients} patients'
                within = f'{horizon:g} {unit}'.rstrip()
                out['warnings'].append(f'{split}: {event} within {within} in only {count}: metrics of early warning '
                                       'are uncertain')
    out['warnings'] += per_patient.missing_test(out['metrics'])
    return out


def _positives(table: Predictions, k: int, lead_times: Sequence[float]) -> dict[str, int]:
    """Numbers of positive visits by span of lead time, and of visits for which it is known whether they are."""
    known, occurs = table.known[:, k], table.occurs[:, k]
    gaps = table.gap[occurs]
    out = {'known': int(known.sum()), '': int(occurs.sum())}
    for span, (low, high) in lead_spans(lead_times).items():
        out[span] = int(((gaps <= high) & ((gaps > low) | (low == 0))).sum())
    return out


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
