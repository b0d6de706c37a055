"""The family of events in signals: samples labelled by a segmentation task, counted as events."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={},
    metrics=MetricList((
        Metric('f1', 'F1', headline=True),
        Metric('sensitivity', 'Sensitivity'),
        Metric('precision', 'Precision'),
        Metric('timing_ms', 'Timing', unit='ms', better='lower'),
        Metric('detector_f1', 'F1 of the baseline detector'),
        Metric('detector_sensitivity', 'Sensitivity of the baseline detector'),
        Metric('detector_precision', 'Precision of the baseline detector'),
        Metric('detector_timing_ms', 'Timing of the baseline detector', unit='ms', better='lower'),
    )),
    refuses={
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('CLAIM',), '', {
        'counts of events within a tolerance': ('f1', 'sensitivity', 'precision'),
        'localisation of events': ('timing_ms',),
    }),
)
