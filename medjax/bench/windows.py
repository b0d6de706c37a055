"""Sliding window inference of whole volumes, up to labels, by medjax and by MONAI."""

import math
from collections.abc import Sequence

import numpy as np

from medjax.bench.side import Side
from medjax.bench.train import dynunet_network, unet_network

OVERLAP = 0.5


def volume(size: int) -> np.ndarray:
    """An image `[X, Y, Z, 1]` float32."""
    return np.random.default_rng(0).normal(size=(size, size, size, 1)).astype(np.float32)


def medjax_side(size: int, window: Sequence[int], base: int, levels: int, classes: int, batch: int) -> Side:
    """medjax: labels on the host."""
    import jax

    from medjax.core import cost
    from medjax.ops.sliding_windows import SlidingWindowInference, window_starts
    from medjax.tasks.segmentation import task as segmentation_task
    extents = tuple(n for n in window if n > 1)
    network = unet_network(len(extents), classes, base, levels)
    task = segmentation_task.task(network, statistics=dict(classes=tuple(map(str, range(classes)))),
                                  loss=dict(cross_entropy=1.0))
    image = volume(size)
    example = {'image': np.zeros((1, *extents, 1), np.float32)}
    variables = jax.jit(task.init)(jax.random.key(0), example)

    def forward(variables, image):
        return task.predict(variables, {'image': image})['probs']

    sliding = SlidingWindowInference(forward, window=window, overlap=OVERLAP, batch=batch)
    count = math.prod(len(window_starts(size, extent, OVERLAP)) for extent in window)
    return Side(lambda: sliding(variables, image)[0], sum(x.size for x in jax.tree.leaves(variables)),
                lambda: count * cost.flops(forward, variables, example['image']),
                f'{batch} windows at a time; softmax, argmax and confidence included')


def monai_side(size: int, window: Sequence[int], base: int, levels: int, classes: int, batch: int, last: bool) -> Side:
    """MONAI: labels by the argmax of the blended logits."""
    import torch
    from monai.inferers import sliding_window_inference
    extents = [n for n in window if n > 1]
    network = dynunet_network(len(extents), 1, classes, base, levels).train(False)
    layout = torch.channels_last_3d if len(extents) == 3 else torch.channels_last
    if last:
        network = network.to(memory_format=layout)
    # `[1, 1, X, Y, Z]`; for a 2D network the slices form a batch, so that windows of several slices are batched.
    image = torch.from_numpy(volume(size)[..., 0].copy())
    image = image[None, None] if len(extents) == 3 else image.movedim(2, 0)[:, None]

    def forward(x):
        return network(x.to(memory_format=layout) if last else x)

    def run():
        with torch.inference_mode():
            return sliding_window_inference(image, extents, batch, forward, overlap=OVERLAP,
                                            mode='gaussian').argmax(1).numpy()

    return Side(run, sum(p.numel() for p in network.parameters()), settings=(
        f'inference mode, {batch} windows at a time, {"channels last" if last else "channels first"}'))
