"""nnU-Net's whole augmentation of a batch: medjax's, batchgeneratorsv2's and MONAI's."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medjax.bench.side import Side
from medjax.machine import cores

CLASSES = 4
BATCHES = 8  # that a repetition consists of: what is drawn differs, and so does what it takes


def batch(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Smooth images `[B, *S, 1]` and labels `[B, *S]`."""
    from scipy import ndimage
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=shape), (0, *[4] * (len(shape) - 2), 0))
    image = (image / image.std()).astype(np.float32)
    return image, np.digitize(image[..., 0], (-1, 0, 1)).astype(np.int32)


def ours(shape: Sequence[int]) -> Side:
    """One compiled program for the batch; new draws each time."""
    import jax

    from medjax.data.transforms.augment import NNUNET, Recipe
    image, label = jax.device_put(batch(shape))
    index, key = jax.numpy.arange(shape[0], dtype=jax.numpy.uint32), jax.random.key(0)
    run, count = jax.jit(Recipe(**NNUNET)), itertools.count()

    def once():
        for _ in range(BATCHES):
            jax.block_until_ready(run({'image': image, 'label': label, 'index': index},
                                      jax.random.fold_in(key, next(count))))

    return Side(once, settings='one program for the batch', parts=BATCHES)


def transforms(patch: tuple[int, ...]) -> Any:
    """nnU-Net v2's own list of transforms for training, by batchgeneratorsv2."""
    import torch  # noqa: F401 - first, as the package wants it
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform
    angle = np.pi if len(patch) == 2 else np.pi / 6
    return ComposeTransforms([
        SpatialTransform(patch, patch_center_dist_from_border=0, random_crop=False, p_elastic_deform=0, p_rotation=0.2,
                         rotation=(-angle, angle), p_scaling=0.2, scaling=(0.7, 1.4),
                         p_synchronize_scaling_across_axes=1, bg_style_seg_sampling=False),
        RandomTransform(GaussianNoiseTransform((0, 0.1), p_per_channel=1, synchronize_channels=True), 0.1),
        RandomTransform(GaussianBlurTransform((0.5, 1.0), synchronize_channels=False, synchronize_axes=False,
                                              p_per_channel=0.5, benchmark=True), 0.2),
        RandomTransform(MultiplicativeBrightnessTransform(BGContrast((0.75, 1.25)), synchronize_channels=False,
                                                          p_per_channel=1), 0.15),
        RandomTransform(ContrastTransform(BGContrast((0.75, 1.25)), preserve_range=True, synchronize_channels=False,
                                          p_per_channel=1), 0.15),
        RandomTransform(SimulateLowResolutionTransform((0.5, 1), synchronize_channels=False, synchronize_axes=True,
                                                       ignore_axes=(), allowed_channels=None, p_per_channel=0.5), 0.25),
        RandomTransform(GammaTransform(BGContrast((0.7, 1.5)), p_invert_image=1, synchronize_channels=False,
                                       p_per_channel=1, p_retain_stats=1), 0.1),
        RandomTransform(GammaTransform(BGContrast((0.7, 1.5)), p_invert_image=0, synchronize_channels=False,
                                       p_per_channel=1, p_retain_stats=1), 0.3),
        MirrorTransform(tuple(range(len(patch))))])


def samples(shape: Sequence[int]) -> list[tuple[Any, Any]]:
    """The batch's images and labels as PyTorch's transforms take them."""
    import torch
    image, label = batch(shape)
    return [(torch.from_numpy(np.moveaxis(i, -1, 0).copy()), torch.from_numpy(s[None].astype(np.int16)))
            for i, s in zip(image, label)]


def loader(shape: Sequence[int]) -> Iterator[Any]:
    """Endless augmented batches, by as many processes as the machine has cores, as nnU-Net's training has them."""
    import torch
    whole, pairs = transforms(tuple(shape[1:-1])), samples(shape)

    class Endless(torch.utils.data.IterableDataset):
        """One augmented pair after the other."""

        def __iter__(self) -> Iterator[Any]:
            torch.set_num_threads(1)
            for image, label in itertools.cycle(pairs):
                done = whole(image=image, segmentation=label)
                yield done['image'], done['segmentation'][0].long()

    return iter(torch.utils.data.DataLoader(Endless(), shape[0], num_workers=cores(),
                                            pin_memory=torch.cuda.is_available(), prefetch_factor=4))


def batchgenerators(shape: Sequence[int]) -> Side:
    """Sample by sample, by batchgeneratorsv2."""
    whole, pairs = transforms(tuple(shape[1:-1])), samples(shape)

    def once():
        for _ in range(BATCHES):
            for image, label in pairs:
                whole(image=image, segmentation=label)

    return Side(once, settings="nnU-Net v2's probabilities and ranges, sample by sample", parts=BATCHES)


def monai(shape: Sequence[int]) -> Side:
    """The same kinds of transforms of MONAI, with the same probabilities, sample by sample."""
    import torch
    from monai import transforms as t
    dims = len(shape) - 2
    angle = np.pi if dims == 2 else np.pi / 6
    rotate = dict(rotate_range=[angle] * (1 if dims == 2 else 3))
    both = ['image', 'label']
    whole = t.Compose([
        t.RandAffined(both, prob=0.36, **rotate, scale_range=[(-0.3, 0.4)] * dims, mode=('bilinear', 'nearest'),
                      padding_mode='border'),
        t.RandGaussianNoised('image', prob=0.1, std=0.3),
        t.RandGaussianSmoothd('image', prob=0.1, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0), sigma_z=(0.5, 1.0)),
        t.RandScaleIntensityd('image', factors=0.25, prob=0.15),
        t.RandAdjustContrastd('image', prob=0.15, gamma=(0.75, 1.25)),
        *([t.RandSimulateLowResolutiond('image', prob=0.125, zoom_range=(0.5, 1.0))] if dims == 3 else []),  # 3D only
        t.RandAdjustContrastd('image', prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
        t.RandAdjustContrastd('image', prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
        *[t.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(dims)]])
    image, label = batch(shape)
    image = torch.from_numpy(np.moveaxis(image, -1, 1).copy())
    label = torch.from_numpy(label[:, None].copy())

    def once():
        for _ in range(BATCHES):
            for i, s in zip(image, label):
                whole({'image': i, 'label': s})

    return Side(once, settings='the nearest transforms MONAI has, with the same probabilities, sample by sample',
                parts=BATCHES)
