"""Chest films of children with and without pneumonia, drawn from noise by class (PneumoniaMNIST, 28 pixels).

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/diffuse_pneumonia.py --workdir=runs/diffuse
    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/diffuse_pneumonia.py:flow --workdir=runs/flow
    python -m medjax.synthesise --workdir=runs/diffuse --output=synthetic.npz --images=2000

Data: pneumoniamnist.npz, its own split. A small U-Net on patches of 2×2 pixels tells v (Salimans 2022) of 1000 levels
of noise; 50 steps of DDIM draw a film. Variants: `:flow`, rectified flow by 25 steps of Heun's; `:latent`, diffusion in
the latent of an autoencoder, which trains first (elsewhere than here: `--config.init.path=`); `:smoke`:

    python -m medjax.train --config=configs/pretrain_pneumonia.py:grid --workdir=runs/pretrained_grid
    python -m medjax.train --config=configs/diffuse_pneumonia.py:latent --workdir=runs/latent

By pixels, test: FID 2.12, the flow's 1.89, the latent's 1.97, real training films' 1.71. 7, 10 and 9 minutes on one
core, all evaluation included. The flow's films have more grain, the latent's are softer, which figures hardly see.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 2000
    c.batch = 64
    c.model = dict(name='diffusion', variant='patches', classes=2, size=(28, 28), base=32)
    c.task = dict(name='diffusion', kind='ddpm', prediction='v', steps=50, clip=1.0, label_dropout=0.1, guidance=1.0)
    c.data = dict(name='images', size=(28, 28), channels=1,
                  intensity=dict(name='fixed', mean=(0.5,), std=(0.5,)),  # -1 to 1, as config.task.clip says
                  source=dict(name='medmnist', set='pneumoniamnist'))
    c.optim = dict(name='adamw', lr=2e-3, weight_decay=1e-3, clip=1.0, ema=0.995,
                   schedule=dict(name='cosine', warmup=100))
    c.evaluate = dict(name='synthesis', every=500, features='')
    c.log = dict(every=50)
    if variant == 'flow':
        c.task = dict(name='diffusion', kind='flow', steps=25, label_dropout=0.1, guidance=1.0)
    if variant == 'latent':
        c.model = dict(name='latent_diffusion', variant='grid', classes=2, size=(28, 28), autoencoder=dict(base=16))
        c.task.clip = 0.0
        c.init = dict(name='run', path='runs/pretrained_grid', part='first')
    if variant == 'smoke':
        c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 8, 2, 1, 1
        c.model.update(base=8, levels=1, attention=False)
        c.task.steps = 2
        c.data.source = dict(name='simulated_images', classes=('normal', 'pneumonia'), cases=(24, 16, 16))
    return c
