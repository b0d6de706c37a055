"""A table of predicted effects of a treatment summed up: errors where the truth is simulated, policy value, uplift."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import treatment as metrics_treatment
from medjax.metrics.classification import weighted_mean
from medjax.metrics.covariate_balance import inverse_propensity
from medjax.statistics import bootstrap, intervals

CONVENTIONS = (
    'A higher outcome is better, and an effect is the outcome with treatment less that without. √PEHE is the root mean '
    'square error of the predicted effects, and the ATE error how far their mean is from the mean of the true ones: '
    'both by the expected outcomes of the simulation, without its noise, and known in a simulation alone. What can be '
    'known without the truth: the factual RMSE is the root mean square error of the outcomes that came, each group '
    'counting half; the matched √PEHE takes for a patient\'s true effect the difference from the nearest training '
    'patient of the other group, in standardised covariates, and has the noise of both outcomes in it. The propensity '
    'is the chance to be treated by a logistic regression on the training patients; a weight is the inverse of the '
    'chance of the treatment that was given, taken for no less than 0.05. The policy value is the weighted mean '
    'outcome of those whose treatment was the one that a positive predicted effect asks for. The uplift curve treats '
    'patients in the order of their predicted effects: at a share of them its gain is that share times the difference '
    'of the weighted mean outcomes of the treated and the others among them, 0 as long as one group is not among them; '
    'patients of equal effects come together. Qini is the area between it and the straight line to its end. The '
    'doubly robust mean effect corrects the predicted ones by the weighted errors of the outcomes that came. OLS is '
    'ordinary least squares with the treatment as one more covariate, or for each group by itself; trees are '
    'scikit-learn\'s histogram gradient boosting with its own settings, for each group by itself. They learn from the '
    'same training patients. Intervals are over patients (percentile bootstrap), where at least nine of ten resamples '
    'define the figure, from those; models and propensity are not fitted again: how they vary from one training set '
    'to another is not in the intervals.')
METHODS = {'': 'network', 'ols': 'OLS', 'ols_by_group': 'OLS by group', 'trees': 'trees by group'}
TRUE = ('pehe', 'ate_error')  # figures that ask for the truth
WHY = {'factual_rmse': 'one group only', 'policy_value': 'nobody\'s treatment is that of the policy',
       'qini': 'one group only', 'difference': 'one group only', 'ate_weighted': 'one group only',
       'value_if_none': 'nobody is untreated', 'value_if_all': 'nobody is treated'}
UNBALANCED = 0.25  # standardised difference from which a regression leans on its form (Rubin 2001)
FEW = 0.5  # of a group's patients: fewer effective ones are worth a warning
WITHIN = ('train', 'val')  # the splits whose outcomes a network or its choice has seen

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Patients as a predictions table has them.

    Attributes:
      patients: `[n]` int, the same for rows of one patient.
      treatment: `[n]` int, 0 or 1.
      outcome: `[n]`.
      predicted: for each method of METHODS that is there `[n, 2]`, the outcome without and with treatment.
      chance: `[n]`, weights by the inverse propensity.
      matched: `[n]`, the effect by the nearest patient of the other group.
      truth: `[n]`, the true effect; None where it is not known.
    """

    patients: np.ndarray
    treatment: np.ndarray
    outcome: np.ndarray
    predicted: Mapping[str, np.ndarray]
    chance: np.ndarray
    matched: np.ndarray
    truth: np.ndarray | None

    def effect(self, method: str) -> np.ndarray:
        """`[n]`: predicted effects, without the last digits, so that equal ones are equal."""
        scale = max(float(np.abs(self.outcome).max(initial=0)), 1e-12)
        pair = self.predicted[method]
        return np.round((pair[:, 1] - pair[:, 0]) / scale, 9) * scale

    def gains(self, method: str) -> tuple[np.ndarray, np.ndarray]:
        """The uplift curve of a method; see `effects.gains`."""
        return metrics_treatment.uplift_curve(self.effect(method), self.outcome, self.treatment, self.chance,
                             np.ones(len(self.outcome)))


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: errors of predicted effects, policy values, and the balance of the groups.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    known = {'problem': 'treatment', 'conventions': CONVENTIONS}
    if not rows:
        return known
    found = summarise(rows, evaluator.groups)
    return {**found.pop('metrics'), **known, 'analysis': found}


