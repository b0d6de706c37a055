"""Predicts for new inputs with a trained run; labels of images are written on the grid of their input.

    python -m medjax.predict --workdir=DIR --input=PATH … --output=DIR [--largest_component] [--fill_holes]

An input is a file, a folder of files, or a folder that holds one DICOM series; for detection in pictures also a video.
"""

import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from medjax import cli

cli.prepare()

from absl import flags  # noqa: E402

from medjax import restore  # noqa: E402
from medjax.data.io import image_files, video_frames  # noqa: E402
from medjax.errors import InputError  # noqa: E402


def find(paths: Sequence[str]) -> list[pathlib.Path]:
    """The inputs that the arguments name: files, files in folders, and folders of DICOM slices.

    A folder that holds only folders is searched, and a folder without image files is taken for a DICOM series.
    """
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise InputError(f'--input={path}: no such file or folder; expected images')
        entries = sorted(p for p in path.iterdir() if not p.name.startswith('.')) if path.is_dir() else []
        if path.is_dir() and not entries:
            raise InputError(f'--input={path}: an empty folder; expected images, or the slices of a DICOM series')
        inside = [p for p in entries if image_files.is_image(p) or p.suffix.lower() in video_frames.CONTAINERS]
        if not inside and entries and all(p.is_dir() for p in entries):
            inside = find(list(map(str, entries)))
        found += inside or [path]
    return found


def _name(image: pathlib.Path) -> str:
    """The name of an input's output file, without suffix."""
    if image.suffix.lower() in video_frames.CONTAINERS:
        return image.stem
    return image_files.stem(image) if image.is_file() else image.resolve().name


def predict(workdir: pathlib.Path, inputs: Sequence[str], output: pathlib.Path, say: Callable[[str], None] = print,
            run: restore.Trained | None = None, **options: Any) -> None:
    """Predicts for inputs and writes the results into a folder.

    Args:
      workdir: of the trained run.
      inputs: files and folders.
      output: the folder for the results.
      say: takes a line for each input.
      run: the trained run where it is restored already, with its options; restored here by default.
      **options: of the predictor, over those of config.evaluate.

    Raises:
      InputError: at the first input that cannot be predicted; what was written before stays.
    """
    images, run = find(inputs), run or restore.restore(workdir, **options)
    names: dict[str, pathlib.Path] = {}
    for image in images if run.predictor.file_per_input else ():
        other = names.setdefault(_name(image), image)
        if other is not image:
            raise InputError(f'--input={image}: has the same name as {other}; expected different names, since the '
                             'outputs are named after their inputs')
    say(f'weights of step {run.step} of {workdir}')
    for number, image in enumerate(images, 1):
        began = time.monotonic()
        line = run.predictor(run.variables, image, output)
        say(f'{number}/{len(images)}  {line}   {time.monotonic() - began:.1f} s')


def main(more: Sequence[str]) -> None:
    """Reads the flags and predicts."""
    # A flag that is not given leaves the config's value.
    options = {name: flag.value for name, flag in (('largest_component', LARGEST), ('fill_holes', FILL))
               if flag.value is not None}
    predict(pathlib.Path(WORKDIR.value).resolve(), [*INPUT.value, *more[1:]], pathlib.Path(OUTPUT.value),
            lambda line: print(line, flush=True), **options)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    INPUT = flags.DEFINE_multi_string('input', None, 'An image, a folder of images, or one with a DICOM series; '
                                      'arguments without a name are more of them.')
    OUTPUT = flags.DEFINE_string('output', None, 'The folder that gets a label for each image.')
    LARGEST = flags.DEFINE_bool('largest_component', None, "Keep each class's largest connected component only.")
    FILL = flags.DEFINE_bool('fill_holes', None, 'Fill the holes within each class.')
    flags.mark_flags_as_required(['workdir', 'input', 'output'])
    cli.run(main, unnamed=True)
