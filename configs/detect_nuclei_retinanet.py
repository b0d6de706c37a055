"""Nuclei of one fluorescence image by RetinaNet, trained on patches and applied by overlapping windows.

    pip download stardist==0.9.2 --no-deps --no-binary=:all: --dest=DIR
    MEDJAX_DATA_DIR=DIR python -m medjax.train --config=configs/detect_nuclei_retinanet.py --workdir=runs/nuclei

Data: the image of 512×512 pixels and 125 nuclei that StarDist's source distribution ships, as four strips of 512×128:
two train, one validates, one tests. All strips are of one specimen: this demonstrates the method, not its accuracy.
Results: docs/results/detect_nuclei_retinanet.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 400
    c.batch = 8
    c.model = dict(name='retinanet', variant='18', dims=2, classes=1, levels=(0, 1), extra_levels=0, features=48,
                   scale=3.0,
                   octaves=2, ratios=(1.0,), depth=2, norm='batch',
                   encoder=dict(name='resnet', variant='18', base=24, blocks=(2, 2)))
    c.task = dict(name='detection', max_detections=60)
    c.data = dict(name='detection', size=(512, 128), patch=(128, 128), foreground=0.0, max_objects=64,
                  intensity=dict(name='zscore'), source=dict(name='stardist_nuclei'))
    c.augment = dict(name='flip', flip=0.5, zoom=0.5, zoom_range=(0.8, 1.25), brightness=0.3, contrast=0.3)
    c.optim = dict(name='adamw', lr=1e-3, weight_decay=0.05, clip=5.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=40))
    c.evaluate = dict(name='detection', every=100, batch=1)
    c.checkpoint = dict(best='ap50', keep=1)
    c.log = dict(every=20)
    if variant == 'smoke':
        c.augment = dict(name='flip', flip=0.5)
        c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 8, 2, 1, 1
        c.model.update(features=8, classes=2, encoder=dict(name='resnet', variant='18', base=4, blocks=(1, 1)))
        c.data.update(size=(64, 48), patch=(32, 32))
        c.data.source = dict(name='simulated_detection', shape=(64, 48), cases=(8, 4, 4))
    return c