def read(rows: Sequence[Row]) -> Table:
    """Reads rows of a predictions table; cells are text or numbers.

    Args:
      rows: a mapping per patient: `treatment`, `outcome`, `outcome_if_0`, `outcome_if_1`, the same with the name of
        another method behind an underscore, `propensity`, `matched` and, where it is known, `effect`.

    Raises:
      InputError: names the case, the column, and what was expected there.
    """
    def column(name: str, low: float = -math.inf, high: float = math.inf, expected: str = 'a number') -> np.ndarray:
        return np.array([_number(row, number, name, low, high, expected) for number, row in enumerate(rows)],
                        np.float64)

    first = rows[0] if rows else {}
    ends = {method: f'_{method}' if method else '' for method in METHODS}
    predicted = {method: np.stack([column(f'outcome_if_{given}{end}') for given in (0, 1)], 1)
                 for method, end in ends.items() if not method or f'outcome_if_0{end}' in first}
    treatment = column('treatment', 0, 1, '0 or 1')
    for number in np.flatnonzero((treatment != 0) & (treatment != 1))[:1]:
        raise InputError(f'predictions, case {rows[number].get("id", number)}: treatment: {treatment[number]:g}; '
                         'expected 0 or 1')
    known = bool(rows) and all(row.get('effect') not in ('', None) for row in rows)
    return Table(bootstrap.patient_numbers(rows), treatment.astype(int), column('outcome'), predicted,
                 inverse_propensity(treatment, column('propensity', 0, 1, 'a number from 0 to 1')), column('matched'),
                 column('effect') if known else None)


