"""Ten classes of grey 28-pixel images by the smallest CNN: one convolution of 32, pooling, 128 dense units.

    python -m medjax.train --config=configs/classify_28px_cnn.py --workdir=runs/28px

Data: `mnist` of TensorFlow Datasets, prepared in its folder or downloaded; a tenth of its training images validates.
For a MedMNIST set: source=dict(name='medmnist', dataset='bloodmnist') with channels=1 and model.classes=8.
Softmax and cross-entropy, Adam, batches of 32, 5 epochs.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 5
    c.batch = 32
    c.model = dict(name='cnn', variant='digits', classes=10)
    c.task = dict(name='classification')
    c.data = dict(name='images', fold=(), folds=(), size=(28, 28), channels=1, intensity=dict(name='unit'),
                  source=dict(name='tfds', dataset='mnist'))
    c.optim = dict(name='adam', lr=1e-3)
    c.evaluate = dict(name='classification', batch=128)
    if variant == 'smoke':
        c.evaluate.saliency = ()
        c.epochs, c.steps, c.batch, c.model.features, c.model.dense = 0, 2, 8, (4,), 8
        c.data.source = dict(name='simulated_images', classes=tuple('0123456789'), cases=(20, 20, 20))
    return c
