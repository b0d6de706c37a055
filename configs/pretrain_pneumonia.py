"""Pretraining without labels: a denoising autoencoder on the radiographs of PneumoniaMNIST.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/pretrain_pneumonia.py --workdir=runs/pretrained

Data: pneumoniamnist.npz, all training radiographs. `configs/classify_pneumonia_few.py` starts from its weights.
Variants: `:mae`, a masked autoencoder, whose encoder is a small vision transformer; `:grid`, a variational autoencoder
with a latent grid of 7×7×4 numbers, in which `configs/diffuse_pneumonia.py:latent` generates images.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 15
    c.batch = 64
    c.model = dict(name='autoencoder', variant='plain', dims=2, latent=64, base=16)
    c.task = dict(name='autoencoder', noise=0.4)
    c.data = dict(name='images', size=(28, 28), channels=1, intensity=dict(name='fixed', mean=(0.5,), std=(0.5,)),
                  source=dict(name='medmnist', dataset='pneumoniamnist'))
    c.augment = dict(name='flip', flip=0.5, flip_axes=(1,))
    c.optim = dict(name='adamw', lr=2e-3, weight_decay=1e-2, clip=1.0, schedule=dict(name='cosine', warmup=40))
    c.evaluate = dict(name='anomaly', every=300)
    c.checkpoint = dict(best='error', keep=1)
    c.log = dict(every=50)
    if variant == 'mae':
        c.model = dict(name='mae', variant='tiny', dims=2)
        c.task.noise = 0.0
        c.epochs, c.optim.weight_decay = 30, 0.05
    if variant == 'grid':
        c.model = dict(name='autoencoder', variant='grid', dims=2, base=16)
        c.task = dict(name='autoencoder', sigma=0.05, interpolations=7)
        c.checkpoint.best = 'bound'
    if variant == 'smoke':
        c.epochs, c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 8, 2, 1, 1
        c.model = dict(name='mae', variant='tiny', dims=2, width=16, depth=1, decoder_width=8, decoder_depth=1)
        c.data.source = dict(name='simulated_images', classes=('normal', 'pneumonia'), cases=(24, 16, 16))
    return c
