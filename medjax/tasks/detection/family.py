"""The family of object detection: boxes with a class and a score."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'detection': 'task'},
    metrics=MetricList((
        Metric('ap', 'AP', headline=True),
        Metric('ap10', 'AP10', headline=True),
        Metric('ap20', 'AP20'),
        Metric('ap30', 'AP30'),
        Metric('ap40', 'AP40'),
        Metric('ap50', 'AP50', headline=True),
        Metric('ar', 'Average recall'),
        Metric('cpm', 'CPM', headline=True),
        Metric('cpm_luna16', "CPM by LUNA16's rule"),
        Metric('froc_0.125', 'Sensitivity at ⅛ false positives per image'),
        Metric('froc_0.25', 'Sensitivity at ¼ false positives per image'),
        Metric('froc_0.5', 'Sensitivity at ½ false positives per image'),
        Metric('froc_1', 'Sensitivity at 1 false positives per image'),
        Metric('froc_2', 'Sensitivity at 2 false positives per image'),
        Metric('froc_4', 'Sensitivity at 4 false positives per image'),
        Metric('froc_8', 'Sensitivity at 8 false positives per image'),
        Metric('sensitivity', 'Sensitivity'),
        Metric('precision', 'Precision'),
        Metric('f1', 'F1'),
        Metric('false_positives', 'False positives per image', better='lower'),
    )),
    refuses={
        'merge': 'scores of different models have no common unit, so average precision cannot be merged; evaluate '
                 'each run by itself',
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('CLAIM',), 'object detection', {
        'threshold-free detection': ('ap', 'ap10', 'ap50', 'cpm'),
        'sensitivity at numbers of false positives': ('cpm', 'froc_1', 'froc_2', 'false_positives'),
        'counts at a threshold': ('sensitivity', 'precision', 'f1'),
    }),
)
