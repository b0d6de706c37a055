"""Training and finished runs from Python: `medjax.train`, `medjax.load` and the class `Run`."""

import contextlib
import dataclasses
import functools
import importlib.util
import io
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medjax import cli

cli.prepare()

from medjax import atomic_files, restore, training  # noqa: E402
from medjax.core.config import to_json  # noqa: E402
from medjax.data.io import data_paths, image_files  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.predict import predict  # noqa: E402
from medjax.report import run_files  # noqa: E402

Input = str | pathlib.Path | np.ndarray | pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Predictions for new inputs.

    Attributes:
      arrays: images that were predicted, by the name of their file without its suffix: labels `[X, Y, Z]` of volumes,
        `[rows, columns]` of pictures, with the values of the training labels. Colours are a last axis of three.
      table: the table of predictions; empty where the family writes images alone.
      messages: a line for each input, and warnings about inputs outside of the ranges of the training data.
    """

    arrays: Mapping[str, np.ndarray]
    table: pd.DataFrame
    messages: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes:
      path: the folder.
    """

    path: pathlib.Path

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The config that the run was trained with."""
        return restore.load(self.path).to_dict()

    @property
    def results(self) -> dict[str, Any]:
        """The content of `results.json`: for each split its metrics, each with value, 95 % interval and n.

        Raises:
          InputError: the run has not been evaluated.
        """
        results = dict(run_files.read(self.path).results)
        if not results:
            raise InputError(f'{self.path}: no results.json there; expected an evaluated run')
        return results

    @property
    def predictions(self) -> pd.DataFrame:
        """The table of predictions, a row for each case; `id`, `patient` and `split` are text.

        Raises:
          InputError: the run has not been evaluated.
        """
        return _table(self.path / 'predictions.csv', 'an evaluated run')

    @functools.cached_property
    def _trained(self) -> restore.Trained:
        """The weights and the predictor, restored and compiled once for all predictions without options."""
        return restore.restore(self.path)

    @property
    def history(self) -> pd.DataFrame:
        """The training history, a row for each step that was logged."""
        return pd.DataFrame(run_files.read(self.path).history)

    def predict(self, inputs: Input | Sequence[str | pathlib.Path], *,
                spacing: Sequence[float] | None = None, **options: Any) -> Prediction:
        """Predicts for new inputs with the run's weights.

        Args:
          inputs: a file, a folder, or several of them, as `python -m medjax.predict` takes them; a picture as an
            array `[rows, columns]` or `[rows, columns, 3]` uint8; a volume as an array `[X, Y, Z]` in RAS+ order with
            `spacing`; or a table of patients, visits, molecules or pairs as a DataFrame.
          spacing: of a volume that is given as an array, three numbers of mm.
          **options: of the predictor, over those of `config.evaluate`, such as `largest_component=True`.

        Returns:
          Images, a table, and a line for each input.

        Raises:
          InputError: inputs that cannot be read, or that the network was not trained for.
        """
        messages: list[str] = []
        with tempfile.TemporaryDirectory() as name:
            paths = _files(inputs, spacing, pathlib.Path(name))
            folder = pathlib.Path(name) / 'output'
            trained = None if options else self._trained
            # A table that is given as an object names files by paths of this program's own.
            anywhere = data_paths.any_folder() if isinstance(inputs, pd.DataFrame) else contextlib.nullcontext()
            with anywhere:
                predict(self.path, paths, folder, messages.append, trained, **options)
            arrays = {image_files.stem(path): _label(path) for path in sorted(folder.iterdir())
                      if image_files.is_image(path)}
            table = folder / 'predictions.csv'
            rows = _table(table, 'a table') if table.exists() else pd.DataFrame()
        return Prediction(arrays, rows, tuple(messages))

    def report(self) -> pathlib.Path:
        """Draws the run's report again; returns the path of `report.html`."""
        return restore.write_report(self.path)