def figures(table: Table, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All figures of some patients, as `[...]` for `weight [..., n]`, by their names in `results.json`.

    Of the network `pehe` and `ate_error` where the truth is known, `factual_rmse`, `pehe_matched`, `policy_value`,
    `qini`, `ate` (the mean predicted effect) and `ate_doubly_robust`; `NAME_METHOD` of the other METHODS. Of no model
    `difference` (of the groups' mean outcomes, as they are), `ate_weighted` (the same with weights), `value_if_none`
    and `value_if_all` (were nobody treated, or everybody), and `ate_true`.
    """
    weight, out = np.ones(len(table.outcome)) if weight is None else np.asarray(weight), {}
    treatment, outcome, chance = table.treatment, table.outcome, table.chance
    for method, predicted in table.predicted.items():
        effect = table.effect(method)
        found = {}
        if table.truth is not None:
            found |= {'pehe': metrics_treatment.pehe(effect, table.truth, weight),
                      'ate_error': np.abs(weighted_mean(effect - table.truth, weight))}
        found |= {'factual_rmse': metrics_treatment.factual_rmse(predicted, outcome, treatment, weight),
                  'pehe_matched': metrics_treatment.pehe(effect, table.matched, weight),
                  'policy_value': metrics_treatment.policy_value(effect, outcome, treatment, chance, weight),
                  'qini': metrics_treatment.qini(*metrics_treatment.uplift_curve(effect, outcome, treatment, chance, weight)),
                  'ate': weighted_mean(effect, weight),
                  'ate_doubly_robust': metrics_treatment.doubly_robust_effect(predicted, outcome, treatment, chance, weight)}
        out |= {f'{name}_{method}' if method else name: value for name, value in found.items()}
    plain, inverse = ([weighted_mean(outcome, weight * each * (treatment == given)) for given in (0, 1)]
                      for each in (np.ones(len(outcome)), chance))
    out |= {'difference': plain[1] - plain[0], 'ate_weighted': inverse[1] - inverse[0], 'value_if_none': inverse[0],
            'value_if_all': inverse[1]}
    return out if table.truth is None else out | {'ate_true': weighted_mean(table.truth, weight)}


def summarise(rows: Sequence[Row], training: Mapping[str, Any], *, resamples: int = 2000,
              seed: int = 0) -> dict[str, Any]:
    """Sums a predictions table up.

    Args:
      rows: as for `read`, each with its `split`.
      training: how the groups of the training patients differ and overlap: `balance`, `overlap`, `counts` and
        `effective` as the evaluator gives them.
      resamples: bootstrap draws.
      seed: of the draws, the same for all figures.

    Returns:
      `metrics`: {split: {name: entry}}, `figures` as of `measure.entry`; `training`; and `warnings`, lines.

    Raises:
      InputError: as `read`; no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    out: dict[str, Any] = {'metrics': {}, 'training': dict(training), 'warnings': _warnings(training)}
    for split, some in bootstrap.rows_by_split(rows).items():
        table = read(some)
        draws = intervals.multiplicities(table.patients, resamples, seed)
        values, samples = figures(table), figures(table, draws)
        out['metrics'][split] = {name: intervals.entry(float(value), samples[name], table.patients, _why(name))
                                 for name, value in values.items()}
    if 'test' not in out['metrics']:
        out['warnings'].append('no test cases: no figures on them')
    return out


def realised(tables: Mapping[str, Sequence[Row]],
             resamples: int = 2000) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs on several realisations of a simulation as one result: means, with intervals over the realisations.

    Args:
      tables: for each run the rows of its predictions table.
      resamples: bootstrap draws.

    Returns:
      {part: {name: entry}} as of `bootstrap.summarise`, for the parts 'test' and, where all runs predicted both
      training and validation cases, 'within', which is both together; and a row per run and part with its figures.

    Raises:
      InputError: as `read`; a run without test cases.
    """
    made: dict[str, list[dict[str, Any]]] = {}
    for name, rows in tables.items():
        splits = bootstrap.rows_by_split(rows)
        parts = {'test': splits.get('test', ())}
        if all(split in splits for split in WITHIN):
            parts['within'] = [row for split in WITHIN for row in splits[split]]
        if not parts['test']:
            raise InputError(f'{name}: no test cases in predictions.csv; expected some')
        for part, some in parts.items():
            found = {key: float(value) for key, value in figures(read(some)).items()}
            made.setdefault(part, []).append({'split': part, 'id': name, 'realisation': name, **found})
    made = {part: rows for part, rows in made.items() if len(rows) == len(tables)}
    results = {part: bootstrap.summarise(rows, [name for name in rows[0] if name not in (
        'split', 'id', 'realisation')], 'realisation', resamples) for part, rows in made.items()}
    return results, [row for rows in made.values() for row in rows]


def _why(name: str) -> str:
    """Why a figure would not be defined."""
    return next((words for stem, words in WHY.items() if name.startswith(stem)), 'no case')


def _warnings(training: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the groups before any figure."""
    apart = [name for name, (_, after) in training['balance'].items() if not abs(after) < UNBALANCED]
    lines = []
    if apart:
        lines.append(f'the groups differ, weighted by the inverse propensity too, by more than {UNBALANCED} standard '
                     f'deviations in {", ".join(apart[:6])}{", …" * (len(apart) > 6)}: there a predicted effect leans '
                     'on the form of the model')
    for name, count in training['counts'].items():
        if training['effective'][name] < FEW * count:
            lines.append(f'{name}: the {count} training patients weigh as {training["effective"][name]:.0f} would with '
                         'equal weights: few of them stand for many')
    return lines


def _number(row: Row, number: int, column: str, low: float, high: float, expected: str) -> float:
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        raise InputError(f'predictions, case {row.get("id", number)}: {column}: {row.get(column)}; expected {expected}')
    return value
