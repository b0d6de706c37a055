"""Contracts of data sets, evaluators, predictors and models: members that they must have, and optional ones.

Members with a body or a value are optional: a class that inherits from the protocol has them. `docs/extending.md` shows
each contract in use.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from medjax.errors import InputError

Row = dict[str, Any]
Variables = Mapping[str, Any]


class Source(Protocol):
    """The cases of a data set as they are stored; `medjax.data.source.Source` is the class."""

    @property
    def cases(self) -> Sequence[Any]:
        """The cases, each with `id`, `patient` and `split`."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes, events, groups or targets."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """Optional: what was left out or assumed, lines that are printed before training."""
        return ()


class Resident(Protocol):
    """The training data as it may be kept in device memory."""

    @property
    def size(self) -> float:
        """Bytes on a device; infinity where the data cannot be kept there."""
        ...

    def load(self) -> Mapping[str, np.ndarray]:
        """The arrays to keep on the device."""
        ...

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int, ...]:
        """Where item `number` is in these arrays, as integers."""
        ...

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """The item at a place, equal to `Dataset.item` without its id; traceable."""
        ...


class Dataset(Protocol):
    """A data set: training items by number, and facts about its cases."""

    @property
    def source(self) -> Source:
        """The cases as they are stored."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of cases of each split."""
        ...

    @property
    def statistics(self) -> Mapping[str, Any]:
        """Statistics of the training data for the task and `predict`, as plain JSON; stored with each checkpoint."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash over all content and the split of every case: equal for equal data."""
        ...

    @property
    def notice(self) -> str:
        """Text about the data that the report must show."""
        ...

    def __len__(self) -> int:
        """The number of training items in an epoch."""
        ...

    def item(self, number: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Training item `number`, with `id`; all randomness is drawn from `rng`."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """Optional: lines that are printed before training."""
        return ()

    def resident(self) -> Resident | None:
        """Optional: the training data for device memory; None where it cannot be kept there."""
        return None

    @property
    def case_values(self) -> Mapping[str, Sequence[float]]:
        """Optional: numbers of every case for the report's table of participants, by name with unit, such as volumes.

        NaN where a value is missing; True is counted.
        """
        return {}


class Batches(Protocol):
    """The batches of a run: a pure function of the step."""

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """The batch of one step."""
        ...

    def stream(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """The batches of steps `start` to `stop`, read ahead."""
        ...


class PlacedBatches(Protocol):
    """Batches of training data that is kept in device memory."""

    resident: Resident

    def stream(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """The places of the examples of steps `start` to `stop`."""
        ...

    def taking(self, augment: Any) -> Callable[[Mapping[str, Any], jax.Array], dict[str, jax.Array]]:
        """An augmentation that first picks the examples at these places."""
        ...


class Evaluator(Protocol):
    """Per-case predictions and metrics on the cases of a split.

    With several processes each one calls it, with the same arguments, and gets the same rows: predictions that go
    through `distributed.mapped`, as those of `BatchedPredictor` do, are split among the processes and gathered.
    """

    snapshots_by_case: bool = False
    """Optional: whether snapshots are written by the function that `distributed.mapped` calls for each case, so that
    each process writes those of its own cases; else process 0 alone is given the folder for them."""

    def __call__(self, variables: Variables, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[Row]:
        """Predicts every case of a split.

        Args:
          variables: of the network.
          split: the split's name.
          quick: skip everything that validation during training does not need.
          snapshots: a folder for the arrays that the report draws.

        Returns:
          A row for each case: `split`, `id`, `patient`, the case's columns, outputs and metrics.
        """
        ...

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Metrics of validation rows; NaN where one is not defined."""
        ...

    def check(self, task: Any, variables: Variables, batch: Mapping[str, np.ndarray]) -> None:
        """Optional: refuses options that the network cannot serve, before training starts.

        Args:
          task: the task.
          variables: shapes of the network's variables.
          batch: the first training batch.

        Raises:
          InputError: naming the option.
        """

    def complete(self, rows: list[Row]) -> list[Row]:
        """Optional: adds columns that need the rows of several splits, such as those at an operating point."""
        return rows

    def show_channel(self, name: str) -> 'Evaluator':
        """Optional: the evaluator with another channel of images for the report.

        Raises:
          InputError: no such channel, or a family whose report does not show a single one.
        """
        raise InputError(f'config.report.channel: {name!r}; expected none: the report of this family shows no single '
                         'channel')

    def snapshot_training(self, variables: Variables, workdir: pathlib.Path, step: int) -> None:
        """Optional: keeps pictures of the course of training, at every validation."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """A prediction for one image as arrays on the image's own grid; what a family does not predict is None.

    Attributes:
      classes: names of the classes; of labels, the background is the first.
      line: a line about the result.
      labels: `[X, Y, Z]`, class numbers.
      probs: `[X, Y, Z, K]`, the probability of each class of labels, where it was asked for.
      class_probs: `[K]`, the probability of each class of the image.
      boxes: `[N, 2D]`, the boxes' lower and upper corners in voxels, counted from the corner of the first voxel; of a
        2D image in rows and columns.
      box_labels: `[N]`, the class number of each box.
      scores: `[N]`, the score of each box.
      image: `[X, Y, Z]`, an image that was computed from the input.
      image_name: describes that image in a few words.
    """

    classes: Sequence[str] = ()
    line: str = ''
    labels: np.ndarray | None = None
    probs: np.ndarray | None = None
    class_probs: np.ndarray | None = None
    boxes: np.ndarray | None = None
    box_labels: np.ndarray | None = None
    scores: np.ndarray | None = None
    image: np.ndarray | None = None
    image_name: str = ''


class Predictor(Protocol):
    """Predictions for new inputs with a trained run."""

    finds: str = ''
    """The part of `Findings` that `findings` gives: 'labels', 'class_probs', 'boxes' or 'image'; '' for no findings,
    where the family predicts other things than parts of an image."""

    shared: Sequence[str] = ()
    """Names of tables in the output folder to which a row is added for each input; it keeps rows of other inputs."""
    suffixes: Sequence[str] = ()
    """Suffixes, in lower case, of the files in a folder that are inputs; by default those of images and videos. Where
    the run's source has some, those count; see `build.inputs`."""

    program: Callable[[Variables, Mapping[str, Any]], dict[str, Any]] | None = None
    """`(variables, batch) -> outputs`, traceable: what `medjax export` writes; by default the task's `predict`."""

    def outputs(self, path: pathlib.Path) -> Sequence[str]:
        """The names of the files that one input alone gives in the output folder; no two inputs may share one.

        Raises:
          InputError: the input cannot be read.
        """
        return ('predictions.csv',)

    def example(self) -> Mapping[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        ...

    def findings(self, variables: Variables, path: pathlib.Path, probs: bool = False) -> Findings:
        """Optional: the prediction for one image as arrays; with the probabilities of labels where asked for."""
        raise NotImplementedError

    def image_pairs(self, path: pathlib.Path) -> Mapping[str, tuple[pathlib.Path, pathlib.Path]] | None:
        """Optional: the fixed and the moving image of each pair of an input by the pair's name; None for one image.

        For such pairs `registered` gives the findings in place of `findings`.
        """
        return None

    def registered(self, variables: Variables, fixed: pathlib.Path, moving: pathlib.Path) -> Findings:
        """Optional: the moving image of a pair on the grid of the fixed one, in its own unit."""
        raise NotImplementedError

    def __call__(self, variables: Variables, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Predicts for one input file and writes the result into `folder`; returns a line about it.

        This is the default for predictors with the three steps below; the others have their own.
        """
        found = self.read_input(path)
        output, = self.predict_together(variables, [found])
        return self.write_output(path, folder, found, output)

    together: int = 1
    """Optional: the most inputs that `predict_together` takes at once; with 1 the service calls the predictor itself.
    The output for an input must not depend on the others, but for the order of sums in batches of another size."""

    def read_input(self, path: pathlib.Path) -> Any:
        """Optional: an input, read and preprocessed; None for a kind of input that is predicted alone."""
        return None

    def predict_together(self, variables: Variables, inputs: Sequence[Any]) -> Sequence[Any]:
        """Optional: the outputs for what `read_input` returned, by one run of a program for as many."""
        raise NotImplementedError

    def write_output(self, path: pathlib.Path, folder: pathlib.Path, found: Any, output: Any) -> str:
        """Optional: writes the result for one input into `folder`; returns a line about it."""
        raise NotImplementedError

    def uncertainty_and_features(self, variables: Variables, path: pathlib.Path) -> tuple[float, np.ndarray] | None:
        """Optional: how uncertain the prediction for an image is, 0 to 1, and features `[D]` by which images differ.

        `medjax select` chooses the images to label next by them; None where the family has none.
        """
        return None

    def warm(self, variables: Variables) -> None:
        """Compiles what predictions run, by predicting for empty inputs of the usual shape."""
        ...


class Model(Protocol):
    """A network: a Linen module named `Model` in `medjax/models/NAME.py`, with a table `VARIANTS` beside it.

    The values below are the defaults of the optional members; `option` reads them.
    """

    inputs: Sequence[str] = ('image',)
    """Entries of the batch that `__call__` takes, in order."""
    frozen: Sequence[str] = ()
    """Top-level parts of the parameters that are not trained; they come from `config.init`."""
    classes: Any = None
    """The number of output channels, where the network's options have it."""
    per_step: bool = False
    """Sequence models: whether there is an output for every step."""
    bidirectional: bool = False
    """Sequence models: whether an output depends on later steps too."""
    risk: bool = False
    """Growth models: whether the network also predicts the risk of new tumours."""
    time_unit_days: float = 1.0
    """Growth models: the unit of time of that risk, in days."""
    regions: bool = False
    """Detection models: whether the network has a second stage, which takes `choose(regions)` in training."""
    external_proposals: bool = False
    """Detection models: whether the network takes proposals from the data set."""
    space: Sequence[int] | None = None
    """Diffusion models: the shape of the latent in which images are generated; None for pixels."""

    def __call__(self, *inputs: Any, train: bool) -> tuple[Any, Mapping[str, Any]]:
        """The output, and named intermediate features."""
        ...


def option(module: Any, name: str) -> Any:
    """An optional member of a model, or its default in `Model`."""
    return getattr(module, name, getattr(Model, name))
