"""Pneumonia on PneumoniaMNIST by ResNet-18: MedMNIST's own recipe at 28 pixels (Yang 2023).

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/classify_pneumonia_resnet18.py --workdir=runs/pneumonia

Data: pneumoniamnist.npz in MEDJAX_DATA_DIR; else it is downloaded (4 MB). Published for this recipe, 100 epochs, three
seeds: AUC .944, accuracy .854. Adam 1e-3, a tenth of it from half and three quarters of the epochs, batch 128, no
augmentation; the weights with the best validation AUC, measured once an epoch.
Results: docs/results/classify_pneumonia_resnet18.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 3700  # 100 epochs of 37
    c.batch = 128
    c.model = dict(name='resnet', variant='18', dims=2, classes=2, small_images=True)
    c.task = dict(name='classification')
    c.data = dict(name='images', fold=(), folds=(), size=(28, 28), channels=1,
                  intensity=dict(name='fixed', mean=(0.5,), std=(0.5,)),
                  source=dict(name='medmnist', dataset='pneumoniamnist'))
    c.optim = dict(name='adam', lr=1e-3, schedule=dict(name='multistep', milestones=(0.5, 0.75), factor=0.1))
    c.evaluate = dict(name='classification', every=37, batch=128, saliency=('grad_cam', 'occlusion'))
    c.checkpoint = dict(best='auroc', keep=1)
    c.log = dict(every=37)
    if variant == 'smoke':
        c.evaluate.saliency = ()
        c.steps, c.batch, c.evaluate.every, c.log.every = 2, 8, 2, 1
        c.model.update(base=4, blocks=(1, 1))
        c.data.source = dict(name='simulated_images', classes=('normal', 'pneumonia'), cases=(16, 12, 12))
    return c