def train(config: Mapping[str, Any] | str | pathlib.Path, workdir: str | pathlib.Path,
          from_step: int | None = None) -> Run:
    """Trains, evaluates and draws the report of an experiment, as `python -m medjax.train` does.

    Args:
      config: the experiment: a mapping, a `ConfigDict`, or a config file, `FILE.py` or `FILE.py:VARIANT`.
      workdir: the folder for all results; training resumes from the newest whole checkpoint there.
      from_step: the step of the checkpoint to resume from, in place of the newest.

    Returns:
      The finished run.

    Raises:
      InputError: an invalid config or data set; the training was stopped by a signal before its end.
    """
    if isinstance(config, str | pathlib.Path):
        config = load_config(config)
    plain = config.to_dict() if hasattr(config, 'to_dict') else dict(config)
    to_json(plain)  # refuses what is not plain data
    folder = pathlib.Path(workdir)
    if not training.train_and_evaluate(plain, folder, from_step=from_step):
        raise InputError(f'{folder}: the training was stopped before its end; call it again to resume')
    return Run(folder.resolve())


def load(workdir: str | pathlib.Path) -> Run:
    """A run by its folder.

    Raises:
      InputError: the folder holds no run.
    """
    run = Run(pathlib.Path(workdir).resolve())
    run.config  # noqa: B018 - refuses a folder without a run
    return run


def load_config(path: str | pathlib.Path) -> Any:
    """The `ConfigDict` that a config file returns, to be changed and trained.

    Args:
      path: `FILE.py` or `FILE.py:VARIANT`.

    Raises:
      InputError: there is no such file, or it has no function `get_config`.
    """
    file, _, variant = str(path).partition(':')
    if not pathlib.Path(file).is_file():
        raise InputError(f'{file}: no such file; expected a config, as in configs/')
    spec = importlib.util.spec_from_file_location('medjax_config', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, 'get_config'):
        raise InputError(f'{file}: no function get_config; expected a config, as in configs/')
    return module.get_config(variant) if variant else module.get_config()


def _files(inputs: Any, spacing: Sequence[float] | None, folder: pathlib.Path) -> list[str]:
    """Inputs as paths; arrays and tables are written to a folder."""
    if isinstance(inputs, pd.DataFrame):
        inputs.to_csv(folder / 'table.csv', index=False)
        return [str(folder / 'table.csv')]
    if isinstance(inputs, np.ndarray):
        return [str(_array_file(inputs, spacing, folder))]
    if spacing is not None:
        raise InputError(f'spacing={tuple(spacing)}; expected None for files, which have a spacing of their own')
    return [str(inputs)] if isinstance(inputs, str | pathlib.Path) else list(map(str, inputs))


def _array_file(array: np.ndarray, spacing: Sequence[float] | None, folder: pathlib.Path) -> pathlib.Path:
    """Writes an array as a file that the readers know."""
    if spacing is not None:
        if array.ndim != 3 or len(spacing) != 3 or min(spacing) <= 0:
            raise InputError(f'array {array.shape}, spacing={tuple(spacing)}; expected [X, Y, Z] and three numbers of '
                             'mm above 0')
        path = folder / 'array.nii.gz'
        image_files.write(path, array, np.diag([*map(float, spacing), 1.0]))
        return path
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise InputError(f'array {array.shape} {array.dtype}; expected a picture, [rows, columns] or [rows, columns, 3]'
                         ' uint8, or a volume [X, Y, Z] with spacing=(x, y, z) in mm')
    from PIL import Image

    path = folder / 'array.png'
    Image.fromarray(array).save(path)
    return path


def _label(path: pathlib.Path) -> np.ndarray:
    """A predicted image; a picture as `[rows, columns]`, or `[rows, columns, 3]` in colour."""
    array = image_files.read(path, True).array
    return array[:, :, 0].swapaxes(0, 1) if path.suffix == '.png' else array


def _table(path: pathlib.Path, expected: str) -> pd.DataFrame:
    """A table of predictions; names of cases and patients stay text."""
    if not path.exists():
        raise InputError(f'{path}: no such file; expected {expected}')
    rows, columns = atomic_files.read_table(path)
    # pandas recognises the columns of numbers; missing numbers are empty cells, and a patient NA is a name.
    plain = pd.DataFrame(rows, columns=columns).to_csv(index=False)
    return pd.read_csv(io.StringIO(plain), dtype={name: str for name in ('id', 'patient', 'split', 'image')},
                       keep_default_na=False, na_values=[''])
