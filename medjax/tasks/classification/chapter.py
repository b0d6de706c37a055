"""The report's chapter on classification: what it tells apart, how sure it is, for whom it works, what it looks at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.report import draw, tables
from medjax.report.chapter import (
    FEW_PATIENTS,
    Chapter,
    Section,
    caption,
    headline_splits,
    non_numeric_columns,
    split_name,
)
from medjax.report.run_files import Run
from medjax.report.tables import Cell, Table, format_number
from medjax.tasks.classification import charts, fairness, pictures
from medjax.tasks.classification.family import FAMILY
from medjax.tasks.classification.split import OPERATING, Judged, judge

OVERALL = ('auroc', 'auprc', 'accuracy', 'balanced_accuracy', 'sensitivity', 'specificity', 'precision', 'f1',
           'f1_micro', 'kappa', 'kappa_weighted', 'mcc', 'brier', 'log_loss', 'ece', 'ece_adaptive')
OF_CLASS = ('auroc', 'auprc', 'sensitivity', 'specificity', 'precision', 'f1', 'ece')
OF_GROUP = {**dict.fromkeys(('binary', 'multilabel'), ('auroc', 'accuracy', 'sensitivity', 'specificity', 'ece')),
            **dict.fromkeys(('multiclass', 'ordinal'), ('auroc', 'accuracy', 'balanced_accuracy', 'ece'))}
GAPS = ('demographic_parity_difference', 'equalised_odds_difference')
# Figures that are others' under a second name: the pooled F1 is the accuracy, and so on.
SAME = {'binary': {'f1_micro'}, 'multilabel': set(), **dict.fromkeys(('multiclass', 'ordinal'), {
    'f1_micro', 'sensitivity'})}
GROUPED = ('Below each figure its 95 % interval, by a bootstrap over patients. A largest difference is never negative: '
           'chance alone makes one, the more so the smaller the groups, and its interval may lie above it. “Few cases” '
           f'are fewer than {fairness.FEW} with or without a class.')
MENDED = ('ece', 'brier', 'log_loss')


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: where the table of predictions lacks a probability or a truth, or a case's snapshot is damaged.
    """
    judged = [judge(run, split) for split in run.splits]
    return Chapter(
        headlines=[headline(of) for of in judged if of.split in headline_splits(run)], method=method(run),
        tables=result_tables(judged),
        sections=[part for of in judged[:1] for part in sections(of)], curves=learning(run), samples=samples(run),
        samples_text='Training images as read, and as the first steps augmented them: the first channel, in the same '
                'intensity window.',
        conventions_heading='Conventions', cases=[row for of in judged for row in listed(of)], text_columns=['predicted', *non_numeric_columns(run)],
        cases_order=': the wrong ones first, the surest on top',
        warnings=(run.results.get('analysis') or {}).get('warnings', ()))


def sections(of: Judged) -> list[Section]:
    """What is drawn and listed of the split that matters most."""
    return [
        Section('What it tells apart', charts=charts.separation(of)),
        Section('How sure it is, and how rightly', tables=sureness_tables(of), charts=charts.sureness(of)),
        Section('For whom it works', GROUPED + ' Decisions are those at the operating point.' * bool(of.operating),
                tables=group_tables(of)),
        pictures.pictures(of)]


def headline(of: Judged) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    table, at, truth = of.table, of.operating, of.table.targets[of.once]
    size = len(truth)
    where, n = f'on the {split_name(of.split).lower()} cases', of.entries.get('auroc', {}).get('n', size)
    sure = f'In brackets 95 % intervals. n = {n} patient{"s" * (n != 1)}' + (f', {size} cases' if size > n else '')
    if table.binary:
        positive, ending = table.classes[1], OPERATING if at else ''
        text = f'{_told(of, f"AUROC for {positive}", "auroc")} {where}. '
        text += 'At the operating point: ' if at else 'At a probability of 0.5: '
        text += ', '.join(_told(of, name, f'{name}{ending}') for name in ('sensitivity', 'specificity', 'accuracy'))
        sure += f'; {int((truth == 1).sum())} of {size} cases are {positive}.'
        if at:
            rule = {'Youden': 'Youden\'s index: the largest sum of sensitivity and specificity'}
            sure += (f' The operating point is a probability of {format_number(at["threshold"])} or more, chosen on the '
                     f'{split_name(at["split"]).lower()} cases by {rule.get(at["rule"], at["rule"])}.')
        return f'{text}.', sure
    kind = 'label' + 's' * (len(table.classes) > 1) if table.multilabel else 'classes'
    rest = [('AUPRC', 'auprc'), ('F1', 'f1')] if table.multilabel else [
        *[('weighted kappa', 'kappa_weighted')] * (table.problem == 'ordinal'), ('accuracy', 'accuracy'),
        ('balanced accuracy', 'balanced_accuracy')]
    text = f'{_told(of, f"Mean AUROC of the {len(table.classes)} {kind}", "auroc")} {where}; '
    text += ', '.join(_told(of, *pair) for pair in rest)
    each = {name: of.entries.get(f'auroc_{name}', {}) for name in table.classes}
    each = {name: entry['value'] for name, entry in each.items() if tables.has_value(entry)}
    if each:
        lowest = min(each, key=each.get)
        sure += f'. The lowest AUROC is that of {_told(of, lowest, f"auroc_{lowest}")}'
    return f'{text}.', f'{sure}.'


