"""The jobs: what is measured, and against which libraries."""

from functools import partial
from typing import Any

from medjax.bench import augment, host, matmul, registration, train, volumes, windows
from medjax.bench.side import Job

UNET2D, UNET3D = dict(shape=(4, 128, 128, 1), base=32, levels=5), dict(shape=(1, 64, 64, 64, 1), base=16, levels=4)
RESNET18 = dict(shape=(128, 28, 28, 3), classes=9, small_images=True)
DENSENET121 = dict(shape=(8, 224, 224, 3), classes=14)
WINDOW2D = dict(size=128, window=(64, 64, 1), base=32, levels=5, classes=4, batch=16)
WINDOW3D = dict(size=128, window=(64, 64, 64), base=16, levels=4, classes=4, batch=1)
MANY_CLASSES = {**WINDOW3D, 'classes': 100}
AUGMENT2D, AUGMENT3D = (8, 256, 256, 1), (2, 64, 64, 64, 1)


def _layouts(side: Any, **options: Any) -> dict[str, Any]:
    """A PyTorch side in both memory formats, of which the faster one counts."""
    return {'torch': partial(side, **options, last=False), 'torch channels last': partial(side, **options, last=True)}


def _augmentation_peers(shape: tuple[int, ...]) -> dict[str, Any]:
    return {'batchgeneratorsv2': partial(augment.batchgenerators_side, shape),
            'MONAI': partial(augment.monai_side, shape)}


START = {'medjax': partial(train.command_side, **UNET2D)}
PEER_START = {'torch and MONAI': partial(train.torch_unet_side, **UNET2D, last=False)}
JOBS: dict[str, Job] = {
    'matmul': Job('product of two 2048² matrices: the peak performance to which others are compared',
                  {'medjax': partial(matmul.medjax_side, 2048)}, {'torch': partial(matmul.torch_side, 2048)}, 1.0),
    'train_unet2d': Job('train step, U-Net, 4×128², base 32, 5 levels, instance norm, SGD',
                        {'medjax': partial(train.unet_side, **UNET2D)},
                        _layouts(train.torch_unet_side, **UNET2D), 1.0),
    'train_unet3d': Job('train step, U-Net, 1×64³, base 16, 4 levels, instance norm, SGD',
                        {'medjax': partial(train.unet_side, **UNET3D)},
                        _layouts(train.torch_unet_side, **UNET3D), 1.0),
    'train_resnet18': Job('train step, ResNet-18 with the small stem, 128×28²×3, AdamW',
                          {'medjax': partial(train.classifier_side, name='resnet', variant='18', **RESNET18)},
                          _layouts(train.torch_classifier_side, name='resnet18', **RESNET18), 1.0),
    'train_densenet121': Job('train step, DenseNet-121, 8×224²×3, AdamW',
                             {'medjax': partial(train.classifier_side, name='densenet', variant='121', **DENSENET121)},
                             _layouts(train.torch_classifier_side, name='densenet121', **DENSENET121), 1.0),
    'window_unet2d': Job('a volume of 128³ by windows of 64², overlap .5, U-Net of base 32',
                         {'medjax': partial(windows.medjax_side, **WINDOW2D)},
                         _layouts(windows.monai_side, **WINDOW2D), 1.2),
    'window_unet3d': Job('a volume of 128³ by windows of 64³, overlap .5, U-Net of base 16',
                         {'medjax': partial(windows.medjax_side, **WINDOW3D)},
                         _layouts(windows.monai_side, **WINDOW3D), 1.2),
    'window_memory': Job('peak memory of the same with 100 classes',
                         {'medjax': partial(windows.medjax_side, **MANY_CLASSES)},
                         _layouts(windows.monai_side, **MANY_CLASSES), 2.0, 'memory'),
    'augment_2d': Job("nnU-Net's augmentation, 8×256², one core",
                      {'medjax': partial(augment.medjax_side, AUGMENT2D)},
                      _augmentation_peers(AUGMENT2D), 5.0, cores=1),
    'augment_3d': Job("nnU-Net's augmentation, 2×64³, one core",
                      {'medjax': partial(augment.medjax_side, AUGMENT3D)},
                      _augmentation_peers(AUGMENT3D), 5.0, cores=1),
    'augment_share': Job("nnU-Net's augmentation as a share of the 3D train step, 2×64³",
                         {'step': partial(train.unet_side, AUGMENT3D, 16, 4, augmented=True),
                          'augmentation': partial(augment.medjax_side, AUGMENT3D)}, {}, 0.10, 'share'),
    'metrics': Job('Dice, HD95 and NSD of 4 classes in 10 volumes of 128³',
                   {'medjax': partial(volumes.medjax_metrics, 10, 128, area=False)},
                   {'MONAI': partial(volumes.monai_metrics, 10, 128)}, 3.0),
    'metrics_area': Job('the same with surfaces by area',
                        {'medjax': partial(volumes.medjax_metrics, 10, 128, area=True)},
                        {'surface-distance': partial(volumes.surface_distance_metrics, 10, 128)}, 3.0),
    'register_2d': Job('registration of two simulated brains by optimisation, affine and deformable, 80×96 at 2 mm',
                       {'medjax': partial(registration.medjax_side, (80, 96), 2.0)},
                       {'SimpleITK, correlation': partial(registration.simpleitk_side, (80, 96), 2.0, 'ncc'),
                        'SimpleITK, Mattes': partial(registration.simpleitk_side, (80, 96), 2.0, 'mattes')}, 2.0),
    'register_3d': Job('the same in 3D, 80×96×80 at 2 mm',
                       {'medjax': partial(registration.medjax_side, (80, 96, 80), 2.0)},
                       {'SimpleITK, Mattes': partial(registration.simpleitk_side, (80, 96, 80), 2.0, 'mattes')}, 1.0),
    'read': Job('20 NIfTI pairs of 128×128×64: read, oriented to RAS, resampled to 1.5 mm, and cached',
                {'medjax': partial(volumes.medjax_read, 20)},
                {'MONAI': partial(volumes.monai_read, 20, 0), 'MONAI threads': partial(volumes.monai_read, 20, 2),
                 'TorchIO': partial(volumes.torchio_read, 20)}, 1.5),
    'start': Job('from the start of a process to the end of its first 2D train step, with a compilation cache', START,
                 PEER_START, 1.0, 'first'),
    'start_cold': Job('the same without a compilation cache', START, PEER_START, 0.5, 'first',
                      environment={'JAX_COMPILATION_CACHE_DIR': '{fresh}'}),
    'host': Job('time of the host for a step of the train loop', {'medjax': partial(host.medjax_side, 8)}, {}, 1.0,
                'ms'),
}


