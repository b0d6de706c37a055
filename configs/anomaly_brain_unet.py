"""Lesions in brain slices by a U-Net that was trained on healthy slices with synthetic anomalies (simulated data).

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/anomaly_brain_unet.py --workdir=runs/lesions

Data: slices of the MNI152 template, simulated as if of many heads; half of the test slices have a lesion with the shape
of a real tumour (the folder tumours in MEDJAX_DATA_DIR). The network learns to find patches of other slices and darker
or brighter spots; no lesion is used for training, validation or the threshold. Variant `:vae`, for comparison, scores
by what a variational autoencoder would change. Results: docs/results/anomaly_brain_unet.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 700
    c.batch = 16
    c.model = dict(name='unet', variant='nnunet', dims=2, classes=1, base=8, levels=4, norm='batch',
                   deep_supervision=False)
    c.task = dict(name='synthetic_anomaly', kinds=('patch', 'shade'), max_spots=4,
                  radius_range=(0.03, 0.15), anomaly_fraction=0.8)
    c.data = dict(name='images', size=(112, 96), channels=1, train_classes=('healthy',), intensity=dict(name='zscore'),
                  source=dict(name='simulated_anomalies', dir='tumours', cases=(400, 40, 120)))
    c.augment = dict(name='flip', flip=0.5, flip_axes=(1,))
    c.optim = dict(name='adamw', lr=2e-3, weight_decay=1e-2, clip=1.0, schedule=dict(name='cosine', warmup=50))
    c.evaluate = dict(name='anomaly', every=200, normal='healthy', score='synthetic_anomaly', anomaly_masks=True,
                      batch=40)
    c.checkpoint = dict(keep=1)
    c.log = dict(every=50)
    if variant == 'vae':
        c.model = dict(name='autoencoder', variant='vae', dims=2, base=8, latent=64, blocks=(1, 1, 1, 1))
        c.task = dict(name='autoencoder', sigma=0.3, restoration_steps=20, restoration_tv=0.5)
        c.evaluate.score = 'restored'
    if variant == 'smoke':
        c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 8, 2, 1, 1
        c.model.update(base=4, levels=2)
        c.evaluate.anomaly_masks, c.evaluate.normal, c.data.train_classes = False, 'normal', ('normal',)
        c.data.size = (28, 28)
        c.data.source = dict(name='simulated_images', classes=('normal', 'lesion'), cases=(24, 16, 16))
    return c
