"""Comparisons of several runs as text for the console, as a table for CSV and as a page of HTML."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medjax.metrics.names import MetricList
from medjax.report.chapter import FEW_PATIENTS, Chapter, split_name
from medjax.report.page import page
from medjax.report.tables import Cell, Table, format_count_of, format_number, format_p

TESTS = {'delong': 'DeLong’s test of the AUROC', 'mcnemar': 'McNemar’s test of correct decisions'}

Content = Mapping[str, Any]  # of comparison.json


def console_lines(content: Content) -> Iterator[str]:
    """The comparisons as lines of text.

    Args:
      content: of `comparison.json`.
    """
    for found in content['comparisons']:
        yield f'a: {found["a"]}'
        yield f'b: {found["b"]}'
        yield _sample(content, found['split'])
        width = max(map(len, ('metric', *found['metrics']))) + 2
        yield f'{"metric":{width}}{"a":>10}{"b":>10}{"a − b":>10}  {"95 % CI":18}{"p":>10}{"p (Holm)":>10}{"n":>7}'
        for name, entry in found['metrics'].items():
            difference = entry['difference']
            interval = _interval(difference)
            p, adjusted = format_p(difference['p']), format_p(difference['p_holm'])
            a, b, minus = format_number(entry['a']), format_number(entry['b']), _signed(difference['value'])
            yield f'{name:{width}}{a:>10}{b:>10}{minus:>10}  {interval:18}{p:>10}{adjusted:>10}{difference["n"]:7}'
        for test, label, entry in _tests(found):
            yield f'{test} {label}'.ljust(width) + _p_values(entry)
    for line in content['warnings']:
        yield f'warning: {line}'


def table_rows(content: Content) -> list[dict[str, Any]]:
    """A row for each metric of each comparison, for `comparison.csv`.

    Args:
      content: of `comparison.json`.
    """
    out = []
    for found in content['comparisons']:
        for name, entry in found['metrics'].items():
            difference = entry['difference']
            low, high = difference['ci95'] or ('', '')
            p, adjusted = ('' if difference[key] is None else difference[key] for key in ('p', 'p_holm'))
            out.append({'split': found['split'], 'a': found['a'], 'b': found['b'], 'metric': name,
                        'value_a': entry['a'], 'value_b': entry['b'], 'difference': difference['value'], 'low': low,
                        'high': high, 'p': p, 'p_holm': adjusted, 'n': difference['n'], 'cases': difference['cases'],
                        'one_run': difference.get('one_run', 0), 'unit': difference['unit'],
                        'why': difference.get('why', '')})
    return out


def render(content: Content, metrics: MetricList, classes: Sequence[str], command: str) -> str:
    """The page of a comparison as HTML.

    Args:
      content: of `comparison.json`.
      metrics: the family's metrics.
      classes: names of the classes.
      command: the command that made the comparison.
    """
    chapter = Chapter(headlines=[_headline(content, found, metrics, classes) for found in content['comparisons']],
                      method='', tables=[table for found in content['comparisons']
                                         for table in _tables(found, metrics, classes)],
                      sections=(), curves={}, cases=(), conventions_heading='Method', warnings=content['warnings'])
    names = ', '.join(content['runs'])
    return page(chapter, title='Comparison of runs', subtitle=f'{content["family"]}: {names}',
                conventions=content['method'], command=command,
                config=json.dumps({key: content[key] for key in ('runs', 'family', 'p_values')}, indent=2))


def small_sample_warnings(splits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A warning for each split with few patients.

    Args:
      splits: for each `n` and its `unit`.
    """
    return [f'{split}: {format_count_of(size["n"], size["unit"])}: with fewer than {FEW_PATIENTS} intervals may '
            'be too narrow and p values too small' for split, size in splits.items() if size['n'] < FEW_PATIENTS]


def _sample(content: Content, split: str) -> str:
    size = content['splits'][split]
    return f'{size["cases"]} {split} cases of {format_count_of(size["n"], size["unit"])}'