def _gpu_job(description: str, side: Any, peer: Any, goal: float, **options: Any) -> Job:
    """A job on an accelerator, in bfloat16 on both sides."""
    return Job(f'{description}, bfloat16', {'medjax': partial(side, **options, precision='bfloat16')},
               {'torch channels last': peer}, goal, device='gpu')


def _gpu_classifier(variant: str, shape: tuple[int, ...], small_images: bool) -> Job:
    options = dict(shape=shape, classes=9, small_images=small_images)
    peer = partial(train.torch_classifier_side, f'resnet{variant}', **options, last=True, device='cuda')
    return _gpu_job(f'train step, ResNet-{variant}, {"×".join(map(str, shape))}, AdamW', train.classifier_side, peer,
                    1.2, name='resnet', variant=variant, **options)


def _gpu_unet(description: str, goal: float, **options: Any) -> Job:
    peer = partial(train.torch_unet_side, **options, last=True, device='cuda')
    return _gpu_job(f'{description}, {"×".join(map(str, options["shape"]))}', train.unet_side, peer, goal, **options)


GPU3D = dict(shape=(2, 128, 128, 128, 1), base=32, levels=6)
JOBS |= {
    'gpu_matmul': Job('product of two 8192² matrices, bfloat16: the peak performance to which others are compared',
                      {'medjax': partial(matmul.medjax_side, 8192, 'bfloat16')},
                      {'torch': partial(matmul.torch_side, 8192, 'cuda')}, 1.0, device='gpu'),
    'gpu_resnet18': _gpu_classifier('18', (1024, 28, 28, 3), small_images=True),
    'gpu_resnet50': _gpu_classifier('50', (128, 224, 224, 3), small_images=False),
    'gpu_unet2d': _gpu_unet('train step, U-Net, base 32, 8 levels', 1.2, shape=(12, 512, 512, 1), base=32, levels=8),
    'gpu_unet3d': _gpu_unet('train step, U-Net, base 32, 6 levels', 1.2, **GPU3D),
    'gpu_epoch': _gpu_unet("the same with nnU-Net's augmentation, for the peer in worker processes", 2.0,
                           augmented=True, **GPU3D),
}
