"""Any number of classes from a folder per class: the classic augmented recipe at 150 pixels in colour.

    python -m medjax.train --config=configs/classify_folder_cnn.py --workdir=runs/folder --config.model.classes=4

Data: `pictures/train/CLASS/…`, `pictures/validation/CLASS/…` and `pictures/test/CLASS/…` in MEDJAX_DATA_DIR.
Convolutions of 32, 64, 128 and 128, each with 2×2 max pooling, 512 dense units, softmax. Rotations up to 20°, shifts
and zoom up to a fifth, shear as in Keras, horizontal flips of half of the images, borders repeated. Adam, 10 epochs of
100 steps of 32. No published score: run on simulated images only.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 1000
    c.batch = 32
    c.model = dict(name='cnn', variant='folder', classes=3)
    c.task = dict(name='classification')
    c.data = dict(name='images', fold=(), folds=(), size=(150, 150), channels=3, intensity=dict(name='unit'),
                  source=dict(name='classification_folder', dir='pictures'))
    c.augment = dict(name='keras')
    c.optim = dict(name='adam', lr=1e-3)
    c.evaluate = dict(name='classification', every=100, batch=32)
    c.checkpoint = dict(best='accuracy', keep=1)
    if variant == 'smoke':
        c.steps, c.batch, c.evaluate.every, c.model.features, c.model.dense = 2, 8, 2, (4, 4), 8
        c.data.size = (32, 32)
        c.data.source = dict(name='simulated_images', classes=('a', 'b', 'c'), cases=(18, 12, 12), channels=3)
    return c
