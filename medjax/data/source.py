"""Cases and where they come from."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from medjax.data.io.geometry import Image
from medjax.errors import InputError

SPLITS = ('train', 'val', 'test')
WHOLE = ('binary', 'multiclass', 'ordinal', 'multilabel')  # of images that have a class, or several, as a whole
PROBLEMS = (*WHOLE, 'detection', 'survival', 'treatment', 'regression', 'forecast', 'growth', 'translation',
            'registration')
UNITS = ('voxel', 'share', 'mm')

# What a report must say where a set does not tell patients apart.
UNKNOWN_PATIENTS = 'It is not said which images are of one patient: each counts as one of its own.'
UNKNOWN = -1  # of a class that an image may have or not: it is not judged


@dataclasses.dataclass(frozen=True, eq=False)
class Objects:
    """The objects that an image shows, as somebody marked them; `objects.dataset` says which of them it takes.

    Attributes:
      boxes: `[N, 2D]` float32: low_0 … low_{D-1}, high_0 … high_{D-1}, half-open, measured from the outer corner of the
        first voxel: voxel i covers [i, i + 1). Axes are rows and columns of a picture, or those of a volume's file.
      labels: `[N]` int32, numbers of the source's classes, from 0.
      unit: of the boxes: 'voxel'; 'share' of the image's extents; or 'mm' in the world's RAS+, where each box stands
        for the ball or ellipsoid that it holds, whose extents along the image's axes are those along the world's.
    """

    boxes: np.ndarray
    labels: np.ndarray
    unit: str = 'voxel'

    def __post_init__(self):
        boxes, labels = np.asarray(self.boxes, np.float32), np.asarray(self.labels, np.int32)
        if labels.ndim != 1 or boxes.ndim != 2 or len(boxes) != len(labels) or boxes.shape[1] not in (4, 6):
            raise ValueError(f'boxes {boxes.shape} and labels {labels.shape}; expected [N, 4] or [N, 6], and [N]')
        if self.unit not in UNITS:
            raise ValueError(f'unit {self.unit!r}; expected one of {UNITS}')
        object.__setattr__(self, 'boxes', boxes)
        object.__setattr__(self, 'labels', labels)

    def __str__(self) -> str:
        """The classes that are there, in order: what cases are dealt by, so that each part gets rare ones."""
        return ' '.join(map(str, np.unique(self.labels)))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How long a patient was seen, and what ended it.

    Attributes:
      time: in the source's unit, not below 0.
      event: 0 where the patient was last seen without an event (censored), else the number of the event, from 1.
    """

    time: float
    event: int

    def __str__(self) -> str:
        """The event: what patients are dealt by."""
        return str(self.event)


@dataclasses.dataclass(frozen=True)
class Treated:
    """What was done to a patient, and what came of it.

    Attributes:
      treatment: 1 where the patient was treated, 0 where not.
      outcome: a number, the higher the better.
      mu0: where outcomes are simulated, the one to be expected without treatment; no network ever sees it.
      mu1: the one to be expected with it.
    """

    treatment: int
    outcome: float
    mu0: float | None = None
    mu1: float | None = None

    @property
    def effect(self) -> float | None:
        """What the treatment truly does to the patient; None where nobody knows."""
        return None if self.mu0 is None or self.mu1 is None else self.mu1 - self.mu0

    def __str__(self) -> str:
        """The treatment: what patients are dealt by."""
        return str(self.treatment)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Numbers that were measured, one for each of the source's classes; NaN where one was not."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        """Nothing: all are dealt alike."""
        return ''


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """What was measured of a patient, visit by visit.

    Attributes:
      times: `[T]` float64, rising, in the source's unit.
      values: `[T, F]` float64, NaN where nothing was measured.
    """

    times: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Case:
    """One examination.

    Attributes:
      id: unique in the source; names files.
      patient: whose it is: splits and confidence intervals are by patient.
      split: 'train', 'val', 'test', or another name for cases that are only evaluated.
      read: gives the image and its label (None where there is none), as stored, on one grid; None where there is no
        image either.
      target: what is to be told of the whole image, where that is the problem: the class's number, or 0, 1 or
        UNKNOWN for each class where an image can have several; of detection what it shows; of survival how long; of
        treatment what was done and what came of it; of growth `scans.Followed`; of regression what was measured.
      columns: whatever else is known of it, such as sex or scanner; goes to the predictions table.
      files: that it is read from.
      how: whatever else decides what `read` gives, so that a case that was prepared is known again.
      record: what is known of the patient in numbers, such as age; NaN where it is missing.
      series: what was measured over time.
    """

    id: str
    patient: str
    split: str
    read: Callable[[], tuple[Image, Image | None]] | None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: tuple[str, ...] = ()
    how: str = ''
    target: int | tuple[int, ...] | Objects | Outcome | Treated | Measured | None = None
    record: Mapping[str, float] = dataclasses.field(default_factory=dict)
    series: Series | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """The cases of a data set, and what must be known of them.

    Attributes:
      cases: with unique ids.
      classes: the labels' classes, background first; of a binary problem the positive one last, of an ordinal one in
        their order, of detection without background, of survival the events, of treatment the two groups, the
        untreated first, of regression what is measured.
      notice: what a report must say of the data.
      channels: the images' channels.
      problem: what the cases' targets are: one of PROBLEMS; '' where labels are images.
      unit: of times, or of what is measured.
      measured: names of a series' values.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    notice: str = ''
    channels: tuple[str, ...] = ('image',)
    problem: str = ''
    unit: str = ''
    measured: tuple[str, ...] = ()

    def __post_init__(self):
        # One class is enough: it is there or not.
        alone = self.problem in ('multilabel', 'detection', 'survival', 'regression', 'forecast', 'registration')
        least, order = (1, '') if alone else (2, ', background first' * (not self.problem))
        if not least <= len(set(self.classes)) == len(self.classes) <= 255:
            raise InputError(f'config.data.source.classes: {list(self.classes)}; expected {least} to 255 different '
                             f'names{order}')
        if self.problem and self.problem not in PROBLEMS:
            raise InputError(f'config.data.source.problem: {self.problem!r}; expected one of: {", ".join(PROBLEMS)}')
        if self.problem in ('binary', 'treatment') and len(self.classes) != 2:
            raise InputError(f'config.data.source.classes: {list(self.classes)}; expected two for a {self.problem} '
                             'problem')
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
