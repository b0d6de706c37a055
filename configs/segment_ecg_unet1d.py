"""Beats in a 12-lead ECG, sample by sample: a one-dimensional U-Net, or `:rnn`, a bidirectional GRU.

    python -m medjax.train --config=configs/segment_ecg_unet1d.py --workdir=runs/ecg

Data: simulated ECGs train and test; the recording of one person that pydicom ships is a split of its own, whose beats
are those of Pan and Tompkins's detector. This shows that the method works in one dimension, and says nothing about
accuracy in patients. Results: docs/results/segment_ecg_unet1d.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 200
    c.batch = 16
    c.model = dict(name='unet', variant='nnunet', classes=2, dims=1, base=8, levels=4, deep_supervision=False)
    c.task = dict(name='segmentation', loss=dict(cross_entropy=1.0, soft_dice=1.0))
    c.data = dict(name='signals', window=256, source=dict(name='simulated_ecg', recordings=('pydicom',)))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=0.01, clip=1.0, schedule=dict(name='cosine', warmup=20))
    c.evaluate = dict(name='signals', every=100)
    c.checkpoint = dict(best='f1', keep=1)
    c.log = dict(every=20)
    if variant == 'rnn':
        c.model, c.steps = dict(name='signal_segmenter', variant='gru', classes=2, width=24), 800
    if variant == 'smoke':
        c.steps, c.batch, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 4, 2, 1, 1
        c.model.levels, c.model.base = 2, 4
        c.data.source.cases = (4, 2, 2)
    return c
