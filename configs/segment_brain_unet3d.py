"""Tissue segmentation of the MNI152 template by nnU-Net's 3D U-Net (Isensee 2021), small enough for a laptop.

    python -m medjax.train --config=configs/segment_brain_unet3d.py --workdir=runs/brain3d

The volume and splits of segment_brain_unet2d.py, with deep supervision. AdamW and flips: nnU-Net's SGD and augmentation
are designed for a thousand epochs. Results: docs/results/segment_brain_unet3d.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 300
    c.batch = 2
    c.model = dict(name='unet', variant='nnunet', dims=3, classes=4, base=8, levels=4, norm='batch')
    # CSF is rare: with equal weights it was still missed after 300 steps (validation Dice 0).
    c.task = dict(name='segmentation', loss=dict(cross_entropy=dict(class_weight=(1.0, 4.0, 1.0, 1.0)), soft_dice=1.0))
    # Intensities by the training cases' statistics: a case here is part of one volume, and its own mean and deviation
    # would encode which part it is, not how bright grey matter is.
    c.data = dict(name='volumes', source=dict(name='mni152', validation=(60, 76), unseen=(92, 108)),
                  patch=(48, 48, 32), intensity=dict(name='percentile', low=0.5, high=99.5), foreground=0.67)
    c.augment = dict(name='flip')
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=1e-2, clip=1.0, schedule=dict(name='cosine', warmup=10))
    c.evaluate = dict(name='segmentation', every=150, overlap=0.5, tolerance_mm=1.0)
    c.checkpoint = dict(best='dice_mean', keep=1)
    c.parallel, c.mesh, c.precision = 'jit', dict(data=-1, fsdp=1, space=1), 'float32'
    c.debug = dict(skip_nonfinite=False)
    if variant == 'smoke':
        c.steps, c.optim.schedule.warmup = 2, 1
        c.model.update(base=4, levels=2)
        c.data.patch = (32, 32, 32)
        c.evaluate.update(every=2, overlap=0.0)
    return c
