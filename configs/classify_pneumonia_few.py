"""Label efficiency: pneumonia with 5 % of the training labels, after pretraining or from random weights.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/classify_pneumonia_few.py --workdir=runs/few \\
        --config.init.path=runs/pretrained

Data: pneumoniamnist.npz; 5 % of each class's training radiographs, chosen by `data.subset_seed`. The weights come from
`configs/pretrain_pneumonia.py`. Variants: `:scratch` starts from random weights; `:mae` and `:mae_scratch` are the same
for a small vision transformer. `launch/few_labels.sh` runs all of them over five seeds.
Results: docs/results/few_labels.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 300
    c.batch = 64
    c.model = dict(name='resnet', variant='18', dims=2, classes=2, small_images=True, base=16, blocks=(1, 1, 1))
    c.task = dict(name='classification')
    c.init = dict(name='run', path='runs/pretrained', reinitialise=('logits',))
    c.data = dict(name='images', size=(28, 28), channels=1, label_fraction=0.05, subset_seed=0, extra_npz='',
                  intensity=dict(name='fixed', mean=(0.5,), std=(0.5,)),
                  source=dict(name='medmnist', dataset='pneumoniamnist'))
    c.augment = dict(name='flip', flip=0.5, flip_axes=(1,), shift=0.5, brightness=0.3, contrast=0.3)
    c.optim = dict(name='adamw', lr=1e-3, weight_decay=1e-2, clip=1.0, schedule=dict(name='cosine', warmup=30))
    c.evaluate = dict(name='classification', every=100, batch=128)
    c.checkpoint = dict(keep=1)  # the last weights: 524 validation labels would be more than the training labels
    c.log = dict(every=50)
    if variant.startswith('mae'):
        c.model = dict(name='vit', variant='tiny', dims=2, classes=2)
    if variant.endswith('scratch'):
        del c.init
    if variant == 'smoke':
        del c.init
        c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 8, 2, 1, 1
        c.model.update(base=4, blocks=(1, 1))
        c.data.label_fraction = 0.5
        c.data.source = dict(name='simulated_images', classes=('normal', 'pneumonia'), cases=(24, 16, 16))
    return c
