"""A split of a run as its report draws it: the rows of its predictions table and its results."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from medjax.errors import InputError
from medjax.report.run_files import Run
from medjax.report.tables import Entry

Table = TypeVar('Table')


@dataclasses.dataclass(frozen=True)
class Split(Generic[Table]):
    """A split's cases.

    Attributes:
      run: whose they are.
      split: its name in results.json.
      rows: of the predictions table.
      table: the same as arrays.
    """

    run: Run
    split: str
    rows: list[dict[str, str]]
    table: Table

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The split's results."""
        return self.run.results[self.split]


def opened(run: Run, split: str, read: Callable[[list[dict[str, str]]], Table]) -> Split[Table]:
    """A run's split, its rows read as a family reads them.

    Raises:
      InputError: as `read`, with the table's path.
    """
    rows = run.rows(split)
    try:
        return Split(run, split, rows, read(rows))
    except InputError as error:
        raise InputError(f'{run.folder / "predictions.csv"}: {error}') from None
