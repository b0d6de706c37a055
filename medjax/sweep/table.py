"""The table of a sweep: metrics by setting, and paired differences to the first one."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from medjax import cli, compare
from medjax.errors import InputError
from medjax.report import run_files
from medjax.statistics import paired
from medjax.sweep.settings import Run
from medjax.tasks.family import of_config


def summarise(wanted: Sequence[Run], workdir: pathlib.Path, folds: int,
              metrics: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of the table, one for each setting and headline metric.

    `value` is over all folds and seeds. Its interval, `low` to `high`, is over patients where the family's runs can be
    merged, and else over runs, as `interval` says. `val` is the mean over runs of the validation cases. `difference` is
    the mean over runs of the difference to the same seed and fold of the first setting, with its interval and p value,
    see `student`; `p_holm` is adjusted for all p values of the table.

    Args:
      wanted: the runs.
      workdir: for the merged results: `SETTING/all`, and the folder itself where there is one setting without a name.
      folds: number of folds; 0 for none.
      metrics: those that are shown; by default the family's headline metrics.

    Raises:
      InputError: a metric that the runs do not have.
    """
    by_setting: dict[str, list[Run]] = {}
    for run in wanted:
        by_setting.setdefault(run.setting, []).append(run)
    read = {run: run_files.read(run.folder) for run in wanted}
    test = {run: _tested(found.results) for run, found in read.items()}
    first = next(iter(by_setting.values()))
    names, unit = _shown(read[first[0]], metrics), read[first[0]].analysis_unit
    rows = []
    for setting, members in by_setting.items():
        merged = {}
        if len(members) > 1:
            merged = _tested(_merged(members, workdir / setting / 'all' if setting else workdir))
        for name in names:
            values = {run.pair: _value(test[run], name) for run in members}
            row = {'setting': setting, 'metric': name, 'runs': len(members),
                   **_entry(merged.get(name) or (test[members[0]][name] if len(members) == 1 else None),
                            list(values.values()), unit, folds),
                   'val': float(np.mean([_value(read[run].results.get('val', {}), name.split()[-1])
                                         for run in members]))}
            if members is not first:
                base = {run.pair: _value(test[run], name) for run in first}
                found = student([values[pair] - base[pair] for pair in base if pair in values], folds)
                row |= dict(zip(('difference', 'difference_low', 'difference_high', 'p'), found))
            rows.append(row)
    tested = [row for row in rows if 'p' in row]
    for row, adjusted in zip(tested, paired.holm([None if math.isnan(row['p']) else row['p'] for row in tested])):
        row['p_holm'] = math.nan if adjusted is None else adjusted
    return rows


def _tested(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The entries of all test splits by the metric's name, after that of the split where it is not `test`."""
    return {metric if split == 'test' else f'{split} {metric}': entry for split, entries in results.items()
            if split.startswith('test') and isinstance(entries, Mapping) for metric, entry in entries.items()}


def _shown(run: run_files.Run, metrics: Sequence[str]) -> list[str]:
    """The names of the metrics of the table."""
    known = list(_tested(run.results))
    for name in metrics:
        if name not in known:
            raise InputError(f'--metrics: {name!r} is not measured; expected some of: {", ".join(known)}')
    declared, classes = of_config(run.config).metrics, run.results.get('classes', ())
    return list(metrics) or [name for name in known if declared.is_headline(name.split()[-1], classes)]


def _entry(entry: Mapping[str, Any] | None, values: Sequence[float], unit: str, folds: int) -> dict[str, Any]:
    """The value of a metric with its interval; without an entry, the mean of the runs' values."""
    if entry is None:
        value, low, high, _ = student(values, folds)
        return {'value': value, 'low': low, 'high': high, 'interval': 'runs'}
    low, high = entry.get('ci95') or (math.nan, math.nan)
    return {'value': math.nan if entry['value'] is None else entry['value'], 'low': low, 'high': high,
            'interval': f'{unit}s'}


def _merged(members: Sequence[Run], folder: pathlib.Path) -> Mapping[str, Any]:
    """The merged results of a setting's runs; empty where the family's runs cannot be merged."""
    try:
        return compare.merge([str(run.folder) for run in members], folder)
    except InputError as error:
        cli.say(f'warning: {error}; the mean over runs is shown, with an interval over runs')
        return {}


def _value(entries: Mapping[str, Any], name: str) -> float:
    value = entries.get(name, {}).get('value')
    return math.nan if value is None else float(value)


def student(values: Sequence[float], folds: int = 0) -> tuple[float, float, float, float]:
    """The mean of one value for each seed and fold, its 95 % interval, and the p value against 0.

    Student's; with folds, whose training cases overlap, by the corrected variance of Nadeau and Bengio (2003). NaN
    where there are fewer than two values; values that are equal have no interval, and p = 1 if they are 0.

    Args:
      values: one for each run.
      folds: number of folds; 0 where all runs have the same test cases.
    """
    array = np.array(values, float)
    mean = float(array.mean()) if len(array) else math.nan
    if len(array) < 2:
        return mean, math.nan, math.nan, math.nan
    overlap = 1 / (folds - 1) if folds > 1 else 0.0  # test cases in training cases
    error = math.sqrt(array.var(ddof=1) * (1 / len(array) + overlap))
    if error == 0 or math.isnan(error):
        return mean, math.nan, math.nan, 1.0 if not array.any() else math.nan
    half = float(stats.t.ppf(0.975, len(array) - 1)) * error
    return mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, len(array) - 1))


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table as lines for the console."""
    out = []
    for row in rows:
        more = ''
        if 'difference' in row:
            more = (f'   difference {row["difference"]:+.3f} [{row["difference_low"]:+.3f}, '
                    f'{row["difference_high"]:+.3f}]  p {row["p"]:.3g}  p (Holm) {row["p_holm"]:.3g}')
        out.append(f'{row["setting"] or "all runs":40} {row["metric"]:20} {row["value"]:.3f} [{row["low"]:.3f}, '
                   f'{row["high"]:.3f}]{more}')
    return out
