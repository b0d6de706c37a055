"""A restored run with all that the service knows of it: predictions for uploaded files, its card and its metrics."""

import csv
import dataclasses
import functools
import io
import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import prometheus_client as prometheus

from medjax import atomic_files, build, restore
from medjax.clinic import predictor as clinic
from medjax.core.batched import TOGETHER
from medjax.deploy import model_card, program
from medjax.errors import InputError
from medjax.predict import checked_inputs
from medjax.serve.batching import Batcher
from medjax.serve.uploads import Limits
from medjax.tasks.family import of_config

COMPILED = '/jax/core/compile/backend_compile_duration'  # JAX's event for each program that it compiles
SECONDS = (.01, .03, .1, .3, 1, 3, 10, 30, 100)
TABLE = 'predictions.csv'
TEXT = ('id', 'patient', 'image', 'pair', 'smiles', 'label')  # columns whose cells are text, also where they are digits


@dataclasses.dataclass(frozen=True)
class Answer:
    """The results for the files of a request.

    Attributes:
      files: the content of each file that `medjax predict` writes, by name. Paths in tables are those of the upload.
      messages: a line for each input.
      seconds: that the predictions took, waiting included.
    """

    files: Mapping[str, bytes]
    messages: Sequence[str]
    seconds: float

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table of predictions; cells that are numbers are numbers. Empty without a table."""
        rows = csv.DictReader(io.StringIO(self.files.get(TABLE, b'').decode()))
        return [{name: cell if name in TEXT else _number(cell) for name, cell in row.items()} for row in rows]


def _number(cell: str) -> Any:
    """A cell as a number where it is a finite one; None for an empty cell."""
    try:
        return float(cell) if math.isfinite(float(cell)) else cell
    except ValueError:
        return cell or None


class Metrics:
    """Counts and durations, for Prometheus. No label has a name of a file or a patient."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        of = {'registry': self.registry}
        self.requests = prometheus.Counter('medjax_requests', 'Answers by path and status.', ('path', 'status'), **of)
        self.seconds = prometheus.Histogram('medjax_predict_seconds', 'Time from an upload to its answer.',
                                            buckets=SECONDS, **of)
        self.batch = prometheus.Histogram('medjax_batch_size', 'Inputs that were predicted together.',
                                          buckets=(1, 2, 4, 8, 16, 32, 64, 128), **of)
        self.waiting = prometheus.Gauge('medjax_requests_in_progress', 'Requests that have no answer yet.', **of)
        self.bytes = prometheus.Counter('medjax_upload_bytes', 'Bytes of uploads.', **of)
        self.compiled = prometheus.Counter('medjax_compilations', 'Programs that JAX compiled.', **of)
        jax.monitoring.register_event_duration_secs_listener(self._on_event)

    def _on_event(self, name: str, *_: Any, **__: Any) -> None:
        if name == COMPILED:
            self.compiled.inc()

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return prometheus.generate_latest(self.registry)


class Service:
    """Predictions of one run.

    Args:
      workdir: of the trained run.
      limits: of a request.
      wait: seconds that an input waits for others to be predicted with, at most.
      most: inputs that are predicted together, at most.

    Raises:
      InputError: the folder holds no run that predicts.
    """

    def __init__(self, workdir: pathlib.Path, limits: Limits | None = None, wait: float = .005, most: int = TOGETHER):
        self.workdir, self.limits, self.metrics = workdir, limits or Limits(), Metrics()
        self.config = build.plain(restore.load(workdir))
        self.family = of_config(self.config)
        self.family.check('serve')
        self.run = restore.restore(workdir)
        self.together = min(self.run.predictor.together, most)
        self._batcher = Batcher(lambda inputs: self.run.predictor.predict_together(self.run.variables, inputs),
                                self.together, wait, self.metrics.batch.observe)

    def warm(self) -> None:
        """Compiles the shapes that predictions are known to need."""
        self._batcher.call(lambda: self.run.predictor.warm(self.run.variables))

    def close(self) -> None:
        """Ends the thread of predictions after all that waits."""
        self._batcher.stop()

    @functools.cached_property
    def _dicom_run(self) -> restore.Trained:
        """The run with a predictor that writes DICOM objects, by the options in config.dicom."""
        return clinic.of_run(self.workdir, self.run, say=lambda line: None)

    def predict(self, inputs: Sequence[pathlib.Path], folder: pathlib.Path, dicom: bool = False) -> Answer:
        """Predicts for files as `medjax predict` does, beside other requests.

        Args:
          inputs: files and folders, below `folder`.
          folder: of the request; results are written into a new folder there.
          dicom: whether the results are DICOM objects, as with `medjax predict --dicom`.

        Raises:
          InputError: files that cannot be predicted; paths in the message are those of the upload.
        """
        began, messages, output = time.monotonic(), [], folder / 'output'
        run = self._dicom_run if dicom else self.run
        predictor, together = run.predictor, min(self.together, run.predictor.together)
        images = checked_inputs(run, self.workdir, list(map(str, inputs)), output, messages.append)
        try:
            for start in range(0, len(images), together):
                part = images[start:start + together]
                read = [predictor.read_input(image) if together > 1 else None for image in part]
                outputs = iter(self._batcher.outputs([found for found in read if found is not None]))
                for image, found in zip(part, read):
                    if found is None:
                        line = self._batcher.call(lambda image=image: predictor(self.run.variables, image, output))
                    else:
                        line = predictor.write_output(image, output, found, next(outputs))
                    messages.append(line)
        finally:
            messages += run.take_notes(folder)
        files = {path.name: self._content(path, folder) for path in sorted(output.iterdir())}
        return Answer(files, [without_folder(line, folder) for line in messages], time.monotonic() - began)

    def _content(self, path: pathlib.Path, folder: pathlib.Path) -> bytes:
        """The bytes of a result; the cells of a table have no path of this machine."""
        if path.suffix == '.csv':
            rows, _ = atomic_files.read_table(path)
            if rows:
                rows = [{name: without_folder(cell, folder) for name, cell in row.items()} for row in rows]
                atomic_files.write_table(path, rows)
        return path.read_bytes()

    def card(self) -> dict[str, Any]:
        """The model card, as an export has it; shapes of inputs and outputs where the network can be exported."""
        results, record = (atomic_files.read_optional_json(self.workdir / name)
                           for name in ('results.json', 'environment.json'))
        stored = program.store(self.run.variables, 'float32')
        inputs: Mapping[str, Any] = {}
        outputs: Mapping[str, Any] = {}
        try:
            self.family.check('export')
            predict: Callable[..., Any] = self.run.predictor.program or self.run.task.predict
            traced = program.trace(predict, stored, self.run.predictor.example(), (jax.default_backend(),))
            inputs, outputs = traced.inputs, traced.outputs
        except InputError:
            pass  # a network that cannot be exported can be served
        return model_card.card(self.config, self.run, stored, inputs, outputs, results, record,
                               {'format': 'service', 'precision': 'float32'})


def without_folder(text: str, folder: pathlib.Path) -> str:
    """A text in which paths below a request's folder are as the client sent them."""
    for part in ('input/', 'output/', ''):
        text = text.replace(f'{folder}/{part}', '')
    return text.replace(str(folder), '')
