"""A T2-like contrast from the MNI152 template's T1: pix2pix, beside a CycleGAN and plain regression.

    python -m medjax.train --config=configs/translate_brain_pix2pix.py --workdir=runs/translate
    python -m medjax.train --config=configs/translate_brain_pix2pix.py:cyclegan --workdir=runs/translate_cyclegan

Data: real anatomy, simulated contrast (`pip install nilearn`): see medjax/data/simulated/contrast.py. 47 axial planes
of one brain at 2 mm train; two slabs test, whose mirror images do not train. Variants: `:l1`, the same generator
without a discriminator; `:cyclegan`, without pairs in training; `:smoke`. About 7 minutes on 2 cores.
Results: docs/results/translate_brain_pix2pix.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 1000
    c.batch = 4
    # Tissues differ by absolute intensity, which instance norm removes: 4 dB less after 160 steps (validation).
    c.model = dict(name='translation', variant='pix2pix', base=16, levels=4, max_channels=128, norm='none', width=16,
                   depth=2, discriminator_norm='none')
    # The image determines the target almost fully, so the discriminator adds nothing in so few steps: see `:l1`.
    c.task = dict(name='translation', adversarial_loss='hinge', l1=100.0)
    # Random patches are the only augmentation: rotation would smooth the noise, which a discriminator detects.
    c.data = dict(name='translation', patch=(80, 96, 1), spacing=(2.0, 2.0, 2.0),
                  source=dict(name='simulated_contrast', spacing=2.0))
    c.optim = dict(name='adam', lr=1e-3, b1=0.5, ema=0.99, schedule=dict(name='cosine', warmup=50),
                   groups=dict(discriminator=dict(lr=2e-3)))
    c.evaluate = dict(name='translation', every=200, batch=8)
    c.checkpoint = dict(best='psnr', keep=1)
    c.log = dict(every=50)
    if variant == 'l1':
        c.model.variant = 'regression'
        c.task, c.optim.groups = dict(name='translation'), None
    if variant == 'cyclegan':
        c.steps, c.batch = 700, 2
        c.optim.groups = dict(discriminator_source=dict(lr=5e-4), discriminator_target=dict(lr=5e-4))
        c.data.update(paired=False, foreground=0.8)
        c.model.update(variant='cyclegan', generator='unet')
        # With the paper's cycle weight of 10 the network stays at the identity of its first steps.
        c.task = dict(name='translation', cycle=2.0, identity=0.5, pool_size=50)
        c.checkpoint = dict(keep=1)  # the last weights: selection by pairs would be training on pairs
    if variant == 'smoke':
        c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 2, 1, 1
        c.batch, c.data.patch, c.data.spacing, c.data.source.spacing = 2, (32, 32, 1), (4.0,) * 3, 4.0
        c.model.update(base=4, levels=2, width=4, depth=1)
    return c
