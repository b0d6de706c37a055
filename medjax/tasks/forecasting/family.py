"""The family of forecasting: the next measurements, and events within a horizon."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'forecasting': 'task'},
    metrics=MetricList((
        Metric('mase', 'MASE', better='lower', headline=True),
        Metric('r2', 'R²'),
        Metric('rmse', 'RMSE', better='lower'),
        Metric('mae', 'MAE', better='lower'),
        Metric('auroc', 'AUROC', headline=True),
        Metric('auprc', 'AUPRC'),
        Metric('brier', 'Brier score', better='lower'),
        Metric('calibration_slope', 'Calibration slope', better='target', target=1.0),
        Metric('calibration_intercept', 'Calibration-in-the-large', better='zero'),
        Metric('loss', 'Loss', better='lower'),
    )),
    refuses={
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('TRIPOD+AI',), '', {
        'error of forecast values': ('mase', 'rmse', 'mae', 'r2'),
        'discrimination of events': ('auroc', 'auprc'),
        'overall error of events, with calibration': ('brier',),
    }),
)
