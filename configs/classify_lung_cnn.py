"""Lung cancer, or any two classes of images, by a small CNN: 224 pixels in colour, convolutions of 32, 64 and 128.

    python -m medjax.train --config=configs/classify_lung_cnn.py --workdir=runs/lung

Data: a folder per class, `lung/normal/….png` and `lung/cancer/….png`, in MEDJAX_DATA_DIR; three fifths train. Where a
patient has several images, name the patients by `c.data.source.patient_regex` or a table: see docs/howto/images.md.
Each convolution is followed by 2×2 max pooling, then 512 dense units and one sigmoid; Adam, binary cross-entropy,
batches of 32, 10 epochs. No published score: run on simulated images only.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 10
    c.batch = 32
    c.model = dict(name='cnn', variant='lung', classes=1)
    c.task = dict(name='classification')
    c.data = dict(name='images', fold=(), folds=(), size=(224, 224), channels=3, intensity=dict(name='unit'),
                  source=dict(name='classification_folder', dir='lung', classes=('normal', 'cancer')))
    c.optim = dict(name='adam', lr=1e-3)
    c.evaluate = dict(name='classification', batch=32)
    if variant == 'smoke':
        c.epochs, c.steps, c.batch, c.model.features, c.model.dense = 0, 2, 8, (4, 4), 8
        c.data.size = (32, 32)
        c.data.source = dict(name='simulated_images', classes=('normal', 'cancer'), cases=(16, 12, 12), channels=3)
    return c
