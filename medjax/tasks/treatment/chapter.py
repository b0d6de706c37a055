"""The report's chapter on treatment effects: errors of the effects, treatment recommendation and covariate balance."""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Section,
    caption,
    headline_splits,
    interval_method,
    join_sentences,
    non_numeric_columns,
    split_name,
    themed_chart,
)
from medjax.report.run_files import Run
from medjax.report.split import Split, read_split
from medjax.report.tables import Cell, Entry, Table, format_number
from medjax.tasks.treatment import charts
from medjax.tasks.treatment.family import FAMILY
from medjax.tasks.treatment.summary import metric_key
from medjax.tasks.treatment.table import METHODS, Predictions, read

METRICS = ('pehe', 'ate_error', 'factual_rmse', 'pehe_matched', 'policy_value', 'qini')  # of the table of methods
PARTS = {'test': 'Out of sample (test)', 'within': 'Within sample (training and validation)'}
LIMITS = ('Limits of these estimates: only one of the two outcomes of a patient is observed, so no metric on real '
          'patients validates an individual effect; a cause of treatment that is not among the covariates (unmeasured '
          'confounding) is mistaken for an effect of the treatment; and where one group has no similar patients, the '
          'prediction depends on the form of the model and not on data.')
METHOD_EFFECTS = {'ate': 'Predicted, mean',
                  'ate_doubly_robust': 'Predicted, corrected by observed outcomes (doubly robust)'}
OTHER_EFFECTS = {'difference': 'Difference of the group means, unweighted', 'ate_weighted': 'The same, weighted',
                 'ate_true': 'Truth (simulated)'}


def chapter(run: Run) -> Chapter:
    """The chapter of a run, or of several realisations that were merged.

    Raises:
      InputError: the predictions table lacks an outcome or a propensity.
    """
    if run.results.get('realisations'):
        return _merged_chapter(run)
    splits = [read_split(run, name, read) for name in run.splits]
    analysis = run.results.get('analysis') or {}
    shown = sections(splits[0]) if splits else []
    if analysis.get('training'):
        shown.append(balance_section(analysis['training'], run.classes))
    return Chapter(
        headlines=[headline(split) for split in splits if split.split in headline_splits(run)], method=method(run),
        tables=[methods_table(split.entries, list(split.table.predicted), caption(run, split.split))
                for split in splits],
        sections=shown, curves=training_curves(run), cases=[row for split in splits for row in case_rows(split)],
        text_columns=non_numeric_columns(run), cases_order=': the largest predicted effect first',
        warnings=run.warnings)


def headline(split: Split[Predictions]) -> tuple[str, str]:
    """The result as a sentence, and the sample as another."""
    table, entries, run = split.table, split.entries, split.run
    key, name = ('pehe', '√PEHE') if 'pehe' in entries else ('ate_doubly_robust', 'Mean effect, doubly robust,')
    text = f'{tables.value_with_interval(name, entries[key])} on the {split_name(split.split).lower()} cases'
    baselines = [f'{METHODS[method]} {format_number(entries[metric_key(key, method)]["value"])}'
                 for method in table.predicted if method]
    text = '; '.join([text, ', '.join(baselines)]) if baselines else text
    text += '.'
    if 'pehe' in entries:
        error, truth = (format_number(entries[name]['value']) for name in ('ate_error', 'ate_true'))
        text += f' The error of the mean effect is {error}; its true value is {truth}.'
    n, treated = entries[key]['n'], int((table.treatment == 1).sum())
    size = '1 patient' if n == 1 else f'{n} patients'
    return text, (f'95 % intervals in brackets. n = {size}: {run.classes[1]} {treated}, {run.classes[0]} '
                  f'{len(table.treatment) - treated}.')


def method(run: Run) -> str:
    """How the values and intervals of the tables are computed, and their limits."""
    merged = run.results.get('realisations')
    return join_sentences({
        interval_method(run, 'realisations of the simulation' if merged else ''): True,
        '√PEHE is the root mean squared error of the effects, whose true values are known in simulations only.':
            any('pehe' in run.results[split] for split in run.splits), LIMITS: merged})


def methods_table(entries: Mapping[str, Entry], methods: Sequence[str], title: str) -> Table:
    """The metrics of the effects, of the network and of the baselines."""
    keys = {(name, METHODS[method]): entries[metric_key(name, method)] for name in METRICS for method in methods
            if metric_key(name, method) in entries}
    return tables.metric_table(FAMILY.metrics, keys, [METHODS[method] for method in methods], title)


def sections(split: Split[Predictions]) -> list[Section]:
    """Charts and tables of the first split."""
    return [Section('Treatment recommendation', 'Treatment is recommended to patients with a positive predicted '
                    'effect. The network is compared with baselines.', tables=[value_table(split)],
                    charts=charts.effect_charts(split)),
            Section('Average treatment effect', 'Over all patients. The unweighted difference includes all other '
                    'differences between the groups.', tables=[mean_table(split.entries, list(split.table.predicted))])]