def method(run: Run) -> str:
    """How the figures and their intervals are made."""
    entries = [entry for split in run.splits for entry in run.results[split].values() if entry.get('ci95')]
    problem = run.results['problem']
    drawn = max((entry.get('resamples', 0) for entry in entries), default=0)
    said = {
        f'Intervals are of 95 %, by a percentile bootstrap over patients with {drawn} resamples.': drawn,
        'Those of AUROCs are DeLong\'s.': any(entry.get('method') == 'DeLong' for entry in entries),
        f'Over fewer than {FEW_PATIENTS} patients an interval is too narrow: it shows the spread, and proves little.': any(
            entry['n'] < FEW_PATIENTS for entry in entries),
        'Calibration errors are never negative, and resampling enlarges them: an interval may lie above its figure.':
            drawn,
        'Of all classes AUROC, AUPRC, specificity, precision and F1 are means; balanced accuracy is mean sensitivity.':
            problem in ('multiclass', 'ordinal'),
        'Of all labels figures are means. A label is decided at a probability of 0.5, unless it says otherwise.':
            problem == 'multilabel',
        'The most probable class decides, unless it says otherwise.': problem != 'multilabel'}
    return ' '.join(words for words, true in said.items() if true)


def result_tables(judged: Sequence[Judged]) -> list[Table]:
    """All figures of all splits side by side; those of each class of the splits that test."""
    keys, names, made = {}, [], []
    for of in judged:
        title, at = caption(of.run, of.split), of.operating
        columns = {title: ''} | ({f'{title}, operating point': OPERATING} if at else {})
        keys |= {(name, column): of.entries[name + ending] for column, ending in columns.items() for name in OVERALL
                 if name + ending in of.entries and name not in SAME[of.table.problem]}
        runs = {name: entry for (name, column), entry in keys.items() if column == title and 'runs' in entry}
        if runs:
            columns[single := f'mean ± SD of {max(entry["runs"] for entry in runs.values())} runs'] = ''
            keys |= {(name, single): {'value': entry['run_mean'], 'sd': entry['run_sd'], 'n': entry['n']}
                     for name, entry in runs.items()}
        names += columns
    if keys:
        made.append(tables.inline_intervals(tables.metric_table(FAMILY.metrics, keys, names, 'All cases' if judged[0].table.binary else 'All classes')))
    for of in judged:
        if not of.table.binary and of.split in headline_splits(of.run):
            made += each_class(of)
    return made


def each_class(of: Judged) -> list[Table]:
    """The figures of each class or label of a split, by the operating point where labels have one."""
    classes, entries, targets = of.table.classes, of.entries, of.table.targets[of.once]
    chosen = {name: name + OPERATING * any(f'{name}{OPERATING}_{c}' in entries for c in classes) for name in OF_CLASS}
    each = {(name, c): entries[f'{key}_{c}'] for name, key in chosen.items() for c in classes
            if f'{key}_{c}' in entries}
    names = [name for name in classes if any(name == c for _, c in each)]
    counts = (targets == 1).sum(0) if of.table.multilabel else np.bincount(targets, minlength=len(classes))
    title = f'{split_name(of.split)}, each {"label" if of.table.multilabel else "class against all others"}'
    at = [FAMILY.metrics.describe(name).label for name, key in chosen.items() if key != name]
    title += f'; {", ".join(at).lower()} at its operating point' if at else ''
    return [tables.metric_table(FAMILY.metrics, each, names, title, counts=('cases', 'in which it is true', dict(zip(classes, counts))))
            ] if names else []


def sureness_tables(of: Judged) -> list[Table]:
    """Errors of the probabilities before and after calibration, and what conformal sets hold."""
    made = []
    if of.table.multilabel:
        return made
    mended, sets = of.analysis.get('calibration'), of.analysis.get('conformal')
    if mended:
        before = next(iter(mended.values()))
        rows = [('as predicted', '', [Cell(format_number(before[name]['before'])) for name in MENDED])]
        rows += [(f'after {charts.METHODS.get(key, key)}', '',
                  [Cell(format_number(found[name]['after'])) for name in MENDED]) for key, found in mended.items()]
        made.append(Table('Calibration, fitted on validation cases', [tables.heading(FAMILY.metrics, name) for name in MENDED], rows))
    if sets:
        single = sets['sizes'].get('1', 0) / sum(sets['sizes'].values())
        rows = [('coverage promised', 'the chance that a set holds the truth', [Cell(format_number(sets['promised']))]),
                ('coverage measured', '', [tables.cell(FAMILY.metrics, '', sets['coverage'], 0)]),
                ('mean size', 'classes in a set', [tables.cell(FAMILY.metrics, '', sets['set_size'], 0)]),
                ('sets of one class', 'share of the cases', [Cell(format_number(single))])]
        made.append(Table('Conformal sets', [('', '')], rows))
    return made


