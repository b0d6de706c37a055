"""Predicts for new inputs with a trained run or a published network; labels are written on the grid of their image.

    python -m medjax.predict --workdir=DIR --input=PATH … --output=DIR [--largest_component] [--fill_holes] [--dicom]
    python -m medjax.predict --pretrained=NAME --input=PATH … --output=DIR
    python -m medjax.predict --nnunet=DIR --input=PATH … --output=DIR [--folds=0,1]   a model that nnU-Net trained

An input is a file, a folder of files, or a folder that holds one DICOM series; for detection in pictures also a video.
With --dicom the results of DICOM images are DICOM objects of the same study.
"""

import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from medjax import cli

cli.prepare()

from absl import flags  # noqa: E402

from medjax import atomic_files, outputs, pretrained, restore  # noqa: E402
from medjax.clinic import predictor as clinic  # noqa: E402
from medjax.core import contracts  # noqa: E402
from medjax.data.io import dicom, image_files, video_frames  # noqa: E402
from medjax.data.io.image_folders import left_out  # noqa: E402
from medjax.deploy import nnunet_model  # noqa: E402
from medjax.errors import InputError, few  # noqa: E402


def find(paths: Sequence[str], suffixes: Sequence[str] = (), say: Callable[[str], None] = print,
         files: Callable[[pathlib.Path], Sequence[str]] = image_files.files) -> list[pathlib.Path]:
    """The inputs that the arguments name: files, files in folders, and folders of DICOM slices.

    A folder that holds only folders is searched, and a folder without image files is taken for a DICOM series. DICOM
    images of a series of their own and without a position, such as radiographs, are an input each.
    `FOLDER/series=3` is one of several series of a folder.

    Args:
      paths: files and folders.
      suffixes: of the files in a folder that are inputs; by default those of images and videos.
      say: takes a line for each folder in which files or folders are left out.
      files: all files that an input is read from.

    Raises:
      InputError: a file that does not exist, also as a link to nothing; an empty folder; images beside DICOM files.
    """
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        atomic_files.check_local(path, f'--input={path}')
        if not image_files.exists(path):
            raise InputError(f'--input={path}: no such file or folder; expected images')
        if not path.is_dir():
            found.append(path)
            continue
        entries = sorted(p for p in path.iterdir() if not p.name.startswith('.'))
        if not entries:
            raise InputError(f'--input={path}: an empty folder; expected images, or the slices of a DICOM series')
        image_files.check_links(entries, path)
        inside = [p for p in entries if _is_input(p, suffixes)]
        if inside:
            _report_others(path, entries, inside, say, files)
        elif all(p.is_dir() for p in entries):
            inside = find(list(map(str, entries)), suffixes, say, files)
        elif not suffixes:
            inside = dicom.projections(path)
        found += inside or [path]
    return found


def _is_input(path: pathlib.Path, suffixes: Sequence[str]) -> bool:
    """Whether a file in a folder is an input, by its suffix."""
    if suffixes:
        return path.is_file() and path.name.lower().endswith(tuple(suffixes))
    return image_files.is_image(path) or (path.is_file() and path.suffix.lower() in video_frames.CONTAINERS)


