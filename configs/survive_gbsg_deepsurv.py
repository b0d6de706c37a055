"""DeepSurv on GBSG: recurrence of node-positive breast cancer, trained on the Rotterdam tumour bank.

    MEDJAX_DATA_DIR=… python -m medjax.train --config=configs/survive_gbsg_deepsurv.py --workdir=runs/gbsg

Data: `survival/gbsg_cancer_train_test.h5` in MEDJAX_DATA_DIR: 1546 patients of the Rotterdam tumour bank train (one
fifth of them validates), and 686 of the GBSG trial test. Variants: `:cox` (linear), `:cox_time`, `:hazard`,
`:deephit`. The weights with the best validation C-index. Results: docs/results/survive_gbsg_deepsurv.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 100
    c.batch = 256
    c.model = dict(name='mlp', variant='small', outputs=1, features=(32, 32), norm='batch', dropout=0.3)
    c.task = dict(name='survival', loss='cox')
    c.data = dict(name='tabular', source=dict(name='deepsurv', cohort='gbsg'))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=0.1, clip=1.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=20))
    c.evaluate = dict(name='survival', every=20, treatment_covariate='hormone_treatment')
    c.checkpoint = dict(best='c_index', keep=1)
    c.log = dict(every=20)
    if variant == 'cox':
        c.model = dict(name='mlp', variant='linear', outputs=1, bias=False)
        c.batch, c.epochs, c.optim.lr, c.optim.weight_decay, c.optim.ema = 1237, 400, 2e-2, 0.0, 0.0
        c.evaluate.every, c.log.every = 100, 20
    if variant == 'cox_time':
        c.task.update(loss='cox_time')
    if variant == 'hazard':
        c.model.outputs, c.task = 20, dict(name='survival', loss='hazard', bins=20)
    if variant == 'deephit':
        c.model.outputs, c.task = 21, dict(name='survival', loss='deephit', bins=20)
    if variant == 'smoke':
        c.epochs, c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 2, 1, 1
        c.batch, c.data.source, c.evaluate.treatment_covariate = 64, dict(name='simulated_survival'), ''
    return c
