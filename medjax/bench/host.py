"""What the host does for each step while the device computes."""

import functools
import tempfile

import numpy as np

from medjax.bench.side import Side

STEPS, CASES, SHAPE, PATCH = 200, 8, (160, 160, 16), (128, 128, 1)


def _read(number: int):
    """A simulated case: noise, and a box that is labelled."""
    from medjax.data.geometry import Image
    image = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
    label = np.zeros(SHAPE, np.uint8)
    label[40:80, 40:80, 4:8] = 1
    return Image(image, np.eye(4), ''), Image(label, np.eye(4), '')


def ours(batch: int) -> Side:
    """Batches of patches as the loop has them, handed to a step that computes next to nothing."""
    import jax

    from medjax.core.experiment import Experiment
    from medjax.core.sharding import Jit
    from medjax.data import pipeline
    from medjax.data.source import Case, Source
    from medjax.data.volumes import dataset
    cases = tuple(Case(id=f'{n}', patient=f'{n}', split='train', read=functools.partial(_read, n))
                  for n in range(CASES))
    data = dataset(Source(cases=cases, classes=('background', 'box')), patch=PATCH, crop=False,
                   cache=tempfile.mkdtemp())
    placed = pipeline.Placed(data.resident(), len(data), seed=0, batch=batch)
    plan = Jit()
    nothing = dict.fromkeys(('task', 'batches', 'augment', 'optimiser', 'schedule', 'evaluator'))
    experiment = Experiment(**nothing, data=data, plan=plan, seed=0, steps=STEPS, placed=placed)
    shape = jax.ShapeDtypeStruct((8,), np.float32)
    held, key = [plan.initial(lambda: jax.numpy.zeros(8), shape)], jax.random.key(0)
    step = plan.compile(lambda state, batch, key: (state + batch['place'][0, 0], {'loss': state.sum()}), shape)

    def run() -> None:
        for placed in experiment.stream(0, STEPS):
            held[0], _ = step(held[0], placed, key)
        jax.block_until_ready(held[0])

    return Side(run, settings=f'{batch} patches of 128² a step, of {CASES} cases that lie on the device', parts=STEPS)
