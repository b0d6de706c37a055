"""Cancer or none by a small CNN: 128 pixels in colour, convolutions of 32, 64 and 128, 128 dense units, one sigmoid.

    python -m medjax.train --config=configs/classify_cancer_cnn.py --workdir=runs/cancer

Data: a folder per class, `cancer/benign/….png` and `cancer/malignant/….png`, in MEDJAX_DATA_DIR; three fifths train.
Adam with binary cross-entropy, batches of 32, 20 epochs. No published score: run on simulated images only.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 20
    c.batch = 32
    c.model = dict(name='cnn', variant='cancer', classes=1)
    c.task = dict(name='classification')
    c.data = dict(name='images', fold=(), folds=(), size=(128, 128), channels=3, intensity=dict(name='unit'),
                  source=dict(name='classification_folder', dir='cancer', classes=('benign', 'malignant')))
    c.optim = dict(name='adam', lr=1e-3)
    c.evaluate = dict(name='classification', batch=32)
    if variant == 'smoke':
        c.evaluate.saliency = ()
        c.epochs, c.steps, c.batch, c.model.features, c.model.dense = 0, 2, 8, (4, 4), 8
        c.data.size = (32, 32)
        c.data.source = dict(name='simulated_images', classes=('benign', 'malignant'), cases=(16, 12, 12), channels=3)
    return c
