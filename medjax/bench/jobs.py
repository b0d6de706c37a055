"""What is measured, and against whom."""

import functools
from typing import Any

from medjax.bench import augment, host, matmul, registration, train, volumes, windows
from medjax.bench.side import Job

_ = functools.partial
UNET2D, UNET3D = dict(shape=(4, 128, 128, 1), base=32, levels=5), dict(shape=(1, 64, 64, 64, 1), base=16, levels=4)
WINDOW2D = dict(size=128, window=(64, 64, 1), base=32, levels=5, classes=4)
WINDOW3D = dict(size=128, window=(64, 64, 64), base=16, levels=4, classes=4)


def _layouts(make, **options):
    """PyTorch in both of its memory layouts: the faster one counts."""
    return {'torch': _(make, **options, last=False), 'torch channels last': _(make, **options, last=True)}


START = {'medjax': _(train.command, **UNET2D)}
PEER_START = {'torch and MONAI': _(train.torch_unet, **UNET2D, last=False)}
JOBS: dict[str, Job] = {
    'matmul': Job('a product of two 2048² matrices: the peak that others are a fraction of',
                  {'medjax': _(matmul.ours, 2048)}, {'torch': _(matmul.torch, 2048)}, 1.0),
    'train_unet2d': Job('train step, U-Net, 4×128², base 32, 5 levels, instance norm, SGD',
                        {'medjax': _(train.unet, **UNET2D)}, _layouts(train.torch_unet, **UNET2D), 1.0),
    'train_unet3d': Job('train step, U-Net, 1×64³, base 16, 4 levels, instance norm, SGD',
                        {'medjax': _(train.unet, **UNET3D)}, _layouts(train.torch_unet, **UNET3D), 1.0),
    'train_resnet18': Job('train step, ResNet-18 with the small stem, 128×28²×3, AdamW',
                          {'medjax': _(train.classifier, 'resnet', '18', (128, 28, 28, 3), 9, small=True)},
                          _layouts(train.torch_classifier, name='resnet18', shape=(128, 28, 28, 3), classes=9,
                                    small=True), 1.0),
    'train_densenet121': Job('train step, DenseNet-121, 8×224²×3, AdamW',
                             {'medjax': _(train.classifier, 'densenet', '121', (8, 224, 224, 3), 14)},
                             _layouts(train.torch_classifier, name='densenet121', shape=(8, 224, 224, 3), classes=14),
                             1.0),
    'window_unet2d': Job('a volume of 128³ by windows of 64², overlap .5, U-Net of base 32',
                         {'medjax': _(windows.ours, **WINDOW2D, batch=16)},
                         _layouts(windows.monai, **WINDOW2D, batch=16), 1.2),
    'window_unet3d': Job('a volume of 128³ by windows of 64³, overlap .5, U-Net of base 16',
                         {'medjax': _(windows.ours, **WINDOW3D, batch=1)},
                         _layouts(windows.monai, **WINDOW3D, batch=1), 1.2),
    'window_memory': Job('peak memory of the same with 100 classes',
                         {'medjax': _(windows.ours, **{**WINDOW3D, 'classes': 100}, batch=1)},
                         _layouts(windows.monai, **{**WINDOW3D, 'classes': 100}, batch=1), 2.0, 'memory'),
    'augment_2d': Job("nnU-Net's augmentation, 8×256², one core", {'medjax': _(augment.ours, (8, 256, 256, 1))},
                      {'batchgeneratorsv2': _(augment.batchgenerators, (8, 256, 256, 1)),
                       'MONAI': _(augment.monai, (8, 256, 256, 1))}, 5.0, cores=1),
    'augment_3d': Job("nnU-Net's augmentation, 2×64³, one core", {'medjax': _(augment.ours, (2, 64, 64, 64, 1))},
                      {'batchgeneratorsv2': _(augment.batchgenerators, (2, 64, 64, 64, 1)),
                       'MONAI': _(augment.monai, (2, 64, 64, 64, 1))}, 5.0, cores=1),
    'augment_share': Job("nnU-Net's augmentation as a share of the 3D train step, 2×64³",
                         {'step': _(train.unet, (2, 64, 64, 64, 1), 16, 4, augmented=True),
                          'augmentation': _(augment.ours, (2, 64, 64, 64, 1))}, {}, 0.10, 'share'),
    'metrics': Job('Dice, HD95, NSD of 4 classes in 10 volumes of 128³',
                   {'medjax': _(volumes.ours_metrics, 10, 128, area=False)},
                   {'MONAI': _(volumes.monai_metrics, 10, 128)}, 3.0),
    'metrics_area': Job('the same with surfaces by area',
                        {'medjax': _(volumes.ours_metrics, 10, 128, area=True)},
                        {'surface-distance': _(volumes.surface_distance_metrics, 10, 128)}, 3.0),
    'register_2d': Job('a pair of simulated brains, 80×96 at 2 mm: affine and deformable registration, by optimisation',
                       {'medjax': _(registration.ours, (80, 96), 2.0)},
                       {'SimpleITK, correlation': _(registration.simpleitk, (80, 96), 2.0, 'ncc'),
                        'SimpleITK, Mattes': _(registration.simpleitk, (80, 96), 2.0, 'mattes')}, 2.0),
    'register_3d': Job('the same in 3D, 80×96×80 at 2 mm', {'medjax': _(registration.ours, (80, 96, 80), 2.0)},
                       {'SimpleITK, Mattes': _(registration.simpleitk, (80, 96, 80), 2.0, 'mattes')}, 1.0),
    'read': Job('20 NIfTI pairs of 128×128×64 read, brought to RAS and 1.5 mm, and kept',
                {'medjax': _(volumes.ours_read, 20)},
                {'MONAI': _(volumes.monai_read, 20, 0), 'MONAI threads': _(volumes.monai_read, 20, 2),
                 'TorchIO': _(volumes.torchio_read, 20)}, 1.5),
    'start': Job('from the start of a process to its first 2D train step, compiled before', START, PEER_START, 1.0,
                 'first'),
    'start_cold': Job('the same, never compiled before', START, PEER_START, 0.5, 'first',
                      environment={'JAX_COMPILATION_CACHE_DIR': '{fresh}'}),
    'host': Job('what the host does for a step, as the loop calls it', {'medjax': _(host.ours, 8)}, {}, 1.0, 'ms'),
}