def _report_others(folder: pathlib.Path, entries: Sequence[pathlib.Path], inside: Sequence[pathlib.Path],
                   say: Callable[[str], None], files: Callable[[pathlib.Path], Sequence[str]]) -> None:
    """Says what a folder of inputs holds besides; refuses DICOM files there."""
    used = {file for path in inside for file in files(path)}
    others = [path for path in entries if str(path) not in used]
    slices = [path.name for path in others if dicom.is_dicom(path)]
    if slices:
        raise InputError(f'--input={folder}: {len(slices)} DICOM files ({few(slices)}) beside other images '
                         f'({few([path.name for path in inside])}); expected either, or the files by their names')
    for line in left_out(others, folder, 'no inputs'):
        say(line)


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
      InputError: before the first prediction where a result would overwrite an input, another result or a file of the
        run; then at the first input that cannot be predicted; what was written before stays.
    """
    run = run or restore.restore(workdir, **options)
    images = checked_inputs(run, workdir, inputs, output, say)
    say(run.origin or f'weights of step {run.step} of {workdir}')
    start = time.monotonic()
    for number, image in enumerate(images, 1):
        began = time.monotonic()
        line = run.predictor(run.variables, image, output)
        head, *warnings = line.split('\n')
        now = time.monotonic()
        left = (now - start) / number * (len(images) - number)
        say(f'{number}/{len(images)}  {head}   {now - began:.1f} s' + (f'   {left:.0f} s left' if left > 5 else ''))
        for warning in [*warnings, *run.take_notes()]:
            say(warning)


def checked_inputs(run: restore.Trained, workdir: pathlib.Path, inputs: Sequence[str], output: pathlib.Path,
                   say: Callable[[str], None] = print) -> list[pathlib.Path]:
    """The inputs that paths name, see `find`, after a check of the files that their results will have.

    Raises:
      InputError: a result would overwrite an input, another result or a file of the run.
    """
    images = find(inputs, run.inputs.suffixes, say, run.inputs.files)
    _check_outputs(run.predictor, images, output, workdir, run.inputs.files)
    return images


def _check_outputs(predictor: contracts.Predictor, images: Sequence[pathlib.Path], output: pathlib.Path,
                   workdir: pathlib.Path, files: Callable[[pathlib.Path], Sequence[str]]) -> None:
    """Checks that each result has a file of its own, which is no input and no file of the run."""
    origins: dict[str, str] = {name: 'all inputs' for name in predictor.shared}
    for image in images:
        for name in predictor.outputs(image):
            if pathlib.PurePath(name).name != name:
                raise InputError(f'--input={image}: its result would be {name!r}; expected names that are file names')
            if name in origins:
                raise InputError(f'--input={image}: its result has the same name as that of {origins[name]}, '
                                 f'{output / name}; expected different names, or another --output for one of them')
            origins[name] = str(image)
    read = [file for image in images for file in (*outputs.input_files(image), *map(pathlib.Path, files(image)))]
    outputs.check_outputs([output / name for name in origins], [*read, *outputs.run_files(workdir)],
                          f'--output={output}')


def main(more: Sequence[str]) -> None:
    """Reads the flags and predicts."""
    # A flag that is not given leaves the config's value.
    options = {name: flag.value for name, flag in (('largest_component', LARGEST), ('fill_holes', FILL))
               if flag.value is not None}
    given = [flag for flag in (WORKDIR, PRETRAINED, NNUNET) if flag.value]
    if len(given) != 1:
        raise InputError(f'--workdir, --pretrained, --nnunet: {len(given)} given; expected one of them')
    if PRETRAINED.value:
        run, workdir = pretrained.restore(PRETRAINED.value, **options)
    elif NNUNET.value:
        if options or DICOM.value:
            raise InputError('--largest_component, --fill_holes, --dicom: given with --nnunet; expected --workdir')
        workdir = pathlib.Path(NNUNET.value).resolve()
        run = nnunet_model.load(workdir, FOLDS.value, MIRROR.value)
    else:
        workdir = pathlib.Path(WORKDIR.value).resolve()
        run = restore.restore(workdir, **options)
    if DICOM.value:
        run = clinic.of_run(workdir, run, DICOM_OPTIONS.value, DICOM_OBJECTS.value, cli.say)
    elif DICOM_OPTIONS.value or DICOM_OBJECTS.value:
        raise InputError('--dicom_options, --dicom_objects: given without --dicom; expected it beside them')
    predict(workdir, [*INPUT.value, *more[1:]], pathlib.Path(OUTPUT.value), lambda line: print(line, flush=True), run,
            **options)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    PRETRAINED = flags.DEFINE_string('pretrained', None, 'A published network in place of a run, such as '
                                     'meshnet_gwm.')
    INPUT = flags.DEFINE_multi_string('input', None, 'An image, a folder of images, or one with a DICOM series; '
                                      'arguments without a name are more of them.')
    OUTPUT = flags.DEFINE_string('output', None, 'The folder that gets a label for each image.')
    LARGEST = flags.DEFINE_bool('largest_component', None, "Keep each class's largest connected component only.")
    FILL = flags.DEFINE_bool('fill_holes', None, 'Fill the holes within each class.')
    DICOM = flags.DEFINE_bool('dicom', False, 'Write DICOM objects of the study of the input in place of other files.')
    DICOM_OBJECTS = flags.DEFINE_list('dicom_objects', [], 'With --dicom: some of seg, fractional, labelmap, rtstruct, '
                                      'sr, derived, over those of config.dicom.')
    DICOM_OPTIONS = flags.DEFINE_string('dicom_options', None, 'With --dicom: a JSON file with keys of config.dicom, '
                                        'such as the codes of the classes, over those of the config.')
    NNUNET = flags.DEFINE_string('nnunet', None, 'The folder of a model that nnU-Net version 2 trained, in place of a '
                                 'run.')
    FOLDS = flags.DEFINE_list('folds', [], 'Folds of that model, whose outputs are averaged; by default all that are '
                              'there.')
    MIRROR = flags.DEFINE_bool('mirror', True, 'Whether that model averages over mirrored images, as nnU-Net does.')
    flags.mark_flags_as_required(['input', 'output'])
    cli.run(main, unnamed=True)
