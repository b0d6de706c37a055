"""Survival from an image and a record: features of a residual network beside the covariates, by Cox's likelihood.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/survive_images_resnet.py --workdir=runs/images

Data: `cohort.csv` in MEDJAX_DATA_DIR with the columns id, time, event, image (the path of an image within that folder)
and covariates; optionally patient and split. Volumes: `--config.model.dims=3 --config.data.size=64,64,64`. Variant
`:simulated`: simulated patients whose hazard depends on the radius of a ball in the image and on one covariate.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 40
    c.batch = 64
    c.model = dict(name='image_tabular', variant='18', dims=2, outputs=1, small_images=False, dropout=0.3)
    c.task = dict(name='survival', loss='cox')
    c.data = dict(name='tabular_with_image', size=(128, 128), channels=1, intensity=dict(name='training'),
                  source=dict(name='survival_csv', table='cohort.csv', image='image'))
    c.optim = dict(name='adamw', lr=1e-3, weight_decay=0.1, clip=1.0, schedule=dict(name='cosine', warmup=20))
    c.evaluate = dict(name='survival', every=20)
    c.checkpoint = dict(best='c_index', keep=1)
    c.log = dict(every=20)
    if variant in ('simulated', 'smoke'):
        c.model.update(small_images=True, base=8, blocks=(1, 1, 1))
        c.data.size = (28, 28)
        c.data.source = config_dict.ConfigDict(dict(name='simulated_survival', image=True, covariates=2, censoring=0.3))
    if variant == 'smoke':
        c.epochs, c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 16, 2, 1, 1
        c.model.update(base=4, blocks=(1, 1))
        c.data.source.cases = (32, 24, 24)
    return c