def _gpu(what: str, ours: Any, peer: Any, goal: float, **options: Any) -> Job:
    """A job on an accelerator, in bfloat16 on both sides."""
    return Job(f'{what}, bfloat16', {'medjax': _(ours, **options, precision='bfloat16')},
               {'torch channels last': peer}, goal, device='gpu')


def _gpu_classifier(variant: str, shape: tuple[int, ...], small: bool) -> Job:
    return _gpu(f'train step, ResNet-{variant}, {"×".join(map(str, shape))}, AdamW', train.classifier,
                _(train.torch_classifier, f'resnet{variant}', shape, 9, last=True, device='cuda', small=small), 1.2,
                name='resnet', variant=variant, shape=shape, classes=9, small=small)


def _gpu_unet(what: str, goal: float, shape: tuple[int, ...], augmented: bool = False, **options: int) -> Job:
    return _gpu(f'{what}, {"×".join(map(str, shape))}', train.unet,
                _(train.torch_unet, shape, **options, last=True, device='cuda', augmented=augmented), goal,
                shape=shape, augmented=augmented, **options)


JOBS |= {
    'gpu_matmul': Job('a product of two 8192² matrices, bfloat16: the peak that others are a fraction of',
                      {'medjax': _(matmul.ours, 8192, 'bfloat16')}, {'torch': _(matmul.torch, 8192, 'cuda')}, 1.0,
                      device='gpu'),
    'gpu_resnet18': _gpu_classifier('18', (1024, 28, 28, 3), small=True),
    'gpu_resnet50': _gpu_classifier('50', (128, 224, 224, 3), small=False),
    'gpu_unet2d': _gpu_unet('train step, U-Net, base 32, 8 levels', 1.2, (12, 512, 512, 1), base=32, levels=8),
    'gpu_unet3d': _gpu_unet('train step, U-Net, base 32, 6 levels', 1.2, (2, 128, 128, 128, 1), base=32, levels=6),
    'gpu_epoch': _gpu_unet("the same with nnU-Net's augmentation, the peer's by processes", 2.0,
                           (2, 128, 128, 128, 1), augmented=True, base=32, levels=6),
}
