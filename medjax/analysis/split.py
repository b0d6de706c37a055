"""A split of a run as its report draws it: the rows of its predictions table and its results."""

import dataclasses
from collections.abc import Mapping
from typing import Generic, TypeVar

from medjax.analysis.tables import Entry
from medjax.analysis.workdir import Run

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
