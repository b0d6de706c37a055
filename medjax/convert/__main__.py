"""Converts files between nnU-Net and medjax.

    python -m medjax.convert --nnunet=DIR --output=DIR          a trained model, without pickles
    python -m medjax.convert --splits=RUN … --output=FILE       splits_final.json of the splits of runs, a fold each
"""

import pathlib
import shutil
from collections.abc import Sequence

from medjax import cli

cli.prepare()

from absl import flags  # noqa: E402

from medjax import atomic_files, outputs  # noqa: E402
from medjax.data import nnunet_splits  # noqa: E402
from medjax.deploy import nnunet_model  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.weights import nnunet  # noqa: E402


def convert_model(folder: pathlib.Path, output: pathlib.Path) -> list[pathlib.Path]:
    """Writes a trained nnU-Net as a folder of the same layout whose checkpoints are .npz files.

    Args:
      folder: of the model.
      output: the new folder.

    Returns:
      The checkpoints written.

    Raises:
      InputError: the model cannot be read, or the output is in its folder.
    """
    if output.resolve() == folder.resolve():
        raise InputError(f'--output={output}: the folder of the model; expected another one')
    nnunet_model.load(folder)
    paths = nnunet.checkpoint_paths(folder)
    written = [output / path.parent.name / nnunet.CHECKPOINTS[1] for path in paths]
    inputs = [*paths, folder / 'plans.json', folder / 'dataset.json']
    outputs.check_outputs([*written, output / 'plans.json', output / 'dataset.json'], inputs, f'--output={output}')
    for path, target in zip(paths, written):
        atomic_files.make_folder(target.parent)
        nnunet.write(target, nnunet.fold(path))
    for name in ('plans.json', 'dataset.json'):
        shutil.copyfile(folder / name, output / name)
    return written


def main(_: Sequence[str]) -> None:
    """Reads the flags and converts."""
    output = pathlib.Path(OUTPUT.value)
    if bool(NNUNET.value) == bool(SPLITS.value):
        raise InputError('--nnunet, --splits: expected one of them')
    if NNUNET.value:
        for path in convert_model(pathlib.Path(NNUNET.value), output):
            cli.say(f'{path}')
        return
    count = nnunet_splits.write(output, [pathlib.Path(run) for run in SPLITS.value])
    cli.say(f'{output}   {len(SPLITS.value)} folds of {count} cases')


if __name__ == '__main__':
    NNUNET = flags.DEFINE_string('nnunet', None, 'The folder of a model that nnU-Net version 2 trained.')
    SPLITS = flags.DEFINE_multi_string('splits', [], 'The folders of runs, whose splits become the folds.')
    OUTPUT = flags.DEFINE_string('output', None, 'The folder of the converted model, or the file of splits.')
    flags.mark_flags_as_required(['output'])
    cli.run(main)
