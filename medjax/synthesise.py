"""Draws images with a trained run and writes them as a labelled data set, in the layout of MedMNIST's files.

    python -m medjax.synthesise --workdir=RUN --output=FILE.npz --images=N [--equal] [--seed=0]

A classifier trains on them beside real ones by `config.data.extra_npz=FILE.npz` (data/sources/medmnist.py).
"""

import io
import pathlib
from collections.abc import Sequence

from medjax import cli

cli.prepare()

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from medjax import atomic_files, restore  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.tasks.synthesis.evaluator import FREE, SynthesisPredictor  # noqa: E402


def dealt(positive: Sequence[int], count: int, equal: bool) -> np.ndarray:
    """Labels of so many images, in order: in the shares of the training images' classes, or equal ones.

    Args:
      positive: training images of each class.
      count: images.
      equal: whether each class that trained gets the same share.

    Returns:
      `[count]` int32; what does not divide evenly goes to those whose share is cut most, the first ones first.
    """
    share = np.asarray(positive, float)
    share = (share > 0).astype(float) if equal else share
    want = count * share / share.sum()
    have = np.floor(want).astype(int)
    have[np.argsort(have - want, kind='stable')[:count - have.sum()]] += 1
    return np.repeat(np.arange(len(share)), have).astype(np.int32)


def synthesise(workdir: pathlib.Path, output: pathlib.Path, images: int, equal: bool = False, seed: int = 0) -> str:
    """What the command does.

    Args:
      workdir: of the trained run.
      output: the file: 'train_images' uint8 `[N, *S]` or `[N, *S, 3]`, 'train_labels' `[N, 1]`, empty ones of the
        other splits, and 'classes', the labels' names.
      images: how many.
      equal: see `dealt`.
      seed: another one gives other images; none of them is one that the run was judged by.

    Returns:
      A line about it.

    Raises:
      InputError: a run that makes no images, or numbers that make no sense.
    """
    if images < 1 or not 0 <= seed < 1000 or images > 2**20:
        raise InputError(f'--images={images} --seed={seed}; expected 1 to {2**20} images, and a seed from 0 to 999')
    if output.suffix != '.npz' or output.is_dir():
        raise InputError(f'--output={output}: expected a file, .npz')
    run = restore.restore(workdir)
    if not isinstance(run.predictor, SynthesisPredictor):
        raise InputError(f"--workdir={workdir}: this run makes no images; expected one with config.evaluate.name "
                         "'synthesis'")
    known = run.predictor.statistics
    labels = dealt(known['positive'], images, equal)
    made = run.predictor.painter(run.variables, labels, FREE + seed * 2**20)
    made = made[..., 0] if made.shape[-1] == 1 else made
    arrays = {'train_images': made, 'train_labels': labels[:, None].astype(np.uint8)}
    for split in ('val', 'test'):
        arrays |= {f'{split}_images': made[:0], f'{split}_labels': arrays['train_labels'][:0]}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays, classes=np.array(known['classes'], str))
    atomic_files.write_bytes(output, content.getvalue())
    counts = ', '.join(f'{count} {name}' for name, count in zip(known['classes'], np.bincount(
        labels, minlength=len(known['classes']))))
    return f'{output}: {images} images by the weights of step {run.step} of {workdir}: {counts}'


def main(_: Sequence[str]) -> None:
    """Reads the flags and draws."""
    print(synthesise(pathlib.Path(WORKDIR.value).resolve(), pathlib.Path(OUTPUT.value), IMAGES.value, EQUAL.value,
                     SEED.value), flush=True)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    OUTPUT = flags.DEFINE_string('output', None, 'The file to write, .npz.')
    IMAGES = flags.DEFINE_integer('images', None, 'How many.')
    EQUAL = flags.DEFINE_bool('equal', False, 'As many of each class, in place of the training images\' shares.')
    SEED = flags.DEFINE_integer('seed', 0, 'Another one gives other images.')
    flags.mark_flags_as_required(['workdir', 'output', 'images'])
    cli.run(main)
