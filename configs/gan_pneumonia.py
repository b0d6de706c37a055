"""Chest films of children with and without pneumonia, made by a generator for each class (PneumoniaMNIST, 28 pixels).

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/gan_pneumonia.py --workdir=runs/gan
    python -m medjax.synthesise --workdir=runs/gan --output=synthetic.npz --images=2000

Data: pneumoniamnist.npz, its own split. DCGAN's layers, the class by projection, spectral norm and the hinge loss
(Miyato 2018); augmentation that gradients pass keeps the critic from learning the few films by heart (Zhao 2020).
Weights are averaged, and those of the lowest KID on validation films, by pixels, are judged. Variants: `:dcgan`
(2015), `:wgan` (WGAN-GP), `:projection` (residual blocks), `:style`; the last two take several times as long. With
`--config.evaluate.features=RUN`, a finished classification, its features count in the report. On the test films FID by
pixels 3.7 (3.3–4.3) after 8 minutes on one core, WGAN-GP 2.2 (1.7–2.8) after 16, but grainy to the eye, `:style`
10.5 after 14, with little variety; training films have 1.7; no Inception figure.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 12_000
    c.batch = 32
    c.model = dict(name='gan', variant='dcgan', size=(28, 28), channels=1, classes=2, latent=64, base=16, norm='batch',
                   spectral=True)
    c.task = dict(name='gan', loss='hinge', r1=0.0, penalty=0.0, augment=('translation', 'cutout'))
    c.data = dict(name='images', size=(28, 28), channels=1, label_fraction=1.0, subset_seed=0,
                  intensity=dict(name='fixed', mean=(0.5,), std=(0.5,)),  # -1 to 1, as the generator's tanh
                  source=dict(name='medmnist', set='pneumoniamnist'))
    c.optim = dict(name='adam', lr=2e-4, b1=0.0, b2=0.9, ema=0.995, groups=dict(critic=dict(lr=4e-4)))
    c.evaluate = dict(name='synthesis', every=1500, features='')
    c.checkpoint = dict(best='kid_pixels', keep=1)
    c.log = dict(every=100)
    if variant == 'dcgan':
        c.model.spectral = False
        c.task.loss = 'non_saturating'
        c.optim.update(b1=0.5, b2=0.999, groups=dict(critic=dict(lr=2e-4)))
    if variant == 'wgan':  # five steps of the critic to one of the generator (Gulrajani 2017)
        c.model.spectral = False
        c.task.update(loss='wasserstein', penalty=10.0, augment=())
        c.steps = 6000
        c.optim.groups = dict(generator=dict(every=5))
    if variant == 'projection':
        c.model.variant = 'projection'
    if variant == 'style':
        c.model.update(variant='style', spectral=False)
        c.task.update(loss='non_saturating', r1=1.0)
        c.steps, c.evaluate.every = 3000, 500
        c.optim.update(lr=1e-3, b2=0.99, groups=dict(critic=dict(lr=1e-3)))
    if variant == 'smoke':
        c.steps, c.batch, c.evaluate.every, c.log.every = 2, 8, 1, 1
        c.model.update(base=4, latent=8)
        c.data.source = dict(name='simulated_images', classes=('normal', 'pneumonia'), cases=(24, 16, 16))
    return c
