"""Pneumonia as an anomaly, by a U-Net that was trained on normal radiographs with synthetic anomalies.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/anomaly_pneumonia_unet.py --workdir=runs/anomaly

Data: pneumoniamnist.npz, each radiograph scaled by its own mean and deviation. Normal training radiographs get patches
of other radiographs and synthetic opacities; normal validation radiographs set the threshold; all test radiographs are
scored. Results: docs/results/anomaly_pneumonia_unet.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 1500
    c.batch = 64
    c.model = dict(name='unet', variant='nnunet', dims=2, classes=1, base=16, levels=3, norm='batch',
                   deep_supervision=False)
    c.task = dict(name='synthetic_anomaly', kinds=('patch', 'opacity'))
    c.data = dict(name='images', size=(28, 28), channels=1, train_classes=('normal',), intensity=dict(name='zscore'),
                  source=dict(name='medmnist', dataset='pneumoniamnist'))
    c.augment = dict(name='flip', flip=0.5, flip_axes=(1,))
    c.optim = dict(name='adamw', lr=2e-3, weight_decay=1e-2, clip=1.0, schedule=dict(name='cosine', warmup=50))
    c.evaluate = dict(name='anomaly', every=500, normal='normal', score='synthetic_anomaly')
    c.checkpoint = dict(keep=1)
    c.log = dict(every=50)
    if variant == 'smoke':
        c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 8, 2, 1, 1
        c.model.update(base=4, levels=2)
        c.data.source = dict(name='simulated_images', classes=('normal', 'pneumonia'), cases=(24, 16, 16))
    return c
