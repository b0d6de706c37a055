"""A whole train step: forward, loss, backward and update, of the same network in medjax and in PyTorch."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from medjax.bench.side import Side

CLASSES = 4


def example(shape: Sequence[int], classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """An image batch `[B, *S, C]` float32 and labels: `[B, *S]` for volumes and planes."""
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).astype(np.float32), rng.integers(0, classes, shape[:-1]).astype(np.int32)


def network_unet(dims: int, classes: int, base: int, levels: int, precision: str = 'float32') -> Any:
    """nnU-Net's network without deep supervision, in medjax."""
    from medjax import build
    return build.network(dict(name='unet', variant='nnunet', dims=dims, classes=classes, base=base, levels=levels,
                              deep=False), precision)


def torch_network_unet(dims: int, channels: int, classes: int, base: int, levels: int) -> Any:
    """The same by MONAI's DynUNet."""
    from monai.networks.nets import DynUNet
    widths = [min(base * 2**level, 512) for level in range(levels)]
    return DynUNet(dims, channels, classes, [3] * levels, [1] + [2] * (levels - 1), [2] * (levels - 1), widths,
                   norm_name=('INSTANCE', {'affine': True}), trans_bias=True,
                   act_name=('leakyrelu', {'inplace': True, 'negative_slope': 0.01}))


def unet(shape: Sequence[int], base: int, levels: int, augmented: bool = False, precision: str = 'float32') -> Side:
    """medjax's step on nnU-Net's network without deep supervision, and SGD as nnU-Net's."""
    from medjax import build
    from medjax.tasks.segmentation import task as segmentation_task
    image, label = example(shape)
    network = network_unet(len(shape) - 2, CLASSES, base, levels, precision)
    task = segmentation_task.task(network, statistics=dict(classes=tuple(map(str, range(CLASSES)))),
                        loss=dict(cross_entropy=1.0, soft_dice=1.0))
    augment = build.augmentation(dict(name='nnunet')) if augmented else None
    return step(task, {'image': image, 'label': label}, augment=augment)


def command(**options: Any) -> Side:
    """The same with all that the command `medjax.train` imports, and with its log."""
    import pathlib
    import tempfile

    from medjax import training
    from medjax.core.log import Writer
    del training  # imported for the time that it takes
    writer, made = Writer(pathlib.Path(tempfile.mkdtemp()), 0), unet(**options)

    def run() -> None:
        made.run()
        writer.write(1, {'train/loss': 1.0})

    return dataclasses.replace(made, run=run)


def classifier(name: str, variant: str, shape: Sequence[int], classes: int, precision: str = 'float32',
               **options: Any) -> Side:
    """medjax's step on a classification network, with AdamW."""
    from medjax import build
    from medjax.tasks.classification import task as classification_task
    network = build.network(dict(name=name, variant=variant, dims=2, classes=classes, **options), precision)
    task = classification_task.task(network, statistics=dict(classes=tuple(map(str, range(classes)))))
    image, _ = example(shape)
    label = np.random.default_rng(1).integers(0, classes, shape[0]).astype(np.int32)
    return step(task, {'image': image, 'label': label}, dict(name='adamw', lr=1e-3, weight_decay=1e-2))


def step(task: Any, batch: dict[str, np.ndarray], optim: dict[str, Any] | None = None, augment: Any = None) -> Side:
    """The train step that `medjax.train` compiles, fed the same batch again and again, already on the device."""
    import jax

    from medjax import build
    from medjax.core import cost, state
    from medjax.core.sharding import Jit
    from medjax.core.step import make_step
    optimiser, _ = build.optimiser(optim or dict(name='sgd', lr=1e-2, weight_decay=3e-5), 1000)
    batch = {**batch, 'mask': np.ones(len(batch['image']), np.float32),
             'index': np.arange(len(batch['image']), dtype=np.uint32)}
    plan = Jit()

    def create() -> state.TrainState:
        return state.create_state(task, optimiser, jax.random.key(0), {k: v[:1] for k, v in batch.items()})

    abstract = jax.eval_shape(create)
    whole = make_step(task, optimiser, augment=augment)
    compiled, key = plan.compile(whole, abstract), jax.random.key(0)
    placed, held = plan.place_batch(batch), [plan.init_state(create, abstract)]

    def run() -> None:
        held[0], _ = compiled(held[0], placed, key)
        jax.block_until_ready(held[0])

    return Side(run, sum(leaf.size for leaf in jax.tree.leaves(abstract.params)),
                lambda: cost.flops(whole, abstract, batch, key), 'one program; state donated')


