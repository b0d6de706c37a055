"""TARNet on IHDP: the effect of an early intervention on each child, on real covariates with simulated outcomes.

    python -m medjax.train --config=configs/treat_ihdp_tarnet.py --workdir=runs/ihdp
    python -m medjax.evaluate --workdir=runs/ihdp --split=train,val,test     within the sample too

Data: the table that econml ships (`pip install econml --no-deps`): 747 children, 139 of them treated, response
surface B of Hill 2011, `data.source.realisation` 0, 1, …. Variants: `:cfr` (Shalit 2017, with MMD), `:tlearner`,
`:slearner`, `:xlearner`. The weights with the lowest validation error of the observed outcomes; the true effects are
never used for selection. Results: docs/results/treat_ihdp_tarnet.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 1000
    c.batch = 64
    c.model = dict(name='tarnet', variant='tarnet')
    c.task = dict(name='treatment')
    c.data = dict(name='tabular', source=dict(name='ihdp', response_surface='B', realisation=0))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=6.0, clip=1.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=50))
    c.evaluate = dict(name='treatment', every=100)
    c.checkpoint = dict(best='factual_rmse', keep=1)
    c.log = dict(every=100)
    if variant == 'cfr':
        c.task.mmd_weight = 1.0
    if variant in ('tlearner', 'slearner', 'xlearner'):
        c.model.variant = variant
    if variant == 'smoke':
        c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 2, 2, 1, 1
        c.batch, c.data.source = 64, dict(name='simulated_treatment', realisation=0)
    return c
