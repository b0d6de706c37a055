"""Landmarks: a family of your own, in a package of your own.

    PYTHONPATH=docs/examples python -m medjax.train --config=docs/examples/landmarks_config.py --workdir=runs/landmarks
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    """The experiment; `:smoke` trains two steps."""
    c = config_dict.ConfigDict()
    c.seed, c.steps, c.batch = 0, 300, 16
    c.model = dict(name='unet', dims=2, classes=1, base=8, levels=2)
    c.task = dict(name='mylab.landmarks.heatmap')
    c.data = dict(name='mylab.landmarks.dataset', source=dict(name='mylab.landmarks.source'))
    c.optim = dict(name='adam', lr=3e-3)
    c.evaluate = dict(name='mylab.landmarks', every=100)
    c.checkpoint = dict(best='error', keep=1)
    if variant == 'smoke':
        c.steps, c.evaluate.every = 2, 2
    return c
