"""A train step of the same network in medjax and in PyTorch: forward, loss, backward and update."""

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


def unet_network(dims: int, classes: int, base: int, levels: int, precision: str = 'float32') -> Any:
    """The network of nnU-Net without deep supervision, in medjax."""
    from medjax import build
    return build.network(dict(name='unet', variant='nnunet', dims=dims, classes=classes, base=base, levels=levels,
                              deep_supervision=False), precision)


def dynunet_network(dims: int, channels: int, classes: int, base: int, levels: int) -> Any:
    """MONAI's DynUNet with the architecture of `unet_network`."""
    from monai.networks.nets import DynUNet
    widths = [min(base * 2**level, 512) for level in range(levels)]
    return DynUNet(dims, channels, classes, [3] * levels, [1] + [2] * (levels - 1), [2] * (levels - 1), widths,
                   norm_name=('INSTANCE', {'affine': True}), trans_bias=True,
                   act_name=('leakyrelu', {'inplace': True, 'negative_slope': 0.01}))


def unet_side(shape: Sequence[int], base: int, levels: int, augmented: bool = False,
              precision: str = 'float32') -> Side:
    """medjax: the network of nnU-Net without deep supervision, with nnU-Net's SGD."""
    from medjax import build
    from medjax.tasks.segmentation import task as segmentation_task
    image, label = example(shape)
    network = unet_network(len(shape) - 2, CLASSES, base, levels, precision)
    task = segmentation_task.task(network, statistics=dict(classes=tuple(map(str, range(CLASSES)))),
                                  loss=dict(cross_entropy=1.0, soft_dice=1.0))
    augment = build.augmentation(dict(name='nnunet')) if augmented else None
    return step_side(task, {'image': image, 'label': label}, augment=augment)


def command_side(**options: Any) -> Side:
    """medjax: the step of `unet_side` with the imports of the command `medjax.train`, and with its log."""
    import pathlib
    import tempfile

    from medjax import training  # noqa: F401 - for the time that it takes
    from medjax.core.log import Writer
    writer, side = Writer(pathlib.Path(tempfile.mkdtemp()), 0), unet_side(**options)

    def run() -> None:
        side.run()
        writer.write(1, {'train/loss': 1.0})

    return dataclasses.replace(side, run=run)


def classifier_side(name: str, variant: str, shape: Sequence[int], classes: int, precision: str = 'float32',
                    **options: Any) -> Side:
    """medjax: a classification network, with AdamW."""
    from medjax import build
    from medjax.tasks.classification import task as classification_task
    network = build.network(dict(name=name, variant=variant, dims=2, classes=classes, **options), precision)
    task = classification_task.task(network, statistics=dict(classes=tuple(map(str, range(classes)))))
    image, _ = example(shape)
    label = np.random.default_rng(1).integers(0, classes, shape[0]).astype(np.int32)
    return step_side(task, {'image': image, 'label': label}, dict(name='adamw', lr=1e-3, weight_decay=1e-2))


def step_side(task: Any, batch: dict[str, np.ndarray], optim: dict[str, Any] | None = None,
              augment: Any = None) -> Side:
    """The train step that `medjax.train` compiles, with one batch that is already on the device."""
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
    train_step = make_step(task, optimiser, augment=augment)
    compiled, key = plan.compile(train_step, abstract), jax.random.key(0)
    placed, current = plan.place_batch(batch), [plan.init_state(create, abstract)]

    def run() -> None:
        current[0], _ = compiled(current[0], placed, key)
        jax.block_until_ready(current[0])

    return Side(run, sum(leaf.size for leaf in jax.tree.leaves(abstract.params)),
                lambda: cost.flops(train_step, abstract, batch, key), 'one program; state donated')


def torch_step_side(network: Any, loss: Callable[[Any, Any], Any], optimiser: Any, image: np.ndarray,
                    label: np.ndarray, last: bool, device: str = 'cpu',
                    feed: Callable[[], Iterator[Any]] | None = None) -> Side:
    """A train step in PyTorch.

    Args:
      network: the PyTorch module.
      loss: `(output, label) -> scalar`.
      optimiser: `(parameters) -> optimiser`.
      image: `[B, *S, C]`.
      label: `[B, *S]` or `[B]`.
      last: use the memory format with channels last.
      device: on 'cuda' the step computes in bfloat16 by autocast, and the network is compiled.
      feed: `() -> iterator` of batches on the host, in place of image and label.
    """
    import torch
    dims, fast, layout = image.ndim - 2, device != 'cpu', {}
    if last:
        layout = {'memory_format': torch.channels_last_3d if dims == 3 else torch.channels_last}
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

    mode = 'bfloat16 autocast, torch.compile' if fast else f'eager, {torch.get_num_threads()} threads'
    return Side(run, parameters, settings=f'{mode}, channels {"last" if last else "first"}')


def torch_unet_side(shape: Sequence[int], base: int, levels: int, last: bool, device: str = 'cpu',
                    augmented: bool = False) -> Side:
    """PyTorch: the same network as MONAI's DynUNet, with MONAI's loss; optionally batchgeneratorsv2 augments.

    Args:
      shape: `[B, *S, C]` of the images.
      base: number of features of the first level.
      levels: number of levels.
      last: use the memory format with channels last.
      device: 'cpu' or 'cuda'.
      augmented: whether batches are augmented in worker processes.
    """
    import torch
    from monai.losses import DiceCELoss

    from medjax.bench import augment
    image, label = example(shape)
    network = dynunet_network(len(shape) - 2, shape[-1], CLASSES, base, levels)
    criterion = DiceCELoss(include_background=False, softmax=True, to_onehot_y=True, batch=False)
    optimiser = functools.partial(torch.optim.SGD, lr=1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)

    def loss(output: Any, label: Any) -> Any:
        return criterion(output, label[:, None])

    feed = functools.partial(augment.torch_loader, shape) if augmented else None
    return torch_step_side(network, loss, optimiser, image, label, last, device, feed)


def torch_classifier_side(name: str, shape: Sequence[int], classes: int, last: bool, device: str = 'cpu',
                          small_images: bool = False) -> Side:
    """PyTorch: the same classification network, from MONAI."""
    import torch
    from monai.networks import nets
    if name.startswith('resnet'):
        stem = dict(conv1_t_size=3, conv1_t_stride=1, no_max_pool=True) if small_images else {}
        network = getattr(nets, name)(spatial_dims=2, n_input_channels=shape[-1], num_classes=classes,
                                      shortcut_type='B', bias_downsample=False, **stem)
    else:
        network = nets.DenseNet121(spatial_dims=2, in_channels=shape[-1], out_channels=classes)
    image, _ = example(shape)
    label = np.random.default_rng(1).integers(0, classes, shape[0])
    optimiser = functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=1e-2)
    return torch_step_side(network, torch.nn.functional.cross_entropy, optimiser, image, label, last, device)
