"""The report's chapter on signals: sensitivity, precision and timing of beats, and example recordings."""

from collections.abc import Mapping

from medjax.report import tables
from medjax.report.chapter import (
    Chapter,
    Chart,
    Section,
    caption,
    headline_splits,
    interval_method,
    non_numeric_columns,
    split_name,
    themed_chart,
)
from medjax.report.run_files import Run
from medjax.report.tables import Cell, format_interval, format_number
from medjax.statistics.per_patient import parse_number
from medjax.tasks.signals import snapshot
from medjax.tasks.signals.charts import recordings_chart
from medjax.tasks.signals.family import FAMILY
from medjax.tasks.signals.table import DETECTOR, FOUND, METRICS, TRUE

METHODS = {'': 'network', DETECTOR: 'baseline detector'}


def chapter(run: Run) -> Chapter:
    """The chapter of a run.

    Raises:
      InputError: the file of a split's recordings is damaged.
    """
    return Chapter(
        headlines=[headline(run, split) for split in headline_splits(run)],
        method=f'Means over {run.analysis_unit}s. {interval_method(run)}'.strip(),
        tables=[result_table(run, split) for split in run.splits],
        sections=[Section(f'Example recordings: {split_name(split).lower()}', charts=example_charts(run, split))
                  for split in headline_splits(run)],
        curves=training_curves(run), cases=[_rounded_row(row) for split in run.splits for row in run.rows(split)],
        text_columns=[*non_numeric_columns(run), TRUE, FOUND])


def headline(run: Run, split: str) -> tuple[str, str]:
    """The result as a sentence, and the sample as another."""
    entries = run.results[split]
    text = tables.value_with_interval('F1 of beats', entries['f1'])
    baseline = entries[f'{DETECTOR}f1']
    if tables.has_value(baseline):
        text += f', of the baseline detector {format_number(baseline["value"])}'
    beats, patients = sum(int(parse_number(row[TRUE])) for row in run.rows(split)), entries['f1'].get('n', 0)
    size = tables.format_count_of(patients, run.analysis_unit)
    return (f'{text} on the {split_name(split).lower()} cases.',
            f'95 % interval in brackets, or the reason for its absence. n = {size}, {beats} beats.')


def result_table(run: Run, split: str) -> tables.Table:
    """The metrics of the network, and of the baseline detector unless it is the reference."""
    entries, rows = run.results[split], []
    shown = [prefix for prefix in METHODS if not prefix or tables.has_value(entries[f'{prefix}f1'])]
    for name in METRICS:
        unit = FAMILY.metrics.describe(name).unit
        cells = [Cell(format_number(entries[prefix + name]['value'], unit),
                      below=format_interval(entries[prefix + name], unit)) for prefix in shown]
        rows.append((*tables.heading(FAMILY.metrics, name), cells))
    return tables.inline_intervals(tables.Table(caption(run, split), [(METHODS[prefix], '') for prefix in shown], rows))


def example_charts(run: Run, split: str) -> list[Chart]:
    """The best and the worst recording of a split by F1, if there are snapshots."""
    ranked = sorted((row for row in run.rows(split) if row['f1'] not in ('', 'nan')), key=lambda row: -float(row['f1']))
    chosen = ranked[:1] + ranked[1:][-1:]
    loaded = snapshot.load(run.folder / 'cases', split, [row['id'] for row in chosen])
    if not loaded:
        return []
    recordings = {f'{row["id"]}: F1 {format_number(float(row["f1"]))}': recording
                  for row, recording in zip(chosen, loaded)}
    return [themed_chart(
        lambda theme: recordings_chart(recordings, theme), f'Recordings of the {split_name(split).lower()} cases',
        'The first lead of the best and the worst recording, normalised. Ticks below are true beats, '
        'triangles above are found beats, and the filled curve is the probability of a beat.', wide=True)]


def training_curves(run: Run) -> dict[str, dict[str, str]]:
    """The training curves; see `Chapter.curves`."""
    selected = run.section('checkpoint').get('best', '') or 'f1'
    return {'Loss': {'train/loss': 'training'}, 'Dice of samples': {'train/dice_beat': 'training'},
            f'{FAMILY.metrics.describe(selected).label}, validation': {f'val/{selected}': ''},
            'Learning rate': {'lr': ''}, 'Gradient norm': {'train/grad_norm': ''}}


def _rounded_row(row: Mapping[str, str]) -> dict[str, str]:
    return {key: format_number(float(text)) if key.endswith(METRICS) and text else text for key, text in row.items()}
