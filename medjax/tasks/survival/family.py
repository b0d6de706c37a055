"""The family of survival analysis: the risk of events over time."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'survival': 'task'},
    metrics=MetricList((
        Metric('c_index', 'C-index (Harrell)', headline=True),
        Metric('c_uno', 'C-index (Uno)'),
        Metric('c_td', 'C-index (Antolini)'),
        Metric('ibs', 'IBS', better='lower'),
        Metric('auc', 'AUC', at_time=True),
        Metric('brier', 'Brier score', better='lower', at_time=True),
        Metric('calibration_slope', 'Calibration slope', better='target', target=1.0, at_time=True),
        Metric('calibration_intercept', 'Calibration-in-the-large', better='zero', at_time=True),
    )),
    refuses={
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('TRIPOD+AI',), '', {
        'discrimination': ('c_index', 'c_uno', 'c_td', 'auc'),
        'overall error, with calibration': ('ibs', 'brier'),
    }),
)
