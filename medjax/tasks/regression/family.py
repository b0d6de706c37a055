"""The family of regression: measured numbers, some of which may be missing."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'regression': 'task'},
    metrics=MetricList((
        Metric('r2', 'R²', headline=True),
        Metric('rmse', 'RMSE', better='lower', headline=True),
        Metric('mae', 'MAE', better='lower'),
        Metric('pearson', 'Pearson'),
        Metric('spearman', 'Spearman'),
        Metric('bias', 'Bias', better='zero'),
        Metric('nrmse', 'RMSE over training SD', better='lower'),
    )),
    refuses={
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting((), '', {
        'error of values': ('rmse', 'mae'),
        'explained variance': ('r2',),
    }),
)
