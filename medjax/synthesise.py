"""Samples images with a trained run and writes them as a labelled data set, in the format of MedMNIST's files.

    python -m medjax.synthesise --workdir=RUN --output=FILE.npz --images=N [--equal] [--seed=0]

A classifier trains on them together with real images by `config.data.extra_npz=FILE.npz`
(data/sources/medmnist.py).
"""

import os
import pathlib
from collections.abc import Sequence

from medjax import cli

cli.prepare()

import numpy as np  # noqa: E402
from absl import flags  # noqa: E402

from medjax import atomic_files, outputs, restore  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.tasks.synthesis.evaluator import SynthesisPredictor  # noqa: E402
from medjax.tasks.synthesis.sampler import FREE_SEED  # noqa: E402

MAX_IMAGES, MAX_SEED = 2**20, 999


def class_labels(counts: Sequence[int], images: int, equal: bool) -> np.ndarray:
    """Labels of a number of images, in order of the classes, in proportion to the training images.

    Args:
      counts: number of training images of each class.
      images: number of labels.
      equal: whether every class with training images gets the same share instead.

    Returns:
      `[images]` int32; labels left over by rounding down go to the classes with the largest remainders, the first of
      equal ones first.
    """
    share = np.asarray(counts, float)
    share = (share > 0).astype(float) if equal else share
    exact = images * share / share.sum()
    rounded = np.floor(exact).astype(int)
    rounded[np.argsort(rounded - exact, kind='stable')[:images - rounded.sum()]] += 1
    return np.repeat(np.arange(len(share)), rounded).astype(np.int32)


def synthesise(workdir: pathlib.Path, output: pathlib.Path, images: int, equal: bool = False, seed: int = 0) -> str:
    """Samples images and writes them to a file.

    Args:
      workdir: of the trained run.
      output: the file: 'train_images' uint8 `[N, *S]` or `[N, *S, 3]`, 'train_labels' `[N, 1]`, empty arrays of the
        other splits, and 'classes', their names.
      images: number of images.
      equal: see `class_labels`.
      seed: other seeds give other images; none of them is used in the run's evaluation.

    Returns:
      A line with the file and the number of images of each class.

    Raises:
      InputError: the run does not generate images, a number is out of its range, or the file exists and was not
        written by this function.
    """
    if images < 1 or not 0 <= seed <= MAX_SEED or images > MAX_IMAGES:
        raise InputError(f'--images={images} --seed={seed}; expected 1 to {MAX_IMAGES} images, and a seed from 0 to '
                         f'{MAX_SEED}')
    if output.suffix != '.npz' or output.is_dir():
        raise InputError(f'--output={output}: expected a file, .npz')
    outputs.check_outputs([output], outputs.run_files(workdir), f'--output={output}')
    _check_replaceable(output)
    run = restore.restore(workdir)
    if not isinstance(run.predictor, SynthesisPredictor):
        raise InputError(f"--workdir={workdir}: this run generates no images; expected one with config.evaluate.name "
                         "'synthesis'")
    statistics = run.predictor.statistics
    labels = class_labels(statistics['positive'], images, equal)
    sample = run.predictor.sampler(run.variables, labels, FREE_SEED + seed * MAX_IMAGES)
    sample = sample[..., 0] if sample.shape[-1] == 1 else sample
    arrays = {'train_images': sample, 'train_labels': labels[:, None].astype(np.uint8)}
    for split in ('val', 'test'):
        arrays |= {f'{split}_images': sample[:0], f'{split}_labels': arrays['train_labels'][:0]}
    classes = statistics['classes']
    atomic_files.write_arrays(output, **arrays, classes=np.array(classes, str))
    numbers = np.bincount(labels, minlength=len(classes))
    text = ', '.join(f'{number} {name}' for name, number in zip(classes, numbers))
    return f'{output}: {images} images by the weights of step {run.step} of {workdir}: {text}'


def _check_replaceable(output: pathlib.Path) -> None:
    """Checks that an existing file was written by `synthesise`: any other may be what a run trained on."""
    if not os.path.lexists(output):
        return
    try:
        arrays = atomic_files.read_arrays(output, 'sampled images', ('classes', 'test_images'))
    except InputError:
        arrays = {}
    if output.is_symlink() or not arrays or len(arrays['test_images']):
        raise InputError(f'--output={output}: exists and is not a file of sampled images, so it may be a training set; '
                         'expected another name')


def main(_: Sequence[str]) -> None:
    """Reads the flags and writes the file."""
    print(synthesise(pathlib.Path(WORKDIR.value).resolve(), pathlib.Path(OUTPUT.value), IMAGES.value, EQUAL.value,
                     SEED.value), flush=True)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    OUTPUT = flags.DEFINE_string('output', None, 'The file to write, .npz.')
    IMAGES = flags.DEFINE_integer('images', None, 'Number of images.')
    EQUAL = flags.DEFINE_bool('equal', False, 'As many images of each class, instead of the training images\' shares.')
    SEED = flags.DEFINE_integer('seed', 0, 'Other seeds give other images.')
    flags.mark_flags_as_required(['workdir', 'output', 'images'])
    cli.run(main)
