"""Whole volumes through a network in windows, to labels: medjax's `Sliding` and MONAI's `sliding_window_inference`."""

import math
from collections.abc import Sequence

import numpy as np

from medjax.bench.side import Side

OVERLAP = 0.5


def volume(size: int) -> np.ndarray:
    """An image `[X, Y, Z, 1]` float32."""
    return np.random.default_rng(0).normal(size=(size, size, size, 1)).astype(np.float32)


def ours(size: int, window: Sequence[int], base: int, levels: int, classes: int, batch: int) -> Side:
    """medjax's, labels on the host."""
    from medjax import entry
    entry.prepare()
    import jax

    from medjax import build
    from medjax.core import cost
    from medjax.ops.windows import Sliding, starts
    from medjax.tasks import segment
    thin = tuple(n for n in window if n > 1)
    network = build.network(dict(name='unet', variant='nnunet', dims=len(thin), classes=classes, base=base,
                                 levels=levels, deep=False), 'float32')
    task = segment.task(network, classes=tuple(map(str, range(classes))), loss=dict(cross_entropy=1.0))
    image = volume(size)
    example = {'image': np.zeros((1, *thin, 1), np.float32)}
    variables = jax.jit(task.init)(jax.random.key(0), example)

    def forward(variables, image):
        return task.predict(variables, {'image': image})['probs']

    sliding = Sliding(forward, window=window, overlap=OVERLAP, batch=batch)
    count = math.prod(len(starts(size, extent, OVERLAP)) for extent in window)
    return Side(lambda: sliding(variables, image)[0], sum(x.size for x in jax.tree.leaves(variables)),
                lambda: count * cost.flops(forward, variables, example['image']),
                f'{batch} windows at a time; softmax, argmax and confidence included')


def monai(size: int, window: Sequence[int], base: int, levels: int, classes: int, batch: int, last: bool) -> Side:
    """MONAI's, labels by argmax of the blended logits."""
    import os

    import torch
    from monai.inferers import sliding_window_inference
    from monai.networks.nets import DynUNet
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    thin = [n for n in window if n > 1]
    widths = [min(base * 2**level, 512) for level in range(levels)]
    network = DynUNet(len(thin), 1, classes, [3] * levels, [1] + [2] * (levels - 1), [2] * (levels - 1), widths,
                      norm_name=('INSTANCE', {'affine': True}), trans_bias=True,
                      act_name=('leakyrelu', {'inplace': True, 'negative_slope': 0.01})).train(False)
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
