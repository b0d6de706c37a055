"""Paired comparisons of several predictions of the same cases: bootstrap over patients, p values, Holm's correction."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from medjax.errors import InputError
from medjax.metrics.classification import BLOCK, weighted_mean
from medjax.statistics import delong, intervals, per_patient, proportions, scales
from medjax.statistics.cross_validation import Row, Tables

METHOD = (
    'A difference is that of the two runs\' results, a minus b, on the same cases. Its standard error is that of a '
    'paired bootstrap over {unit}s with {resamples} resamples: all cases of each are drawn together, the same ones for '
    'all runs, and every metric is computed again on each resample. A case that has a value in one run only counts in '
    'that run. The 95 % interval is that of the t distribution, with fewer degrees of freedom where few {unit}s '
    'decide the difference; the two-sided p value is the level at which it just excludes 0. Where each {unit} has one '
    'case, differences of proportions of the same cases have the interval of Agresti and Min (2005) and McNemar\'s p '
    'value. “p (Holm)” is adjusted for the {count} p values of this comparison (Holm 1979): if all those below 0.05 '
    'are taken as differences, the probability that any is due to chance is at most 5 %. Intervals are not adjusted. '
    'Networks and thresholds are held fixed, so the variation between trainings is not included.')
DEFINED = 0.9  # least share of resamples in which a difference is defined; with fewer the error would be selective


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values that control the probability of any false rejection (Holm 1979, Scand. J. Statist. 6).

    The i-th smallest of m values is multiplied by m - i + 1; none is smaller than that of a smaller value, or above 1.

    Args:
      p_values: in any order; None for a test that could not be made, which does not count.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    out: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        out[place] = largest
    return out


def same_cases(tables: Tables, split: str) -> list[list[Row]]:
    """The rows of a split, of each run in the order of the first one.

    Args:
      tables: for each run the rows of its predictions table.
      split: the split's name.

    Raises:
      InputError: a run has no such case, has one twice, or has other cases or patients than the first.
    """
    first, *others = tables
    expected = rows_by_id(tables[first], split, first)
    if not expected:
        raise InputError(f'{first}: no {split} cases in predictions.csv; expected some')
    out = [list(expected.values())]
    for name in others:
        found = rows_by_id(tables[name], split, name)
        missing, extra = (sorted(a.keys() - b.keys()) for a, b in ((expected, found), (found, expected)))
        if missing or extra:
            raise InputError(
                f'{name}: {len(missing)} of the {len(expected)} {split} cases of {first} are missing, and {len(extra)} '
                f'of its {len(found)} cases are not there, such as {(missing or extra)[0]}; expected the same cases')
        out.append([found[case] for case in expected])
        check_columns(out[0], out[-1], 'patient'.__eq__, name, first)
    return out


def rows_by_id(rows: Sequence[Row], split: str, run: str) -> dict[str, Row]:
    """The rows of a split by the id of their case.

    Args:
      rows: of a predictions table.
      split: the split's name.
      run: name of the run, for messages.

    Raises:
      InputError: an id occurs twice.
    """
    out: dict[str, Row] = {}
    for row in rows:
        if row.get('split') == split:
            case = str(row.get('id'))
            if case in out:
                raise InputError(f'{run}: case {case} is twice in {split}; expected each id once')
            out[case] = row
    return out


def check_columns(rows: Sequence[Row], others: Sequence[Row], known: Callable[[str], bool], run: str,
                  first: str) -> None:
    """Refuses runs that disagree about what is known of a case, such as its target.

    Args:
      rows: of the first run.
      others: of the other run, of the same cases in the same order.
      known: whether a column, by its name, is known and not predicted; cells are compared as numbers where they are.
      run: name of the other run, for the message.
      first: name of the first run.

    Raises:
      InputError: with the case, the column and both values.
    """
    for a, b in zip(rows, others):
        for column in dict.fromkeys((*a, *b)):
            if known(column) and not _equal(a.get(column), b.get(column)):
                raise InputError(f'{run}: case {a["id"]}: {column} is {b.get(column)!r}, in {first} '
                                 f'{a.get(column)!r}; expected the same in all runs')


def _equal(a: Any, b: Any) -> bool:
    if a == b:
        return True
    try:
        return bool(np.isclose(float(a), float(b), rtol=1e-5, atol=1e-8, equal_nan=True))
    except (TypeError, ValueError):
        return False


def pairs(names: Sequence[str], every: bool) -> list[tuple[str, str]]:
    """The pairs that are compared: the first with each other one, or every two."""
    return list(itertools.combinations(names, 2)) if every else [(names[0], name) for name in names[1:]]


def compare(runs: Mapping[str, Any], metrics: Callable[..., Mapping[str, np.ndarray]],
            counted: Callable[[Any, str], np.ndarray], patients: np.ndarray, chosen: Iterable[tuple[str, str]], *,
            hits: Callable[[Any, Any], Mapping[str, tuple[np.ndarray, np.ndarray]]] | None = None,
            names: Sequence[str] = (), resamples: int = 2000, seed: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """Differences of metrics between runs, with bootstrap intervals and p values; without Holm's correction.

    Args:
      runs: by name the cases of each run, the same ones in the same order.
      metrics: `(cases, draws=None) -> {name: [...]}`, for `draws [resamples, n]` one value for each resample.
      counted: `(cases, name) -> [n] bool`, the cases that count for a metric.
      patients: `[n]`, the patient of each case.
      chosen: pairs of names of runs.
      hits: `(cases, cases) -> {name: (hits [m], hits [m])}`, of metrics that are proportions of the same m cases in
        both runs; None for no such metric.
      names: of the metrics; by default those that all runs have.
      resamples: number of bootstrap resamples of patients, the same for all runs.
      seed: seed of the resamples.

    Raises:
      InputError: a metric that not all runs have, or no metric that all have.

    Returns:
      For each pair `a`, `b` and `metrics`: {name: {`a`, `b`, `difference`}}, the values of both runs and an entry as of
      `intervals.entry` with `p`, None where there is no interval; with `resamples`, the number of resamples in which
      both runs have a value; and `one_run`, the number of cases that have a value in one run only, where there are
      such. And the names of the metrics that some runs have and others not.
    """
    values = {run: metrics(cases) for run, cases in runs.items()}
    every = list(dict.fromkeys(name for found in values.values() for name in found))
    shared = [name for name in every if all(name in found for found in values.values())]
    if not shared:
        raise InputError(f'{" ".join(runs)}: no metric that all runs have; expected the same options of evaluation')
    unknown = [name for name in names if name not in shared]
    if unknown:
        raise InputError(f'--metrics: {unknown[0]!r}; expected some of: {", ".join(shared)}')
    names = names or shared
    draws = np.concatenate([draw_patients(patients, resamples, seed), intervals.left_out(patients)])
    samples = {run: metrics(cases, draws) for run, cases in runs.items()}
    single, out = len(np.unique(patients)) == len(patients), []
    for a, b in chosen:
        found, exact = {}, hits(runs[a], runs[b]) if hits and single else {}
        for name in names:
            in_a, in_b = counted(runs[a], name), counted(runs[b], name)
            value_a, value_b = float(values[a][name]), float(values[b][name])
            difference = _difference(value_a - value_b, samples[a][name] - samples[b][name], patients[in_a | in_b],
                                     resamples)
            if name in exact:
                kept = {key: difference[key] for key in ('value', 'n', 'cases', 'unit')}
                difference = kept | _proportion(exact[name])
            if (in_a != in_b).any():
                difference['one_run'] = int((in_a != in_b).sum())
            found[name] = {'a': value_a, 'b': value_b, 'difference': difference}
        out.append({'a': a, 'b': b, 'metrics': found})
    return out, [name for name in every if name not in shared]


def adjust(comparisons: Sequence[Mapping[str, Any]]) -> int:
    """Adds Holm's adjusted p values to comparisons.

    Those of all metrics of all pairs are adjusted together, and those of each further test by themselves.

    Args:
      comparisons: of `compare`, each with its further `tests`; entries get `p_holm`.

    Returns:
      The number of p values of metrics.
    """
    groups: dict[str, list[dict[str, Any]]] = {'': []}
    for found in comparisons:
        groups[''] += [entry['difference'] for entry in found['metrics'].values()]
        for test, results in found['tests'].items():
            groups.setdefault(test, []).extend(results.values())
    for entries in groups.values():
        for entry, adjusted in zip(entries, holm([entry['p'] for entry in entries])):
            entry['p_holm'] = adjusted
    return sum(entry['p'] is not None for entry in groups[''])


def draw_patients(patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Number of times that each case is drawn when patients are drawn with replacement.

    All cases of a patient are drawn together. The probability that one of 256 or more patients is drawn 256 times or
    more is negligible, so that counts fit 8 bits.

    Args:
      patients: `[n]`, the patient of each case.
      resamples: number of bootstrap resamples.
      seed: seed of the draws.

    Returns:
      `[resamples, n]` uint8.
    """
    names, where = np.unique(patients, return_inverse=True)
    rng, count = np.random.default_rng(seed), len(names)
    out = np.ones((resamples, len(patients)), np.uint8)
    step = max(1, BLOCK // max(count, 1))
    for start in range(0, resamples if count else 0, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        out[start:start + rows] = times.astype(np.uint8)[:, where]
    return out


def _difference(value: float, samples: np.ndarray, patients: np.ndarray, resamples: int) -> dict[str, Any]:
    """The entry of a difference, with its p value; equal results in all resamples have p = 1.

    Args:
      value: the difference.
      samples: the same in each resample, and then for each row of `intervals.left_out`; NaN where it is not defined.
      patients: `[n]`, the patient of each case that counts.
      resamples: number of resamples.
    """
    reason = 'not defined in both runs'
    out = intervals.blank_entry(value if np.isfinite(value) else np.nan, patients, reason) | {'p': None}
    drawn = samples[:resamples][~np.isnan(samples[:resamples])]
    if 'why' in out:
        return out
    if len(drawn) < DEFINED * resamples:
        return out | {'why': f'not defined in {resamples - len(drawn)} of {resamples} resamples ({reason}): '
                             'no confidence interval'}
    if np.ptp(drawn) <= intervals.ROUNDING * np.abs(drawn).max():
        return out | {'why': 'equal in all resamples: no confidence interval',
                      'p': 1.0 if value == 0 and not drawn.any() else None}
    error = float(np.std(drawn) * np.sqrt(out['n'] / (out['n'] - 1)))
    freedom = float(intervals.jackknife(samples[resamples:], out['n'])[1])
    freedom = out['n'] - 1 if np.isnan(freedom) else freedom
    found = intervals.with_interval(out, error, freedom, scales.IDENTITY, 'bootstrap')
    return found | {'resamples': len(drawn), 'p': float(2 * special.stdtr(freedom, -abs(value) / error))}


def _proportion(hits: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Interval and p value of the difference of two proportions of the same independent cases."""
    return {'ci95': proportions.paired_difference(*hits), 'method': 'Agresti–Min', 'p': delong.mcnemar_test(*hits)['p']}


class CaseMeans:
    """Metrics of single cases, of which the mean over patients is the result, as in `per_patient.summarise`."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[str]):
        """Reads the columns.

        Args:
          rows: of a predictions table.
          columns: of the metrics.
        """
        self.patients = per_patient.patient_numbers(rows)
        self.values = {name: np.array([per_patient.parse_number(row.get(name)) for row in rows]) for name in columns}

    def counted(self, name: str) -> np.ndarray:
        """The cases in which a metric is defined, `[n]` bool."""
        return ~np.isnan(self.values[name])

    def means(self, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The mean over patients of the means over their cases, of each metric; for `draws [resamples, n]` of each."""
        weight = np.ones(len(self.patients)) if draws is None else draws
        out = {}
        for name, values in self.values.items():
            defined = self.counted(name)
            cases = np.bincount(self.patients, defined)[self.patients]
            share = np.divide(defined, cases, out=np.zeros(len(cases)), where=cases > 0)
            out[name] = weighted_mean(np.where(defined, values, 0.0), weight * share)
        return out
