"""Whole volumes through a network in windows, to labels: medjax's `Sliding` and MONAI's `sliding_window_inference`."""

import math
from collections.abc import Sequence

import numpy as np

from medjax.bench.side import Side
from medjax.bench.train import network_unet, torch_network_unet

OVERLAP = 0.5


def volume(size: int) -> np.ndarray:
    """An image `[X, Y, Z, 1]` float32."""
    return np.random.default_rng(0).normal(size=(size, size, size, 1)).astype(np.float32)


def ours(size: int, window: Sequence[int], base: int, levels: int, classes: int, batch: int) -> Side:
    """medjax's, labels on the host."""
    import jax

    from medjax.core import cost
    from medjax.ops.sliding_windows import SlidingWindowInference, window_starts
    from medjax.tasks.segmentation import task as segmentation_task
    thin = tuple(n for n in window if n > 1)
    network = network_unet(len(thin), classes, base, levels)
    task = segmentation_task.task(network, statistics=dict(classes=tuple(map(str, range(classes)))), loss=dict(cross_entropy=1.0))
    image = volume(size)
    example = {'image': np.zeros((1, *thin, 1), np.float32)}
    variables = jax.jit(task.init)(jax.random.key(0), example)

    def forward(variables, image):
        return task.predict(variables, {'image': image})['probs']

    sliding = SlidingWindowInference(forward, window=window, overlap=OVERLAP, batch=batch)
    count = math.prod(len(window_starts(size, extent, OVERLAP)) for extent in window)
    return Side(lambda: sliding(variables, image)[0], sum(x.size for x in jax.tree.leaves(variables)),
                lambda: count * cost.flops(forward, variables, example['image']),
                f'{batch} windows at a time; softmax, argmax and confidence included')


def monai(size: int, window: Sequence[int], base: int, levels: int, classes: int, batch: int, last: bool) -> Side:
    """MONAI's, labels by argmax of the blended logits."""
    import torch
    from monai.inferers import sliding_window_inference
    thin = [n for n in window if n > 1]
    network = torch_network_unet(len(thin), 1, classes, base, levels).train(False)
    layout = torch.channels_last_3d if len(thin) == 3 else torch.channels_last
    if last:
        network = network.to(memory_format=layout)
    # `[1, 1, X, Y, Z]`; for a 2D network its slices as a batch, so that windows of several go together.
    image = torch.from_numpy(volume(size)[..., 0].copy())
    image = image[None, None] if len(thin) == 3 else image.movedim(2, 0)[:, None]

    def forward(x):
        return network(x.to(memory_format=layout) if last else x)

    def run():
        with torch.inference_mode():
            return sliding_window_inference(image, thin, batch, forward, overlap=OVERLAP,
                                            mode='gaussian').argmax(1).numpy()

    return Side(run, sum(p.numel() for p in network.parameters()), settings=(
        f'inference mode, {batch} windows at a time, {"channels last" if last else "channels first"}'))
