"""Cases, their targets, and the source of a data set: its cases with what is known of them as a whole."""

import abc
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from medjax.atomic_files import check_local
from medjax.data.io.data_paths import add_data_folder
from medjax.errors import InputError
from medjax.metrics.box_matching import IgnoredRegions

SPLITS = ('train', 'val', 'test')
NAMED_SPLITS = (*SPLITS, 'calibrate')  # the splits that a table, a file or a config may give patients
UNITS = ('voxel', 'share', 'mm')
GRIDS = ('volume', 'picture', 'pixels')

# The sentence of the report for a data set without patient identifiers.
UNKNOWN_PATIENTS = 'It is not known which images are of the same patient: each image counts as a patient of its own.'
UNKNOWN = -1  # a class of a multilabel target that was not annotated: it is not evaluated

TargetType = TypeVar('TargetType')


class Target(abc.ABC):
    """The base of target types that are more than a class number or a tuple of them."""

    @property
    @abc.abstractmethod
    def stratum(self) -> str:
        """The stratum of the case: a random split assigns each stratum proportionally."""


def stratum_of(target: object) -> str:
    """The stratum of a case with this target: a `Target`'s own, else the class number, or numbers, as text."""
    return target.stratum if isinstance(target, Target) else str(target)


@dataclasses.dataclass(frozen=True, eq=False)
class Objects(Target):
    """The annotated objects of an image, not yet filtered; see `datasets.detection.valid_objects`.

    Attributes:
      boxes: `[N, 2D]` float32: low_0 … low_{D-1}, high_0 … high_{D-1}, half-open, measured from the outer corner of the
        first voxel: voxel i covers [i, i + 1). Axes are rows and columns of a 2D image, or those of a volume's file.
      labels: `[N]` int32, class numbers of the source, from 0.
      unit: of the boxes: 'voxel'; 'share', fractions of the image's extents; or 'mm' in RAS+ world coordinates, where
        each box stands for the ball or ellipsoid inscribed in it, whose diameters along the image's axes are those
        along the world's axes.
      ignored: regions, in the same unit, that count neither as objects nor as background; None for none.
    """

    boxes: np.ndarray
    labels: np.ndarray
    unit: str = 'voxel'
    ignored: IgnoredRegions | None = None

    def __post_init__(self):
        boxes, labels = np.asarray(self.boxes, np.float32), np.asarray(self.labels, np.int32)
        if labels.ndim != 1 or boxes.ndim != 2 or len(boxes) != len(labels) or boxes.shape[1] not in (4, 6):
            raise ValueError(f'boxes {boxes.shape} and labels {labels.shape}; expected [N, 4] or [N, 6], and [N]')
        if self.unit not in UNITS:
            raise ValueError(f'unit {self.unit!r}; expected one of {UNITS}')
        object.__setattr__(self, 'boxes', boxes)
        object.__setattr__(self, 'labels', labels)

    @property
    def stratum(self) -> str:
        """The classes that occur, in order, so that each split gets its part of the rare ones."""
        return ' '.join(map(str, np.unique(self.labels)))


@dataclasses.dataclass(frozen=True)
class Outcome(Target):
    """A patient's follow-up time and event.

    Attributes:
      time: of the event or of censoring, in the source's unit, at least 0.
      event: 0 for censored patients, else the number of the event, from 1.
    """

    time: float
    event: int

    @property
    def stratum(self) -> str:
        """The event."""
        return str(self.event)


@dataclasses.dataclass(frozen=True)
class TreatmentOutcome(Target):
    """A patient's treatment and outcome.

    Attributes:
      treatment: 1 for treated patients, 0 for untreated ones.
      outcome: a number, higher is better.
      mu0: in simulations, the expected outcome without treatment; it is not an input of any network.
      mu1: in simulations, the expected outcome with treatment.
    """

    treatment: int
    outcome: float
    mu0: float | None = None
    mu1: float | None = None

    @property
    def effect(self) -> float | None:
        """The true treatment effect, `mu1 - mu0`; None where it is not known."""
        return None if self.mu0 is None or self.mu1 is None else self.mu1 - self.mu0

    @property
    def stratum(self) -> str:
        """The treatment."""
        return str(self.treatment)


