"""The reporting checklist of a run: items of guidelines, each reported where, or what to add."""

import dataclasses
from collections.abc import Mapping, Sequence

from medjax.metrics.names import MetricList
from medjax.report import guidelines
from medjax.report.chapter import Chapter, headline_splits
from medjax.report.facts import Facts
from medjax.report.guidelines import Item
from medjax.report.reporting import Reporting
from medjax.report.run_files import Run
from medjax.report.study import label, statements
from medjax.report.tables import has_value

REPORTED, PARTLY, NOT_STATED = 'reported', 'partly', 'not stated'
QUOTED = 160  # characters of a statement that the checklist repeats


@dataclasses.dataclass(frozen=True)
class Row:
    """An item of a checklist, as it is shown and written to `checklist.csv`."""

    guideline: str
    item: str
    topic: str
    status: str
    where: str


@dataclasses.dataclass(frozen=True)
class Checklist:
    """A guideline filled from a run.

    Attributes:
      heading: its name and source.
      summary: how many items are reported, and which are left to the author.
      rows: the items that a run or a statement can answer.
    """

    heading: str
    summary: str
    rows: Sequence[Row]


def checklists(run: Run, chapter: Chapter, reporting: Reporting, metrics: MetricList) -> list[Checklist]:
    """The checklists of an evaluated run; none before the evaluation.

    Args:
      run: the run.
      chapter: the family's part of its report.
      reporting: declared by the family.
      metrics: of the family.
    """
    if not run.splits:
        return []
    facts = Facts(run, chapter, metrics)
    names = list(reporting.guidelines)
    if names and 'CLAIM' not in names and run.participants.get('images'):
        names.append('CLAIM')
    found = [_filled(name, facts) for name in names]
    return [*found, _recommended_metrics(run, reporting, metrics)] if reporting.metrics else found


def _filled(name: str, facts: Facts) -> Checklist:
    heading, items = guidelines.GUIDELINES[name]
    said = statements(facts.run.config)
    rows = [_row(name, item, facts, said) for item in items if item.fact or item.key]
    authors = [item.number for item in items if not (item.fact or item.key)]
    return Checklist(heading, f'{_counts(rows)} For the author to write: items {", ".join(authors)}.', rows)


def _row(guideline: str, item: Item, facts: Facts, said: Mapping[str, str]) -> Row:
    """An item with what the run has of it, and with the author's statement."""
    known, text = item.fact(facts) if item.fact else '', said.get(item.key, '')
    if text:
        short = text if len(text) <= QUOTED else f'{text[:QUOTED - 1].rstrip()}…'
        parts, status = [f'Statement "{label(item.key)}": {short}', known], REPORTED
    elif item.key:
        parts, status = [known, f'Add config.study.{item.key}'], PARTLY if known else NOT_STATED
    else:
        parts, status = [known or item.missing], REPORTED if known else NOT_STATED
    where = '. '.join(part.rstrip('.') for part in parts if part)
    return Row(guideline, item.number, item.topic, status, f'{where}.')


def _recommended_metrics(run: Run, reporting: Reporting, metrics: MetricList) -> Checklist:
    """The kinds of metric that the kind of problem needs, with those of the run's results."""
    entries = {key: entry for split in headline_splits(run) for key, entry in run.results[split].items()}
    guideline, rows = 'Metrics Reloaded' if reporting.category else 'metrics', []
    for kind, names in reporting.metrics.items():
        found = {name for key, entry in entries.items() if has_value(entry) for name in names
                 if name in entry or (metric := metrics.find(key)) is not None and metric.name == name}
        labels, wanted = (', '.join(metric.label for metric in metrics if metric.name in of) for of in (found, names))
        where = f'"Results": {labels}.' if found else f'Missing; one of: {wanted or "none of this family"}.'
        rows.append(Row(guideline, '', kind, REPORTED if found else NOT_STATED, where))
    heading, category = 'Choice of metrics', 'Metrics Reloaded has no category for this problem'
    if reporting.category:
        heading, category = f'{heading} (Metrics Reloaded, Maier-Hein 2024)', f'Problem category: {reporting.category}'
    return Checklist(heading, f'{category}. {_counts(rows)}', rows)


def _counts(rows: Sequence[Row]) -> str:
    """How many items have each status."""
    counts = {status: sum(row.status == status for row in rows) for status in (REPORTED, PARTLY, NOT_STATED)}
    shown = ', '.join(f'{count} {status}' for status, count in counts.items() if count)
    return f'{len(rows)} items: {shown}.'