def torch_step(network: Any, loss: Callable[[Any, Any], Any], optimiser: Any, image: np.ndarray, label: np.ndarray,
               last: bool, device: str = 'cpu', feed: Callable[[], Iterator[Any]] | None = None) -> Side:
    """PyTorch's step on channels-first data.

    Args:
      network: PyTorch's.
      loss: of its output and the label.
      optimiser: makes one of parameters.
      image: `[B, *S, C]`.
      label: `[B, *S]` or `[B]`.
      last: keep channels innermost in memory.
      device: on 'cuda' it computes in bfloat16 by autocast, and the network is compiled.
      feed: gives what gives batches, on the host, in place of image and label.
    """
    import torch
    dims, fast = image.ndim - 2, device != 'cpu'
    layout = {'memory_format': torch.channels_last_3d if dims == 3 else torch.channels_last} if last else {}
    x = torch.from_numpy(np.moveaxis(image, -1, 1).copy()).to(device, **layout)
    y = torch.from_numpy(label.astype(np.int64)).to(device)
    network = network.to(device, **layout)
    update = optimiser(network.parameters())
    parameters = sum(p.numel() for p in network.parameters())
    called = torch.compile(network) if fast else network
    batches = feed() if feed else None

    def run() -> None:
        images, labels = x, y
        if batches is not None:
            images, labels = (t.to(device, non_blocking=True) for t in next(batches))
            images = images.to(**layout) if layout else images
        update.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=fast):
            value = loss(called(images), labels)
        value.backward()
        update.step()
        if fast:
            torch.cuda.synchronize()

    how = 'bfloat16 autocast, torch.compile' if fast else f'eager, {torch.get_num_threads()} threads'
    return Side(run, parameters, settings=f'{how}, channels {"last" if last else "first"}')


def torch_unet(shape: Sequence[int], base: int, levels: int, last: bool, device: str = 'cpu',
               augmented: bool = False) -> Side:
    """The same network by MONAI's DynUNet in PyTorch, with MONAI's loss; batchgeneratorsv2 augments, if asked."""
    import torch
    from monai.losses import DiceCELoss

    from medjax.bench import augment
    image, label = example(shape)
    network = torch_network_unet(len(shape) - 2, shape[-1], CLASSES, base, levels)
    criterion = DiceCELoss(include_background=False, softmax=True, to_onehot_y=True, batch=False)
    return torch_step(network, lambda out, y: criterion(out, y[:, None]), functools.partial(
        torch.optim.SGD, lr=1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5), image, label, last, device,
        functools.partial(augment.loader, shape) if augmented else None)


def torch_classifier(name: str, shape: Sequence[int], classes: int, last: bool, device: str = 'cpu',
                     small: bool = False) -> Side:
    """The same network by MONAI, in PyTorch."""
    import torch
    from monai.networks import nets
    if name.startswith('resnet'):
        stem = dict(conv1_t_size=3, conv1_t_stride=1, no_max_pool=True) if small else {}
        network = getattr(nets, name)(spatial_dims=2, n_input_channels=shape[-1], num_classes=classes,
                                      shortcut_type='B', bias_downsample=False, **stem)
    else:
        network = nets.DenseNet121(spatial_dims=2, in_channels=shape[-1], out_channels=classes)
    image, _ = example(shape)
    label = np.random.default_rng(1).integers(0, classes, shape[0])
    return torch_step(network, torch.nn.functional.cross_entropy, functools.partial(
        torch.optim.AdamW, lr=1e-3, weight_decay=1e-2), image, label, last, device)
