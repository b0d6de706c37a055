"""Lesions in simulated volumes by a 3D RetinaNet: balls, and the shapes of three real tumours.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/detect_lesion3d_retinanet.py --workdir=runs/lesion3d

Data: the masks in the folder tumours of MEDJAX_DATA_DIR, inserted into simulated volumes of 64³ voxels of 1 mm beside
vessels of the same brightness; the shape of the test lesions is none of the training shapes. ATSS, focal loss and
generalised IoU. Results: docs/results/detect_lesion3d_retinanet.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 40
    c.batch = 4
    c.model = dict(name='retinanet', dims=3, classes=1, levels=(0, 1), extra_levels=0, features=32, scale=2.0,
                   octaves=2,
                   ratios=(1.0,), depth=1, norm='instance', encoder=dict(name='resnet', variant='18', base=16))
    c.task = dict(name='detection', nms_threshold=0.1, max_detections=20)
    c.data = dict(name='detection', size=(64, 64, 64), max_objects=8, intensity=dict(name='zscore'),
                  source=dict(name='simulated_lesions', dir='tumours', cases=(120, 24, 40)))
    c.augment = dict(name='flip', flip=0.5, brightness=0.2, contrast=0.2)
    c.optim = dict(name='adamw', lr=1e-3, weight_decay=0.05, clip=5.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=60))
    c.evaluate = dict(name='detection', every=300, batch=4)
    c.checkpoint = dict(best='ap10', keep=1)
    c.log = dict(every=30)
    if variant == 'smoke':
        c.augment = dict(name='flip', flip=0.5)
        c.epochs, c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 8, 2, 1, 1
        c.model.update(features=4, classes=2)
        c.model.encoder.update(base=4, blocks=(1, 1))
        c.data.size = (32, 32, 32)
        c.data.source = dict(name='simulated_detection', shape=(32, 32, 32), cases=(8, 4, 4))
    return c
