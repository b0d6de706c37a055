"""What the host does for each step while the device computes."""

import numpy as np

from medjax.bench.side import Side

STEPS = 200


def ours() -> Side:
    """Batches from the pipeline, placed and handed to a step that computes next to nothing, as the loop does it."""
    import jax

    from medjax.bench.train import example
    from medjax.build import Batches
    from medjax.core.sharding import Jit
    from medjax.data import pipeline
    image, label = example((64, 128, 128, 1))

    class Slices:
        """Pictures that lie in memory."""

        def __len__(self) -> int:
            return len(image)

        def item(self, number: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
            """One of them."""
            return {'image': image[number], 'label': label[number], 'id': f'{number}'}

    batches = Batches(pipeline.batches(Slices(), seed=0, batch=4))
    plan = Jit()
    state = plan.initial(lambda: jax.numpy.zeros(8), jax.ShapeDtypeStruct((8,), np.float32))
    step = plan.compile(lambda state, batch, key: (state + batch['image'][0, 0, 0, 0], {'loss': state.sum()}),
                        jax.ShapeDtypeStruct((8,), np.float32))
    held, key = [state], jax.random.key(0)

    def run() -> None:
        for batch in batches.stream(0, STEPS):
            batch.pop('id')
            held[0], _ = step(held[0], plan.place_batch(batch), key)
        jax.block_until_ready(held[0])

    return Side(run, settings='4 pictures of 128² a step', parts=STEPS)
