"""A split of a run as its report draws it: rows of the predictions table and their results."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from medjax.errors import InputError
from medjax.report.run_files import Run
from medjax.report.tables import Entry

Table = TypeVar('Table')


@dataclasses.dataclass(frozen=True)
class Split(Generic[Table]):
    """The cases of a split.

    Attributes:
      run: the run.
      split: name of the split in results.json.
      rows: rows of the predictions table.
      table: the same rows as arrays.
    """

    run: Run
    split: str
    rows: list[dict[str, str]]
    table: Table

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Results of the split."""
        return self.run.results[self.split]


def read_split(run: Run, split: str, read: Callable[[list[dict[str, str]]], Table]) -> Split[Table]:
    """A split of a run, with its rows converted by a family's `read`.

    Raises:
      InputError: raised by `read`; the message starts with the path of the table.
    """
    rows = run.rows(split)
    try:
        return Split(run, split, rows, read(rows))
    except InputError as error:
        raise InputError(f'{run.folder / "predictions.csv"}: {error}') from None
