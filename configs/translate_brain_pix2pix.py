"""A T2-like contrast made of the MNI152 template's T1: pix2pix, and beside it a CycleGAN and plain regression.

    python -m medjax.train --config=configs/translate_brain_pix2pix.py --workdir=runs/translate
    python -m medjax.train --config=configs/translate_brain_pix2pix.py:cyclegan --workdir=runs/translate_cyclegan

Data: real anatomy, simulated contrast (`pip install nilearn`): see medjax/data/simulated/contrast.py. 47 axial planes of
one brain at 2 mm train, two slabs that no training plane mirrors test. PSNR 28.2 dB, by a lookup table of intensities
25.8. Variants: `:l1`, the same generator without an opponent, the honest baseline: 28.3; `:cyclegan`, without pairs in
training, which in 700 steps finds a wrong contrast that comes back well: 12.4; `:smoke`. Six and a half minutes, the
CycleGAN seven, beside other jobs.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 1000
    c.batch = 4
    # A tissue is an absolute intensity, which instance norm takes away: 4 dB less after 160 steps (validation).
    c.model = dict(name='translation', variant='pix2pix', base=16, levels=4, cap=128, norm='none', width=16,
                   depth=2, critic_norm='none')
    # The target hangs on the image nearly alone, and the critic finds nothing to tell in so few steps: see `:l1`.
    c.task = dict(name='translation', game='hinge', l1=100.0)
    # Patches at random places are all the augmentation: turned ones lose their noise, which critics look for.
    c.data = dict(name='translation', patch=(80, 96, 1), spacing=(2.0, 2.0, 2.0),
                  source=dict(name='simulated_contrast', spacing=2.0))
    c.optim = dict(name='adam', lr=1e-3, b1=0.5, ema=0.99, schedule=dict(name='cosine', warmup=50),
                   groups=dict(critic=dict(lr=2e-3)))
    c.evaluate = dict(name='translation', every=200, batch=8)
    c.checkpoint = dict(best='psnr', keep=1)
    c.log = dict(every=50)
    if variant == 'l1':
        c.model.variant = 'regression'
        c.task, c.optim.groups = dict(name='translation'), None
    if variant == 'cyclegan':
        c.steps, c.batch = 700, 2
        c.optim.groups = dict(critic_source=dict(lr=5e-4), critic_target=dict(lr=5e-4))
        c.data.update(paired=False, foreground=0.8)
        c.model.update(variant='cyclegan', generator='unet')
        # With a cycle's weight of 10, the paper's, the first steps' contrast, that of the image as it is, stays.
        c.task = dict(name='translation', cycle=2.0, identity=0.5, pool=50)
        c.checkpoint = dict(keep=1)  # the last weights: to choose by pairs would be to train with them
    if variant == 'smoke':
        c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 2, 1, 1
        c.batch, c.data.patch, c.data.spacing, c.data.source.spacing = 2, (32, 32, 1), (4.0,) * 3, 4.0
        c.model.update(base=4, levels=2, width=4, depth=1)
    return c
