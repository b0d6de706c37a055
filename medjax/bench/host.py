"""The time of the host for each step of the train loop."""

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from medjax.bench.side import Side

STEPS = 200


def _read(number: int, shape: tuple[int, int, int]) -> Any:
    """An image of noise, and a label with one box."""
    from medjax.data.io.geometry import Image
    image = np.random.default_rng(number).normal(size=shape).astype(np.float32)
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(n // 4, n // 2) for n in shape)] = 1
    return Image(image, np.eye(4), ''), Image(label, np.eye(4), '')


def noise_dataset(count: int, shape: tuple[int, int, int], patch: tuple[int, int, int], cache: str) -> Any:
    """A data set of `count` training cases of noise, prepared in the folder `cache`."""
    from medjax.data.datasets.volumes import dataset
    from medjax.data.source import Case, Source
    cases = tuple(Case(id=f'{n}', patient=f'{n}', split='train', read=functools.partial(_read, n, shape))
                  for n in range(count))
    return dataset(Source(cases=cases, classes=('background', 'box')), patch=patch, crop=False, cache=cache)


def step_runner(batches: Any, steps: int) -> Callable[[], None]:
    """A function that runs steps with almost no computation, fed as in the train loop.

    Args:
      batches: the batches, placed on the device or not.
      steps: number of steps of a call.
    """
    import jax

    from medjax.core.experiment import Experiment
    from medjax.core.sharding import Jit
    from medjax.data.pipeline import Placed
    unused: Any = dict.fromkeys(('task', 'data', 'augment', 'optimiser', 'schedule', 'evaluator'))
    plan, placed = Jit(), isinstance(batches, Placed)
    experiment = Experiment(**unused, batches=batches, placed=batches if placed else None, plan=plan, seed=0,
                            steps=steps)
    shape, name = jax.ShapeDtypeStruct((8,), np.float32), 'place' if placed else 'image'
    step = plan.compile(lambda state, batch, key: (state + batch[name].ravel()[0], {'loss': state.sum()}), shape)
    state, key = [plan.init_state(lambda: jax.numpy.zeros(8), shape)], jax.random.key(0)

    def run() -> None:
        for batch in experiment.stream(0, steps):
            state[0], _ = step(state[0], batch, key)
        jax.block_until_ready(state[0])

    return run


def medjax_side(batch: int) -> Side:
    """Batches of patches, of training data that is kept on the device."""
    from medjax.data import pipeline
    data = noise_dataset(8, (160, 160, 16), (128, 128, 1), tempfile.mkdtemp())
    placed = pipeline.Placed(data.resident(), len(data), seed=0, batch=batch)
    return Side(step_runner(placed, STEPS), settings=f'{batch} patches of 128² per step', units=STEPS)