def group_tables(of: Judged) -> list[Table]:
    """For each subgroup column its groups' figures with the largest difference of each, and the named gaps."""
    made, binary = [], of.table.binary
    for column, found in of.analysis.get('subgroups', {}).items():
        there = {name for group in found['groups'].values() for name in group['metrics']}
        chosen = [name + OPERATING * (name + OPERATING in there) for name in OF_GROUP[of.table.problem]
                  if name in there]
        rows = []
        for name, group in found['groups'].items():
            cells = [tables.cell(FAMILY.metrics, key, group['metrics'].get(key), 0) for key in chosen]
            count = group['counts'][of.table.classes[1]] if binary else {}
            cells[:0] = [Cell(str(count['positives']), below=f'of {sum(count.values())}')] if binary else []
            few = min(n for sides in group['counts'].values() for n in sides.values()) < fairness.FEW
            rows.append((name, '', [Cell(str(group['n']), below='few cases' * few), *cells]))
        rows.append(('largest difference', 'of the best group and the worst', [
            *[Cell('')] * (1 + binary), *(_difference(found['worst'].get(key)) for key in chosen)]))
        heads = [('n', 'patients'), *[(of.table.classes[-1], 'cases')] * binary]  # of one label there is no second
        made.append(Table(f'By {column}', heads + [_heading(key) for key in chosen], rows))
        decided = {'at 0.5' if binary or of.table.multilabel else 'most probable class': '',
                   'operating point': OPERATING}
        gaps = {(name, how): found['gaps'][name + ending] for how, ending in decided.items() for name in GAPS
                if name + ending in found['gaps']}
        names = [how for how in decided if any(how == c for _, c in gaps)]
        title = f'Between the groups by {column}' + ', of the class in which they differ most' * (not binary)
        made += [tables.inline_intervals(tables.metric_table(FAMILY.metrics, gaps, names, title))] if gaps else []
    return made


def learning(run: Run) -> dict[str, dict[str, str]]:
    """What was logged while training."""
    best = run.section('checkpoint').get('best', '')
    scored = {'val/auroc': 'AUROC', 'val/accuracy': 'accuracy'}
    if best and f'val/{best}' not in (*scored, 'val/loss'):
        scored[f'val/{best}'] = FAMILY.metrics.describe(best).label
    return {'Loss': {'train/loss': 'training', 'val/loss': 'validation'}, 'Validation': scored,
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def samples(run: Run) -> list[tuple[draw.Tile, draw.Tile]]:
    """Training images as read and as augmented."""
    if not run.augmented:
        return []
    arrays = {name: run.augmented[name] for name in ('original', 'image')}
    volumes = arrays['image'].ndim == 4
    # A picture has its rows first, what is drawn of a volume its columns.
    turned = arrays if volumes else {name: array.swapaxes(1, 2) for name, array in arrays.items()}
    return draw.augmented_tiles(turned, (1, 1), flip=volumes)


def listed(of: Judged) -> list[dict[str, str]]:
    """The table of cases, rounded, with what was decided: the wrong ones first, the surest on top."""
    right, made = of.right, []
    for number in np.lexsort((np.where(right, of.confidence, -of.confidence), right)):
        row = dict(of.rows[number])
        for key, text in row.items():
            if text and key.startswith(('prob_', 'uncertainty', 'target_')):
                row[key] = f'{float(text):g}' if key.startswith('target_') else format_number(float(text))
        known = {key: text for key, text in row.items() if not key.startswith('prob_')}
        made.append({**known, 'predicted': of.said(number)[1], **row})
    return made


def _told(of: Judged, name: str, key: str) -> str:
    return tables.value_with_interval(name, of.entries.get(key, {}))


def _heading(key: str) -> tuple[str, str]:
    name, _ = tables.heading(FAMILY.metrics, key.removesuffix(OPERATING))
    return name, 'at the operating point' if key.endswith(OPERATING) else ''


def _difference(worst: Mapping[str, Any] | None) -> Cell:
    if not worst:
        return Cell('–')
    made = tables.cell(FAMILY.metrics, '', worst['difference'], 0)
    return made._replace(below=f'{made.below}\nworst: {worst["group"]}'.strip())
