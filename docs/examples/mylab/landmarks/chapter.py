"""The family's part of the report."""

from medjax.report import tables
from medjax.report.chapter import Chapter
from medjax.report.run_files import Run
from mylab.landmarks import table
from mylab.landmarks.family import FAMILY


def chapter(run: Run) -> Chapter:
    """Headline, table of results and table of cases."""
    metrics = FAMILY.metrics
    errors = table.errors(run.predictions)
    cases = [{**row, 'error (px)': f'{error:.2f}'} for row, error in zip(run.predictions, errors)]
    return Chapter(
        headlines=[tables.headline(metrics, split, run.results[split], run.classes) for split in run.splits],
        method='Intervals are 95 % t intervals over patients.',
        tables=[tables.overall_table(metrics, run.results[split], run.classes, split) for split in run.splits],
        sections=[], curves={'Loss': {'train/loss': ''}, 'Error, validation': {'val/error': ''}}, cases=cases)
