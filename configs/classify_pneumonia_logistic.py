"""Pneumonia on PneumoniaMNIST by logistic regression on the pixels: the baseline for every network.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/classify_pneumonia_logistic.py --workdir=runs/baseline

Data: as for classify_pneumonia_resnet18. One minute on 2 cores. Results: docs/results/classify_pneumonia_logistic.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 100
    c.batch = 128
    c.model = dict(name='cnn', variant='logistic', classes=1)
    c.task = dict(name='classification')
    c.data = dict(name='images', fold=(), folds=(), size=(28, 28), channels=1, intensity=dict(name='unit'),
                  source=dict(name='medmnist', dataset='pneumoniamnist'))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=1e-4, schedule=dict(name='cosine'))
    c.evaluate = dict(name='classification', every=185, batch=128, saliency=('integrated_gradients',))
    c.checkpoint = dict(best='auroc', keep=1)
    c.log = dict(every=185)
    if variant == 'smoke':
        c.epochs, c.steps, c.batch, c.evaluate.every, c.log.every = 0, 2, 8, 2, 1
        c.data.source = dict(name='simulated_images', classes=('normal', 'pneumonia'), cases=(16, 12, 12))
    return c
