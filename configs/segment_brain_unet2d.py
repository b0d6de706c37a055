"""Tissue segmentation of the MNI152 template by a 2D U-Net: the main job, and the smallest complete run.

    bash launch/local.sh
    python -m medjax.train --config=configs/segment_brain_unet2d.py --workdir=runs/brain2d

Data: the T1 template that the package nilearn ships (one volume, averaged from 152 people); see
medjax/data/sources/mni152.py for its splits and the limits of its scores. Network: nnU-Net's 2D building blocks
(Isensee 2021), base 16. Results: docs/results/segment_brain_unet2d.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 160
    c.batch = 8
    # Batch norm: tissues differ by absolute intensity here, which instance norm removes (white Dice .92, not .96).
    c.model = dict(name='unet', variant='nnunet', dims=2, classes=4, base=16, levels=5, norm='batch')
    # CSF is rare: with equal weights it is missed at first and learned late (validation Dice .828, not .844).
    c.task = dict(name='segmentation', loss=dict(cross_entropy=dict(class_weight=(1.0, 4.0, 1.0, 1.0)), soft_dice=1.0))
    # Intensities by the training cases' statistics: a case here is part of one volume, and its own mean and deviation
    # would encode which part it is, not how bright grey matter is.
    c.data = dict(name='volumes', source=dict(name='mni152', validation=(60, 76), unseen=(92, 108)),
                  patch=(80, 192, 1), intensity=dict(name='percentile', low=0.5, high=99.5), foreground=0.8)
    c.augment = dict(name='flip')
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=1e-2, clip=1.0, schedule=dict(name='cosine', warmup=10))
    c.evaluate = dict(name='segmentation', every=80, overlap=0.5, tolerance_mm=1.0)
    c.checkpoint = dict(best='dice_mean', keep=1)
    c.parallel, c.mesh, c.precision = 'jit', dict(data=-1, fsdp=1, space=1), 'float32'
    c.debug = dict(skip_nonfinite=False)
    if variant == 'smoke':
        c.steps, c.batch = 2, 2
        c.optim.schedule.warmup = 1
        c.model.update(base=4, levels=3)
        c.data.patch = (32, 64, 1)
        c.evaluate.update(every=2, overlap=0.0)
    return c
