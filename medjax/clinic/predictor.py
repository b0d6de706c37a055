"""Predictions as DICOM objects in place of the files that a family writes."""

import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pydicom

from medjax import atomic_files
from medjax.clinic.options import SEGMENTATIONS, DicomOptions
from medjax.clinic.source import INSTALL, SourceImages
from medjax.clinic.source import read as read_source
from medjax.core import config as configs
from medjax.core import contracts
from medjax.core.config import bind
from medjax.data.io import dicom, dicom_series, image_files
from medjax.errors import InputError
from medjax.tasks.family import of_config


@dataclasses.dataclass(frozen=True)
class DicomPredictor(contracts.Predictor):
    """Writes what a predictor finds in a DICOM image as DICOM objects; see `of_run`.

    Attributes:
      inner: the predictor.
      options: the content of the objects.
      objects: the names of the objects.
      identity: of the run.
    """

    inner: contracts.Predictor
    options: DicomOptions
    objects: tuple[str, ...]
    identity: Any

    def outputs(self, path: pathlib.Path) -> list[str]:
        """The name of each object's file."""
        pairs = self.image_pairs(path)
        if pairs is not None:
            return [file for name, (fixed, _) in pairs.items() for file in self._files(name, fixed)]
        _check_dicom(path)
        name = image_files.stem(path) if path.is_file() or dicom_series.split_choice(path)[1] else path.resolve().name
        return self._files(name, path)

    def image_pairs(self, path: pathlib.Path) -> Mapping[str, tuple[pathlib.Path, pathlib.Path]] | None:
        """The pairs of a table, of DICOM images; None for an image by itself. See `contracts.Predictor`."""
        pairs = self.inner.image_pairs(path)
        for image in {image for pair in (pairs or {}).values() for image in pair}:
            _check_dicom(image, path)
        return pairs

    def _files(self, name: str, path: pathlib.Path) -> list[str]:
        """The names of the files for an image, which begin with its own."""
        count = len(dicom_series.read_slices(path).headers) if 'derived' in self.objects else 0
        return [*(f'{name}_{kind}.dcm' for kind in self.objects if kind != 'derived'),
                *(f'{name}_derived_{number:04}.dcm' for number in range(1, count + 1))]

    def example(self) -> Mapping[str, Any]:
        """A batch of the shapes that the network takes."""
        return self.inner.example()

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Predicts for a DICOM image and writes all of its objects, after all were made.

        Args:
          variables: of the network.
          path: a DICOM file, or a folder with a series.
          folder: the output folder.

        Returns:
          The predictor's line about the result.

        Raises:
          InputError: as `make`, or a file cannot be written; then none of the objects is left.
        """
        objects, line = self.make(variables, path)
        written: list[pathlib.Path] = []
        try:
            for name, made in zip(self.outputs(path), objects, strict=True):
                atomic_files.write_bytes(folder / name, encoded(made), private=True)
                written.append(folder / name)
        except BaseException:
            for file in written:  # some of the objects of an image are none
                file.unlink(missing_ok=True)
            raise
        return f'{path} → {folder} ({", ".join(self.objects)})   {line}'

    def make(self, variables: Any, path: pathlib.Path) -> tuple[list[pydicom.Dataset], str]:
        """The objects of a DICOM image, and a line about the result.

        Raises:
          InputError: the image does not fit the network, or is of a kind that no objects can be made for.
        """
        pairs = self.image_pairs(path)
        if pairs is None:
            _check_dicom(path)
            return self._make(variables, path, None)
        parts = [(name, *self._make(variables, *pair)) for name, pair in pairs.items()]
        return [one for _, made, _ in parts for one in made], '; '.join(f'{name}: {line}' for name, _, line in parts)

    def _make(self, variables: Any, path: pathlib.Path,
              moving: pathlib.Path | None) -> tuple[list[pydicom.Dataset], str]:
        """The objects of an image, or of a pair of images, and a line about the result."""
        source, other = read_source(path), read_source(moving) if moving else None
        if moving:
            found = self.inner.registered(variables, path, moving)
        else:
            found = self.inner.findings(variables, path, 'fractional' in self.objects)
        _check_grid(source, found)
        made: list[pydicom.Dataset] = []
        for kind in self.objects:
            made += self._object(kind, source, found, made, other)
        return made, found.line

    def _object(self, kind: str, source: SourceImages, found: contracts.Findings, before: Sequence[pydicom.Dataset],
                moving: SourceImages | None) -> list[pydicom.Dataset]:
        """The objects of one kind, given those that were made before."""
        # These need highdicom, an extra.
        from medjax.clinic import contours, derived, segmentation, structured_report

        if kind in segmentation.KINDS:
            return [segmentation.segmentation(kind, source, found, self.options, self.identity)]
        if kind == 'rtstruct':
            return [contours.structure_set(source, found, self.identity)]
        if kind == 'derived':
            return derived.series(source, found, self.identity, moving)
        measured = next((one for one in before if one.Modality == 'SEG'), None)
        return [structured_report.report(source, found, measured, self.options, self.identity)]


def of_run(workdir: pathlib.Path, run: Any, file: str | None = None, objects: Sequence[str] = (),
           say: Callable[[str], None] = print) -> Any:
    """A trained run whose predictor writes DICOM objects.

    Args:
      workdir: of the run.
      run: the run, a `restore.Trained`.
      file: a JSON file with options, over those of the config.
      objects: the objects, over those of the options.
      say: takes lines about what is assumed.

    Raises:
      InputError: highdicom is not installed; options that are not valid, objects that the family does not have, or
        classes that it does not know.
    """
    try:
        from medjax.clinic.identity import Identity
    except ImportError as error:
        raise InputError(f'--dicom: needs highdicom: {INSTALL}') from error
    given = {**(run.config.get('dicom') or {}), **(atomic_files.read_json(pathlib.Path(file)) if file else {}),
             **({'objects': tuple(objects)} if objects else {})}
    options = bind(DicomOptions, given, file or 'config.dicom')
    family, model = of_config(run.config).name, run.config['model']['name']
    chosen = options.of_family(run.predictor.finds, family)
    names = list(run.statistics.get('classes', ()))
    options.check_classes(names)
    names = names[1:] if run.predictor.finds == 'labels' else names
    without = [name for name in names if name not in options.codes]
    if without and {*chosen} & {*SEGMENTATIONS, 'sr'}:
        generic = ('their segments have the generic code Tissue (85756007, SCT)' if run.predictor.finds == 'labels'
                   else 'their findings have codes of the private scheme 99MEDJAX')
        say(f'warning: no code for {", ".join(without)}: {generic} and the name as label; see config.dicom.codes')
    digest = hashlib.sha256(run.origin.encode()).hexdigest() if run.origin else configs.digest(workdir / 'config.json')
    identity = Identity(f'medjax {family} {model}', run.step, digest)
    # A report refers to the segmentation, which is made before it.
    order = tuple(sorted(chosen, key=lambda kind: kind == 'sr'))
    return dataclasses.replace(run, predictor=DicomPredictor(run.predictor, options, order, identity))


def encoded(dataset: pydicom.Dataset) -> bytes:
    """The content of a DICOM file with a data set."""
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _check_dicom(path: pathlib.Path, table: pathlib.Path | None = None) -> None:
    """Refuses a path that is neither a DICOM file nor a folder; `table` names it, where one does."""
    folder, _ = dicom_series.split_choice(path)
    if not folder.is_dir() and (not path.is_file() or dicom.read_tags(path) is None):
        named = f'{table}: {path}' if table else path
        raise InputError(f'--input={named}: no DICOM image, which --dicom takes its references from; expected a folder '
                         'with a DICOM series, or a DICOM file')


def _check_grid(source: SourceImages, found: contracts.Findings) -> None:
    """Checks that findings are on the grid of the images."""
    image = source.images[0]
    expected = (image.Columns, image.Rows, len(source.frames))
    for array in (found.labels, found.probs, found.image):
        if array is not None and array.shape[:3] != expected:
            raise InputError(f'{source.path}: a prediction of {array.shape[:3]} voxels for an image of {expected}; '
                             'expected the same, from a source that reads the image as it is stored')
