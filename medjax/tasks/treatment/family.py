"""The family of treatment effects: outcomes with and without a treatment."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'treatment': 'task'},
    metrics=MetricList((
        Metric('pehe', '√PEHE', better='lower', headline=True),
        Metric('ate_error', 'ATE error', better='lower'),
        Metric('factual_rmse', 'Factual RMSE', better='lower'),
        Metric('pehe_matched', '√PEHE, matched', better='lower'),
        Metric('policy_value', 'Policy value'),
        Metric('qini', 'Qini'),
        Metric('ate_doubly_robust', 'ATE, doubly robust', headline=True),
    )),
    refuses={
        'predict': 'effects for new patients are not predicted; expected a run of another family',
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('TRIPOD+AI',), '', {
        'error of outcomes under the treatment received': ('factual_rmse',),
        'error or ranking of treatment effects': ('pehe', 'pehe_matched', 'qini'),
        'average effect': ('ate_error', 'ate_doubly_robust'),
    }),
)
