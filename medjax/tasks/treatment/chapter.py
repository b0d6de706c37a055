"""The report's chapter on a treatment: how well effects are estimated, whom to treat, and whether groups compare."""

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
    split_name,
    themed_chart,
)
from medjax.report.run_files import Run
from medjax.report.split import Split, read_split
from medjax.report.tables import Cell, Entry, Table, format_number
from medjax.tasks.classification import chapter as classification_chapter
from medjax.tasks.treatment import charts
from medjax.tasks.treatment.family import FAMILY
from medjax.tasks.treatment.summary import METHODS, TRUE, read

JUDGED = (*TRUE, 'factual_rmse', 'pehe_matched', 'policy_value', 'qini')
PARTS = {'test': 'Out of sample (test)', 'within': 'Within sample (training and validation)'}
LIMITS = ('What such an estimate cannot say: of no patient are both outcomes ever seen, so no figure on real patients '
          'checks an effect of one of them; whatever made a patient more likely to be treated and is not among the '
          'covariates is taken for an effect of the treatment; and where one group has nobody like the patient, what '
          'is predicted is the form of the model and not the data.')
EXPLAINED = {'ate': 'Predicted, mean', 'ate_doubly_robust': 'Predicted, corrected by what came (doubly robust)'}
PLAIN = {'difference': 'Difference of the groups\' means, as they are', 'ate_weighted': 'The same, weighted',
         'ate_true': 'Truth (simulated)'}


def chapter(run: Run) -> Chapter:
    """The chapter of a run, or of several realisations that were merged.

    Raises:
      InputError: where the table of predictions lacks an outcome or a propensity.
    """
    if run.results.get('realisations'):
        return _merged(run)
    every = [read_split(run, split, read) for split in run.splits]
    training = (run.results.get('analysis') or {}).get('training')
    return Chapter(
        headlines=[headline(of) for of in every if of.split in headline_splits(run)], method=method(run),
        tables=[judged_table(of.entries, of.table.predicted, caption(run, of.split)) for of in every],
        sections=[*[part for of in every[:1] for part in sections(of)],
                  *([compared(training, run.classes)] if training else [])],
        curves=learning(run), samples=[], samples_text='', conventions_heading='Conventions',
        cases=[row for of in every for row in listed(of)], text_columns=classification_chapter.words(run),
        cases_order=': the largest predicted effect first',
        warnings=(run.results.get('analysis') or {}).get('warnings', ()))


def headline(of: Split) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    table, entries = of.table, of.entries
    key, name = ('pehe', '√PEHE') if 'pehe' in entries else ('ate_doubly_robust', 'Mean effect, doubly robust,')
    text = f'{tables.value_with_interval(name, entries[key])} on the {split_name(of.split).lower()} cases'
    others = [f'{METHODS[other]} {format_number(entries[f"{key}_{other}"]["value"])}' for other in table.predicted if other]
    text += f'; {", ".join(others)}' * bool(others)
    text += '.'
    if 'pehe' in entries:
        error, truth = (format_number(entries[name]['value']) for name in ('ate_error', 'ate_true'))
        text += f' The mean effect, truly {truth}, is off by {error}.'
    n, treated = entries[key]['n'], int((table.treatment == 1).sum())
    return text, (f'In brackets the 95 % interval. n = {n} patient{"s" * (n != 1)}: {of.run.classes[1]} {treated}, '
                  f'{of.run.classes[0]} {len(table.treatment) - treated}.')


def method(run: Run) -> str:
    """How the figures and their intervals are made, and what they cannot say."""
    unit = 'realisations of the simulation' if run.results.get('realisations') else 'patients'
    said = {interval_method(run, unit): True,
            '√PEHE is the root mean square error of the effects, against a truth that is known in simulations alone.':
                any('pehe' in run.results[split] for split in run.splits), LIMITS: run.results.get('realisations')}
    return join_sentences(said)


def judged_table(entries: Mapping[str, Entry], methods: Sequence[str], title: str) -> Table:
    """What effects are worth, of the network and of the simpler models beside it."""
    keys = {(name, METHODS[other]): entries[f'{name}_{other}' if other else name] for name in JUDGED
            for other in methods if (f'{name}_{other}' if other else name) in entries}
    return tables.metric_table(FAMILY.metrics, keys, [METHODS[other] for other in methods], title)


def sections(of: Split) -> list[Section]:
    """What is drawn and listed of the split that matters most."""
    return [Section('Whom it helps', 'Models that are fitted in a moment stand beside the network: what it adds is '
                    'what it does better than they.', tables=[value_table(of)], charts=charts.effects(of)),
            Section('The mean effect', 'Of all patients alike. The difference as it is has in it whatever else the '
                    'groups differ in.', tables=[mean_table(of.entries, of.table.predicted)])]


