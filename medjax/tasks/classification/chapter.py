"""The report's chapter on classification: discrimination, calibration, subgroup performance and saliency maps."""

from collections.abc import Sequence

import numpy as np

from medjax.report import draw, tables
from medjax.report.chapter import (
    Chapter,
    Section,
    entries_with_intervals,
    headline_splits,
    interval_method,
    join_sentences,
    non_numeric_columns,
    selection_warnings,
    split_name,
)
from medjax.report.run_files import Run
from medjax.report.tables import format_number
from medjax.statistics import proportions
from medjax.tasks.classification import chapter_tables, charts, fairness, pictures
from medjax.tasks.classification.family import FAMILY
from medjax.tasks.classification.operating_point import SUFFIX
from medjax.tasks.classification.split import ClassificationSplit, read_split

SUBGROUPS = (
    'Below each value its 95 % interval. A largest difference is never negative, because small groups differ by '
    'chance: below it are the mean and the 95th percentile of the differences between groups that were permuted over '
    f'patients, and the p value. “Few cases” means fewer than {fairness.FEW} with or without a class.')
WHAT_IS_FITTED = 'the operating point, calibration and conformal sets'
RULES = {'Youden': 'Youden\'s index, the largest sum of sensitivity and specificity'}


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the predictions table lacks a probability or a target, or a case's snapshot is damaged.
    """
    splits = [read_split(run, name) for name in run.splits]
    return Chapter(
        headlines=[headline(split) for split in splits if split.split in headline_splits(run)], method=method(run),
        tables=chapter_tables.result_tables(splits), sections=sections(splits[0]) if splits else [],
        curves=training_curves(run), cases=[row for split in splits for row in case_rows(split)],
        text_columns=['predicted', *non_numeric_columns(run)],
        cases_order=': wrong predictions first, by decreasing confidence', samples=samples(run),
        samples_text='Training images as read and as augmented in the first steps: the first channel, in the same '
        'intensity window.', warnings=[*run.warnings, *selection_warnings(run, WHAT_IS_FITTED)])


def sections(split: ClassificationSplit) -> list[Section]:
    """The sections on one split."""
    subgroups = SUBGROUPS
    if split.operating:
        subgroups += ' Decisions are those at the operating point.'
    return [
        Section('Discrimination', charts=charts.discrimination_charts(split)),
        Section('Calibration and uncertainty', tables=chapter_tables.uncertainty_tables(split),
                charts=charts.uncertainty_charts(split)),
        Section('Decisions', decision_text(split), tables=chapter_tables.decision_tables(split),
                charts=charts.decision_charts(split)),
        Section('Subgroup performance', subgroups, tables=chapter_tables.subgroup_tables(split)),
        pictures.example_cases(split)]


def decision_text(split: ClassificationSplit) -> str:
    """An explanation of predictive values and net benefit."""
    text = ('Positive and negative predictive values depend on the prevalence, which in a data set is often not that '
            'of the population. ')
    analysis = split.analysis.get('probability', {})
    if not any('stated' in found['predictive_values'] for found in analysis.values()):
        text += 'config.evaluate.prevalence gives them for another population. '
    return text + ('The net benefit of a threshold is the share of true positives minus that of false positives times '
                   'the odds of the threshold: a threshold of 0.1 accepts nine needless interventions for each that is '
                   'needed. A network is of use where its net benefit is above those of treating everybody and nobody. '
                   'The range of thresholds is config.evaluate.decision_thresholds.')


def headline(split: ClassificationSplit) -> tuple[str, str]:
    """The result as a sentence, and the sample as another."""
    cases = len(split.distinct)
    patients = split.entries.get('auroc', {}).get('n', cases)
    size = tables.format_count_of(patients, split.run.analysis_unit)
    if cases > patients:
        size += f', {cases} cases'
    sample = f'95 % intervals in brackets. n = {size}'
    return _binary_headline(split, sample) if split.table.binary else _class_headline(split, sample)


def _binary_headline(split: ClassificationSplit, sample: str) -> tuple[str, str]:
    truth, operating, positive = split.table.targets[split.distinct], split.operating, split.table.classes[1]
    suffix = SUFFIX if operating else ''
    decisions = ', '.join(_value(split, name, f'{name}{suffix}') for name in ('sensitivity', 'specificity', 'accuracy'))
    where = 'At the operating point' if operating else 'At a probability of 0.5'
    sample += f'; {int((truth == 1).sum())} of {len(truth)} cases are {positive}.'
    if operating:
        rule = RULES.get(operating['rule'], operating['rule'])
        sample += (f' The operating point is a probability of {format_number(operating["threshold"])} or more, chosen '
                   f'on the {split_name(operating["split"]).lower()} cases by {rule}.')
    return f'{_value(split, f"AUROC for {positive}", "auroc")} {_on_the_cases(split)}. {where}: {decisions}.', sample


def _class_headline(split: ClassificationSplit, sample: str) -> tuple[str, str]:
    classes = split.table.classes
    if split.table.multilabel:
        kind = 'label' if len(classes) == 1 else 'labels'
        others = [('AUPRC', 'auprc'), ('F1', 'f1')]
    else:
        kind, others = 'classes', [('accuracy', 'accuracy'), ('balanced accuracy', 'balanced_accuracy')]
    if split.table.problem == 'ordinal':
        others.insert(0, ('weighted kappa', 'kappa_weighted'))
    text = (f'{_value(split, f"Mean AUROC of the {len(classes)} {kind}", "auroc")} {_on_the_cases(split)}; '
            f'{", ".join(_value(split, *pair) for pair in others)}.')
    entries = {name: split.entries.get(f'auroc_{name}', {}) for name in classes}
    values = {name: entry['value'] for name, entry in entries.items() if tables.has_value(entry)}
    if values:
        lowest = min(values, key=values.get)
        sample += f'. The lowest AUROC is that of {_value(split, lowest, f"auroc_{lowest}")}'
    return text, f'{sample}.'


def method(run: Run) -> str:
    """How the values and their intervals are computed."""
    entries, problem = entries_with_intervals(run), run.results['problem']
    return join_sentences({
        interval_method(run): True,
        'Those of the AUROC are DeLong\'s.': any(entry.get('method') == 'DeLong' for entry in entries),
        'Those of proportions are Clopper–Pearson\'s, of the counts beside them.':
            any(entry.get('method') == proportions.EXACT for entry in entries),
        'Those of proportions are Clopper–Pearson\'s at the effective number of cases, which several cases of a '
        'patient reduce.': any(entry.get('method') == proportions.CLUSTERED for entry in entries),
        'The ECE is that of the positive class' + (', or of the label,' if problem == 'multilabel' else '')
        + ' from 0 to 1; “ECE, predicted class” is that of the predicted one.': problem in ('binary', 'multilabel'),
        'The ECE is that of the predicted class; calibration slope and calibration-in-the-large are of each class '
        'against all others.': problem in ('multiclass', 'ordinal'),
        'Calibration errors are biased upwards: beside them are those that calibrated predictions have by chance.':
            any('by_chance' in run.results[split].get('ece', {}) for split in run.splits),
        'AUROC, AUPRC, specificity, precision and F1 are means over the classes; balanced accuracy is mean '
        'sensitivity.': problem in ('multiclass', 'ordinal'),
        'Values are means over the labels. The threshold of a label is a probability of 0.5 unless stated otherwise.':
            problem == 'multilabel',
        'The predicted class is the most probable one unless stated otherwise.': problem != 'multilabel'})


def training_curves(run: Run) -> dict[str, dict[str, str]]:
    """The training curves; see `Chapter.curves`."""
    selected = run.section('checkpoint').get('best', '')
    validation = {'val/auroc': 'AUROC', 'val/accuracy': 'accuracy'}
    if selected and f'val/{selected}' not in (*validation, 'val/loss'):
        validation[f'val/{selected}'] = FAMILY.metrics.describe(selected).label
    return {'Loss': {'train/loss': 'training', 'val/loss': 'validation'}, 'Validation': validation,
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def samples(run: Run) -> Sequence[tuple[draw.Tile, draw.Tile]]:
    """Training images as read and as augmented."""
    if not run.augmented:
        return []
    arrays = {name: run.augmented[name] for name in ('original', 'image')}
    volumes = arrays['image'].ndim == 4
    if not volumes:  # 2D images have their rows first, slices of a volume their columns
        arrays = {name: array.swapaxes(1, 2) for name, array in arrays.items()}
    return draw.augmented_tiles(arrays, (1, 1), flip=volumes)


def case_rows(split: ClassificationSplit) -> list[dict[str, str]]:
    """Rows of the table of cases, rounded: wrong ones first, the most confident first; then the least confident."""
    correct, out = split.correct, []
    for number in np.lexsort((np.where(correct, split.confidence, -split.confidence), correct)):
        row = dict(split.rows[number])
        for key, text in row.items():
            if text and key.startswith(('prob_', 'uncertainty', 'target_')):
                row[key] = f'{float(text):g}' if key.startswith('target_') else format_number(float(text))
        before = {key: text for key, text in row.items() if not key.startswith('prob_')}
        out.append({**before, 'predicted': split.truth_and_prediction(number)[1], **row})
    return out


def _on_the_cases(split: ClassificationSplit) -> str:
    return f'on the {split_name(split.split).lower()} cases'


def _value(split: ClassificationSplit, name: str, key: str) -> str:
    return tables.value_with_interval(name, split.entries.get(key, {}))