def balance_section(training: Mapping, names: Sequence[str]) -> Section:
    """Covariate balance and overlap of the training groups.

    Args:
      training: see `TreatmentEvaluator.groups`.
      names: of the groups.
    """
    rows = [(name, '', [Cell(str(training['counts'][name])), Cell(f'{training["effective"][name]:.0f}')])
            for name in names]
    headers = [('n', 'training patients'), ('Effective n', 'effective sample size with inverse propensity weights')]
    return Section('Covariate balance', LIMITS, tables=[Table('Training patients', headers, rows)],
                   charts=charts.balance_charts(training, names))


def value_table(split: Split[Predictions]) -> Table:
    """The estimated mean outcome if no patient, all patients, or those that each model recommends were treated."""
    rows = [('no patient', split.entries['value_if_none'], 0.0), ('all patients', split.entries['value_if_all'], 1.0)]
    rows += [(f'as {METHODS[method]} recommends', split.entries[metric_key('policy_value', method)],
              float((split.table.effect(method) > 0).mean())) for method in split.table.predicted]
    headers = [('Mean outcome', 'weighted; higher is better'), ('Treated', 'share of the patients')]
    return tables.inline_intervals(Table('If treated were …', headers, [
        (name, '', [tables.cell(FAMILY.metrics, 'policy_value', entry, 0), Cell(f'{100 * share:.0f} %')])
        for name, entry, share in rows]))


def mean_table(entries: Mapping[str, Entry], methods: Sequence[str]) -> Table:
    """The mean effect by each method, and without a model."""
    def cell(key: str) -> Cell:
        return tables.cell(FAMILY.metrics, 'ate', entries[key], 0)

    rows = [(label, '', [cell(metric_key(name, method)) for method in methods])
            for name, label in METHOD_EFFECTS.items()]
    rows += [(label, '', [cell(name), *[Cell('')] * (len(methods) - 1)])
             for name, label in OTHER_EFFECTS.items() if name in entries]
    return Table('Mean effect (ATE)', [(METHODS[method], '') for method in methods], rows)


def training_curves(run: Run) -> dict[str, dict[str, str]]:
    """The logged values to draw, see `Chapter.curves`."""
    best = run.section('checkpoint').get('best', '')
    metrics = [name for name in dict.fromkeys(('factual_rmse', 'pehe_matched', best)) if name not in ('', 'loss')]
    return {'Loss': {'train/loss': 'training'},
            **{f'{FAMILY.metrics.describe(name).label}, validation': {f'val/{name}': ''} for name in metrics},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def case_rows(split: Split[Predictions]) -> list[dict[str, str]]:
    """The rows of the table of cases, rounded, the largest predicted effect first."""
    effect, text_columns = split.table.effect(''), (*non_numeric_columns(split.run), 'treatment')
    return [{key: text if key in text_columns or not text else format_number(float(text))
             for key, text in split.rows[number].items()} for number in np.argsort(-effect, kind='stable')]


def _merged_chapter(run: Run) -> Chapter:
    """The chapter of several realisations: means, and each realisation."""
    parts, entries = sorted(run.splits, key=lambda part: part != 'test'), run.results['test']
    key = 'pehe' if 'pehe' in entries else 'factual_rmse'
    methods = [method for method in METHODS if not method or metric_key('pehe', method) in entries]
    values = {method: np.array([float(row[metric_key(key, method)]) for row in run.rows('test')]) for method in methods}
    label = FAMILY.metrics.describe(key).label
    chosen = {method: entries[metric_key(key, method)] for method in methods}
    drawn = themed_chart(lambda theme: charts.draw_realisations(values, chosen, label, theme),
                         f'{label} of each realisation', f'{label} on the test cases of each realisation, joined '
                         'across methods; diamonds: means with 95 % intervals.')
    return Chapter(
        headlines=[_merged_headline(run, key, values)], method=method(run),
        tables=[methods_table(run.results[part], methods, PARTS.get(part, part)) for part in parts],
        sections=[Section('Results by realisation', charts=[drawn], tables=[mean_table(entries, methods)])],
        curves={}, cases=[_merged_row(row) for part in parts for row in run.rows(part)], text_columns=('split', 'id'))


def _merged_headline(run: Run, key: str, values: Mapping[str, np.ndarray]) -> tuple[str, str]:
    label, results = FAMILY.metrics.describe(key).label, []
    for method in values:
        name = f'{label} of {METHODS[method]}' if method else label
        results.append(tables.value_with_interval(name, run.results['test'][metric_key(key, method)]))
    text = f'{", ".join(results)} out of sample.'
    if 'within' in run.splits:
        text += f' Within sample {format_number(run.results["within"][key]["value"])}.'
    sample = f'Means over {len(values[""])} realisations, with 95 % intervals.'
    wins = [f'{METHODS[method]} in {int((values[""] < values[method]).sum())}' for method in values if method]
    if wins:
        sample += f' Better than {", ".join(wins)}.'
    return text, sample


def _merged_row(row: Mapping[str, str]) -> dict[str, str]:
    out = {}
    for key, text in row.items():
        if key != 'realisation':
            out[key] = text if key in ('split', 'id') or not text else format_number(float(text))
    return out