def compared(training: Mapping, names: Sequence[str]) -> Section:
    """Whether the training groups can be compared."""
    rows = [(name, '', [Cell(str(training['counts'][name])), Cell(f'{training["effective"][name]:.0f}')])
            for name in names]
    heads = [('n', 'training patients'), ('Effective n', 'equal weights that would do as well as the inverse '
                                          'propensity\'s')]
    return Section('Whether the groups can be compared', LIMITS, tables=[Table('Training patients', heads, rows)],
                   charts=charts.groups(training, names))


def value_table(of: Split) -> Table:
    """What treating nobody, everybody, or whom each model names is worth."""
    rows = [('nobody', '', of.entries['value_if_none'], 0.0), ('everybody', '', of.entries['value_if_all'], 1.0)]
    rows += [(f'as {METHODS[other]} says', '', of.entries[f'policy_value_{other}' if other else 'policy_value'],
              float((of.table.effect(other) > 0).mean())) for other in of.table.predicted]
    heads = [('Mean outcome', 'weighted; a higher one is better'), ('Treated', 'share of the patients')]
    return tables.inline_intervals(Table('If treated were …', heads, [
        (name, words, [tables.cell(FAMILY.metrics, 'policy_value', entry, 0), Cell(f'{share:.0%}')])
        for name, words, entry, share in rows]))


def mean_table(entries: Mapping[str, Entry], methods: Sequence[str]) -> Table:
    """The mean effect by each model, and by none."""
    rows = [(words, '', [tables.cell(FAMILY.metrics, 'ate', entries[f'{name}_{other}' if other else name], 0) for other in methods])
            for name, words in EXPLAINED.items()]
    rows += [(words, '', [tables.cell(FAMILY.metrics, 'ate', entries[name], 0), *[Cell('')] * (len(methods) - 1)])
             for name, words in PLAIN.items() if name in entries]
    return Table('Mean effect (ATE)', [(METHODS[other], '') for other in methods], rows)


def learning(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training."""
    best = run.section('checkpoint').get('best', '')
    scored = [name for name in dict.fromkeys(('factual_rmse', 'pehe_matched', best)) if name not in ('', 'loss')]
    return {'Loss': {'train/loss': 'training'},
            **{f'{FAMILY.metrics.describe(name).label}, validation': {f'val/{name}': ''} for name in scored},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def listed(of: Split) -> list[dict[str, str]]:
    """The table of cases, rounded, the largest predicted effect first."""
    effect, words = of.table.effect(''), classification_chapter.words(of.run)
    return [{key: text if key in (*words, 'treatment') or not text else format_number(float(text))
             for key, text in of.rows[number].items()} for number in np.argsort(-effect, kind='stable')]


def _merged(run: Run) -> Chapter:
    """Of several realisations: means, and each realisation of its own."""
    parts = sorted(run.splits, key=lambda part: part != 'test')
    methods = [other for other in METHODS if f'pehe_{other}' in run.results['test'] or not other]
    key = 'pehe' if 'pehe' in run.results['test'] else 'factual_rmse'
    entries = {other: run.results['test'][f'{key}_{other}' if other else key] for other in methods}
    values = {other: np.array([float(row[f'{key}_{other}' if other else key]) for row in run.rows('test')])
              for other in methods}
    name = FAMILY.metrics.describe(key).label
    text = ', '.join(tables.value_with_interval(f'{name}{" of " * bool(other)}{METHODS[other] if other else ""}', entry)
                     for other, entry in entries.items())
    within = f' Within sample {format_number(run.results["within"][key]["value"])}.' if 'within' in parts else ''
    won = ', '.join(f'{METHODS[other]} in {int((values[""] < values[other]).sum())}' for other in methods if other)
    sure = f'Means over {len(values[""])} realisations, with 95 % intervals.' + f' Better than {won}.' * bool(won)
    drawn = themed_chart(lambda theme: charts.realisations(values, entries, name, theme),
                 f'{name} of each realisation', f'{name} on the test cases of each realisation, joined from method to '
                 'method; diamonds: means with 95 % intervals.')
    return Chapter(
        headlines=[(f'{text} out of sample.{within}', sure)], method=method(run),
        tables=[judged_table(run.results[part], methods, PARTS.get(part, part)) for part in parts],
        sections=[Section('Each realisation', charts=[drawn], tables=[mean_table(run.results['test'], methods)])],
        curves={}, samples=[], samples_text='', conventions_heading='Conventions',
        cases=[{key: text if key in ('split', 'id') else format_number(float(text)) if text else ''
                for key, text in row.items() if key != 'realisation'} for part in parts for row in run.rows(part)],
        text_columns=('split', 'id'))