def _tests(found: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The further tests of a comparison: test, class or label, and result."""
    for test, results in found['tests'].items():
        for label, entry in results.items():
            yield test, label, entry


def _p_values(entry: Mapping[str, Any]) -> str:
    """The p values of a further test, or the reason why there are none."""
    if entry['p'] is None:
        return entry['why']
    return f'p {format_p(entry["p"])}, p (Holm) {format_p(entry["p_holm"])}'


def _headline(content: Content, found: Mapping[str, Any], metrics: MetricList,
              classes: Sequence[str]) -> tuple[str, str]:
    """The family's first headline metric as a sentence, and its uncertainty as another."""
    order = [metrics.find(metrics.split_key(name, classes)[0]) for name in found['metrics']]
    ranks = [metrics.index(metric) if metric is not None and metric.headline else len(metrics) for metric in order]
    name = list(found['metrics'])[ranks.index(min(ranks))]
    label, unit, _ = _describe(metrics, name, classes)
    difference = found['metrics'][name]['difference']
    text = f'{label}, a minus b: {_signed(difference["value"], unit)} {unit}'.rstrip()
    interval = _interval(difference, unit)
    sure = f'95 % CI {interval}, p = {format_p(difference["p"])}, after Holm {format_p(difference["p_holm"])}. '
    sample = _sample(content, found['split'])
    return f'{text}.', f'{sure if difference["ci95"] else interval + ". "}{sample}. a: {found["a"]}; b: {found["b"]}.'


def _tables(found: Mapping[str, Any], metrics: MetricList, classes: Sequence[str]) -> Iterator[Table]:
    """The tables of a comparison: differences, and further tests where there are some."""
    title = f'{split_name(found["split"])}: {found["a"]} (a) against {found["b"]} (b)'
    rows = []
    for name, entry in found['metrics'].items():
        label, unit, arrow = _describe(metrics, name, classes)
        difference = entry['difference']
        head = f'{label} ({unit})' if unit else label
        cells = [format_number(entry['a'], unit), format_number(entry['b'], unit), _signed(difference['value'], unit),
                 _interval(difference, unit), format_p(difference['p']), format_p(difference['p_holm']),
                 str(difference['n'])]
        cases = Cell(str(difference['cases']), below=f'{difference["one_run"]} in one run' if 'one_run' in difference
                     else '')
        rows.append((f'{head}\N{NO-BREAK SPACE}{arrow}'.strip(), '', [*map(Cell, cells), cases]))
    unit = next(iter(found['metrics'].values()))['difference']['unit']
    yield Table(title, [(head, '') for head in ('a', 'b', 'a − b', '95 % CI', 'p', 'p (Holm)', f'n ({unit}s)',
                                                'cases')], rows)
    tests = [(f'{TESTS.get(test, test)} {label}'.strip(), '', [
        Cell(format_p(entry['p'])), Cell(format_p(entry['p_holm']) if entry['p'] is not None else entry['why'])])
        for test, label, entry in _tests(found)]
    if tests:
        yield Table('Tests without resampling, each corrected by itself', [('p', ''), ('p (Holm)', '')], tests)


def _describe(metrics: MetricList, name: str, classes: Sequence[str]) -> tuple[str, str, str]:
    """The label of a metric with its class or target, its unit, and an arrow towards better values."""
    key, of_class = metrics.split_key(name, classes)
    metric = metrics.find(key)
    if metric is None:
        return name, '', ''
    rest = [part for part in (key.removeprefix(metric.name).strip('_').replace('_', ' '), of_class) if part]
    return ', '.join([metric.label, *rest]), metric.unit, metric.arrow


def _signed(value: float, unit: str = '') -> str:
    text = format_number(value, unit)
    return f'+{text}' if value > 0 else text


def _interval(difference: Mapping[str, Any], unit: str = '') -> str:
    """The interval of a difference as text, or the reason why there is none."""
    limits = difference['ci95']
    return ' to '.join(_signed(limit, unit) for limit in limits) if limits else difference['why']
