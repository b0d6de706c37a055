"""nnU-Net's augmentation of a batch by medjax, batchgeneratorsv2 and MONAI."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medjax.bench.side import Side
from medjax.machine import cores

CLASSES = 4
BATCHES = 8  # number of batches in a repetition; the time of a batch depends on the transforms that are drawn


def example_batch(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Smooth images `[B, *S, 1]` and labels `[B, *S]`."""
    from scipy import ndimage
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=shape), (0, *[4] * (len(shape) - 2), 0))
    image = (image / image.std()).astype(np.float32)
    return image, np.digitize(image[..., 0], (-1, 0, 1)).astype(np.int32)


def medjax_side(shape: Sequence[int]) -> Side:
    """medjax: one compiled program for the batch, with new random numbers each time."""
    import jax

    from medjax.data.transforms.augment import NNUNET, Recipe
    image, label = jax.device_put(example_batch(shape))
    index, key = jax.numpy.arange(shape[0], dtype=jax.numpy.uint32), jax.random.key(0)
    run, count = jax.jit(Recipe(**NNUNET)), itertools.count()

    def once():
        for _ in range(BATCHES):
            jax.block_until_ready(run({'image': image, 'label': label, 'index': index},
                                      jax.random.fold_in(key, next(count))))

    return Side(once, settings='one program for the batch', units=BATCHES)


def nnunet_transforms(patch: tuple[int, ...]) -> Any:
    """The list of training transforms of nnU-Net v2, from batchgeneratorsv2."""
    import torch  # noqa: F401 - must be imported before batchgeneratorsv2
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


def torch_samples(shape: Sequence[int]) -> list[tuple[Any, Any]]:
    """The images and labels of the batch as tensors with channels first."""
    import torch
    image, label = example_batch(shape)
    return [(torch.from_numpy(np.moveaxis(i, -1, 0).copy()), torch.from_numpy(s[None].astype(np.int16)))
            for i, s in zip(image, label)]


def torch_loader(shape: Sequence[int]) -> Iterator[Any]:
    """Endless augmented batches from as many worker processes as there are cores, as in nnU-Net's training."""
    import torch
    transform, pairs = nnunet_transforms(tuple(shape[1:-1])), torch_samples(shape)

    class Endless(torch.utils.data.IterableDataset):
        """Augmented pairs of image and label, without an end."""

        def __iter__(self) -> Iterator[Any]:
            torch.set_num_threads(1)
            for image, label in itertools.cycle(pairs):
                done = transform(image=image, segmentation=label)
                yield done['image'], done['segmentation'][0].long()

    return iter(torch.utils.data.DataLoader(Endless(), shape[0], num_workers=cores(),
                                            pin_memory=torch.cuda.is_available(), prefetch_factor=4))


def batchgenerators_side(shape: Sequence[int]) -> Side:
    """batchgeneratorsv2, sample by sample."""
    transform, pairs = nnunet_transforms(tuple(shape[1:-1])), torch_samples(shape)

    def once():
        for _ in range(BATCHES):
            for image, label in pairs:
                transform(image=image, segmentation=label)

    return Side(once, settings="nnU-Net v2's probabilities and ranges, sample by sample", units=BATCHES)


def monai_side(shape: Sequence[int]) -> Side:
    """MONAI's transforms of the same kinds, with the same probabilities, sample by sample."""
    import torch
    from monai import transforms as t
    dims = len(shape) - 2
    angle = np.pi if dims == 2 else np.pi / 6
    rotate = dict(rotate_range=[angle] * (1 if dims == 2 else 3))
    both = ['image', 'label']
    low_resolution = []
    if dims == 3:  # the transform has no 2D version
        low_resolution = [t.RandSimulateLowResolutiond('image', prob=0.125, zoom_range=(0.5, 1.0))]
    transform = t.Compose([
        t.RandAffined(both, prob=0.36, **rotate, scale_range=[(-0.3, 0.4)] * dims, mode=('bilinear', 'nearest'),
                      padding_mode='border'),
        t.RandGaussianNoised('image', prob=0.1, std=0.3),
        t.RandGaussianSmoothd('image', prob=0.1, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0), sigma_z=(0.5, 1.0)),
        t.RandScaleIntensityd('image', factors=0.25, prob=0.15),
        t.RandAdjustContrastd('image', prob=0.15, gamma=(0.75, 1.25)),
        *low_resolution,
        t.RandAdjustContrastd('image', prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
        t.RandAdjustContrastd('image', prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
        *[t.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(dims)]])
    image, label = example_batch(shape)
    image = torch.from_numpy(np.moveaxis(image, -1, 1).copy())
    label = torch.from_numpy(label[:, None].copy())

    def once():
        for _ in range(BATCHES):
            for i, s in zip(image, label):
                transform({'image': i, 'label': s})

    return Side(once, settings='the closest transforms of MONAI, with the same probabilities, sample by sample',
                units=BATCHES)
