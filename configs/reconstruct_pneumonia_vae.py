"""Pneumonia as an anomaly, by a variational autoencoder that was trained on normal radiographs (PneumoniaMNIST).

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/reconstruct_pneumonia_vae.py --workdir=runs/vae

Data: pneumoniamnist.npz; normal training radiographs train, normal validation radiographs choose the weights and set
the threshold, all test radiographs are scored. The primary score, the Mahalanobis distance of the latent, was fixed
before any radiograph with pneumonia was scored. Variants: `:plain`, `:denoising`, `:vq`.
Results: docs/results/reconstruct_pneumonia_vae.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 40
    c.batch = 64
    c.model = dict(name='autoencoder', variant='vae', dims=2, latent=32, base=16)
    c.task = dict(name='autoencoder', sigma=0.2, noise=0.0, restoration_steps=20, restoration_tv=0.5, interpolations=7)
    c.data = dict(name='images', size=(28, 28), channels=1, train_classes=('normal',),
                  intensity=dict(name='fixed', mean=(0.5,), std=(0.5,)),
                  source=dict(name='medmnist', dataset='pneumoniamnist'))
    c.optim = dict(name='adamw', lr=2e-3, weight_decay=1e-2, clip=1.0, schedule=dict(name='cosine', warmup=40))
    c.evaluate = dict(name='anomaly', every=100, normal='normal', score='distance')
    c.checkpoint = dict(best='bound', keep=1)
    c.log = dict(every=50)
    if variant in ('plain', 'denoising'):
        c.model.variant = 'plain'
    if variant == 'denoising':
        c.task.noise = 0.2
    if variant == 'vq':
        c.model.update(variant='vq', latent=16, codebook_size=128)
    if variant == 'smoke':
        c.epochs, c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 8, 2, 1, 1
        c.model.update(base=4, blocks=(1, 1), latent=4)
        c.task.update(restoration_steps=2, interpolations=2)
        c.data.source = dict(name='simulated_images', classes=('normal', 'pneumonia'), cases=(24, 16, 16))
    return c