@dataclasses.dataclass(frozen=True)
class Measurements(Target):
    """Measured values, one for each of the source's classes; NaN where a value is missing."""

    values: tuple[float, ...]

    @property
    def stratum(self) -> str:
        """Empty: all cases are in one stratum."""
        return ''


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """A patient's repeated measurements.

    Attributes:
      times: `[T]` float64, of the visits, increasing, in the source's unit.
      values: `[T, F]` float64, NaN where a value is missing.
    """

    times: np.ndarray
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Case(Generic[TargetType]):
    """One examination.

    Attributes:
      id: unique in the source; names files.
      patient: the patient's identifier: splits and confidence intervals are by patient.
      split: 'train', 'val', 'test', 'calibrate', or another name for cases that are only evaluated.
      read: returns the image and its label (None without a label) as stored, on one grid; other kinds of data set
        define their own result, such as `datasets.registration.Pair`. None for cases without an image.
      target: a class number; a tuple with 0, 1 or UNKNOWN for each class; a `Target`; None where the label is an image.
      columns: further known properties, such as sex or scanner, for the predictions table.
      files: that the case is read from.
      how: all else that determines the result of `read`, for the cache of prepared cases.
      record: the patient's covariates, such as age; NaN where a value is missing.
      series: the patient's repeated measurements.
    """

    id: str
    patient: str
    split: str
    read: Callable[[], Any] | None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: tuple[str, ...] = ()
    how: str = ''
    target: TargetType | None = None
    record: Mapping[str, float] = dataclasses.field(default_factory=dict)
    series: Series | None = None


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Cases that a source or a data set does not use, for the report's flow of participants.

    Attributes:
      reason: why, as the end of 'left out: …'.
      patients: the number of patients without any case that is used.
      cases: the number of cases; 0 where patients are left out before they have cases.
      line: the line of `warnings` that says so; '' for none.
    """

    reason: str
    patients: int
    cases: int = 0
    line: str = ''


@dataclasses.dataclass(frozen=True)
class Source(Generic[TargetType]):
    """The cases of a data set, and what is known of them as a whole.

    Attributes:
      cases: with unique ids.
      classes: names of the classes: of labels that are images with the background first, of a binary problem with the
        positive class last, of an ordinal problem in order, of detection without background; of survival the events, of
        treatment the two groups, untreated first, of regression the measured quantities.
      notice: the text on the data in every report.
      channels: of the images.
      problem: what the targets mean, as the data set and the task that use them expect it; '' where labels are images.
      unit: of times, or of measured values.
      measured: names of the values of a series.
      least_classes: how many classes a source of this kind has at least.
      grid: 'volume', voxels with a size in mm; 'picture', 2D pixels with a size in mm; or 'pixels', of unknown size.
      warnings: what was left out or assumed, with its number, a line each; printed before training and in every report.
      left_out: cases and patients of the data set that are not among `cases`.
      encoding: how the cells of a table were read, as plain JSON, so that `predict` reads new tables likewise.
      summary: what became of the columns of a table, one line; printed before training.
      regions: of labels that are images, the class numbers that each class but the background consists of, by its name,
        where classes are regions that may contain each other; empty where classes exclude each other. A voxel's label
        is the last of the regions that it is in.
      analysis_unit: what the `patient` of a case is, which splits and intervals are by: 'patient', or a word such as
        'image' where patients are not known.
    """

    cases: tuple[Case[TargetType], ...]
    classes: tuple[str, ...]
    notice: str = ''
    channels: tuple[str, ...] = ('image',)
    problem: str = ''
    unit: str = ''
    measured: tuple[str, ...] = ()
    least_classes: int = 2
    grid: str = 'volume'
    warnings: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    encoding: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    summary: str = ''
    regions: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    analysis_unit: str = 'patient'

    @property
    def length_unit(self) -> str:
        """The unit of distances: 'mm', or 'px' where the images are pictures without a pixel size."""
        return 'px' if self.grid == 'pixels' else 'mm'

    def __post_init__(self):
        if self.grid not in GRIDS:
            raise ValueError(f'grid {self.grid!r}; expected one of {GRIDS}')
        if not self.least_classes <= len(set(self.classes)) == len(self.classes) <= 255:
            order = '' if self.problem else ', background first'
            raise InputError(f'config.data.source.classes: {list(self.classes)}; expected {self.least_classes} to 255 '
                             f'different names{order}')
        known: set[str] = set()
        for case in self.cases:
            if case.id in known:
                raise InputError(f'case id {case.id!r} occurs twice; expected unique names')
            if not case.id or case.id.startswith('.') or '/' in case.id or not case.id.isprintable():
                raise InputError(f'case id {case.id!r}: expected a valid file name')
            known.add(case.id)

    def only(self, cases: Iterable[Case[TargetType]], reason: str, line: str = '') -> 'Source[TargetType]':
        """The source with some of its cases; the others are counted in `left_out`.

        Args:
          cases: those that are kept.
          reason: see `LeftOut`, as for line.
          line: …
        """
        kept = tuple(cases)
        patients = len({case.patient for case in self.cases} - {case.patient for case in kept})
        count = len(self.cases) - len(kept)
        left_out = (LeftOut(reason, patients, count, line),) if count else ()
        return dataclasses.replace(self, cases=kept, left_out=(*self.left_out, *left_out))


def check_two_classes(source: Source) -> None:
    """Checks that a problem with two classes or groups has two.

    Raises:
      InputError: with the classes.
    """
    if len(source.classes) != 2:
        raise InputError(f'config.data.source.classes: {list(source.classes)}; expected two for a {source.problem} '
                         'problem')


def data_root() -> pathlib.Path:
    """The folder of all data sets: MEDJAX_DATA_DIR, by default medjax's folder in the user's cache."""
    return pathlib.Path(os.environ.get('MEDJAX_DATA_DIR') or '~/.cache/medjax/data').expanduser()


def data_dir(folder: str) -> pathlib.Path:
    """The folder of a data set: `folder` relative to the working directory, or within MEDJAX_DATA_DIR.

    Without that variable, the latter is medjax's folder in the user's cache.

    Raises:
      InputError: there is no such folder, or it is on object storage.
    """
    here = pathlib.Path(folder).expanduser()
    if folder and here.is_dir():
        return add_data_folder(here)
    path = data_root() / here
    check_local(path, f'config.data.source.dir: {folder}' if folder else 'MEDJAX_DATA_DIR')
    if not path.is_dir():
        raise InputError(f'{path}: no such folder; expected the data there: set config.data.source.dir or '
                         'MEDJAX_DATA_DIR')
    return add_data_folder(path)
