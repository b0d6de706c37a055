r"""Treatment effects in a randomised trial, ACTG 175: more than zidovudine alone, by the CD4 count after 20 weeks.

    pip download --no-deps lifelines==0.30.3 && unzip lifelines-*.whl 'lifelines/datasets/*'
    MEDJAX_DATA_DIR=lifelines/datasets python -m medjax.train \
        --config=configs/treat_actg_tlearner.py --workdir=runs/actg

Data: `ACTG175.csv` in MEDJAX_DATA_DIR, 2139 patients with HIV, 532 on zidovudine alone (Hammer 1996). Under
randomisation the difference of the groups' means is an unbiased estimate of the mean effect, with which a model must
agree. Variants: `:tarnet`, `:slearner`, `:xlearner`, `:smoke`. Results: docs/results/treat_actg_tlearner.json.
"""

from ml_collections import config_dict


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.steps = 600
    c.batch = 128
    c.model = dict(name='tarnet', variant='tlearner')
    c.task = dict(name='treatment')
    c.data = dict(name='tabular', fold=(), folds=(), source=dict(
        name='treatment_csv', table='ACTG175.csv', patient='pidnum', treatment='treat',
        groups=('zidovudine', 'combination'), outcome='cd420', extra_columns=('gender',),
        covariates=('age', 'wtkg', 'hemo', 'homo', 'drugs', 'karnof', 'oprior', 'z30', 'preanti', 'race', 'gender',
                    'str2', 'symptom', 'cd40', 'cd80'),
        notice='A randomised trial of 1991 to 1994: its treatments are not those of today.'))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=6.0, clip=1.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=50))
    c.evaluate = dict(name='treatment', every=50)
    c.checkpoint = dict(best='factual_rmse', keep=1)
    c.log = dict(every=100)
    if variant in ('tarnet', 'slearner', 'xlearner'):
        c.model.variant = variant
    if variant == 'smoke':
        c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup, c.batch = 2, 2, 1, 1, 64
        c.data = dict(name='tabular', source=dict(name='simulated_treatment', realisation=0))
    return c
