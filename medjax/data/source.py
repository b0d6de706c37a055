"""Cases and where they come from."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping

from medjax.data.geometry import Image
from medjax.errors import InputError

SPLITS = ('train', 'val', 'test')
PROBLEMS = ('binary', 'multiclass', 'ordinal', 'multilabel')  # of images that have a class, or several, as a whole

# What a report must say where a set does not tell patients apart.
UNKNOWN_PATIENTS = 'It is not said which images are of one patient: each counts as one of its own.'
UNKNOWN = -1  # of a class that an image may have or not: it is not judged


@dataclasses.dataclass(frozen=True)
class Case:
    """One examination.

    Attributes:
      id: unique in the source; names files.
      patient: whose it is: splits and confidence intervals are by patient.
      split: 'train', 'val', 'test', or another name for cases that are only evaluated.
      read: gives the image and its label (None where there is none), as stored, on one grid.
      target: what is to be told of the whole image, where that is the problem: the class's number, or 0, 1 or
        UNKNOWN for each class where an image can have several.
      columns: whatever else is known of it, such as sex or scanner; goes to the predictions table.
      files: that it is read from.
      how: whatever else decides what `read` gives, so that a case that was prepared is known again.
    """

    id: str
    patient: str
    split: str
    read: Callable[[], tuple[Image, Image | None]]
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: tuple[str, ...] = ()
    how: str = ''
    target: int | tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """The cases of a data set, and what must be known of them.

    Attributes:
      cases: with unique ids.
      classes: the labels' classes, background first; of a binary problem the positive one last, of an ordinal one in
        their order.
      notice: what a report must say of the data.
      channels: the images' channels.
      problem: what the cases' targets are: one of PROBLEMS; '' where labels are images.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    notice: str = ''
    channels: tuple[str, ...] = ('image',)
    problem: str = ''

    def __post_init__(self):
        least, order = (1, '') if self.problem == 'multilabel' else (2, ', background first' * (not self.problem))
        if not least <= len(set(self.classes)) == len(self.classes) <= 255:
            raise InputError(f'config.data.source.classes: {list(self.classes)}; expected {least} to 255 different '
                             f'names{order}')
        if self.problem and self.problem not in PROBLEMS:
            raise InputError(f'config.data.source.problem: {self.problem!r}; expected one of: {", ".join(PROBLEMS)}')
        if self.problem == 'binary' and len(self.classes) != 2:
            raise InputError(f'config.data.source.classes: {list(self.classes)}; expected two for a binary problem')
        seen: set[str] = set()
        for case in self.cases:
            if case.id in seen:
                raise InputError(f'case id {case.id!r} occurs twice; expected unique names')
            if not case.id or case.id.startswith('.') or '/' in case.id or not case.id.isprintable():
                raise InputError(f'case id {case.id!r}: expected a name that a file can have')
            seen.add(case.id)


def data_dir(folder: str) -> pathlib.Path:
    """Where data lies: the config's folder as seen from here, or within MEDJAX_DATA_DIR.

    Without that variable, the second is within medjax's folder in the user's cache.

    Raises:
      InputError: where there is no such folder.
    """
    here = pathlib.Path(folder).expanduser()
    if folder and here.is_dir():
        return here
    path = pathlib.Path(os.environ.get('MEDJAX_DATA_DIR') or '~/.cache/medjax/data').expanduser() / here
    if not path.is_dir():
        raise InputError(f'{path}: no such folder; expected the data there: set config.data.source.dir or '
                         'MEDJAX_DATA_DIR')
    return path
