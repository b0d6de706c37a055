"""The family of tumour growth: the mask at the next visit."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'growth': 'task'},
    metrics=MetricList((
        Metric('dice', 'Dice', headline=True),
        Metric('volume_error', 'Volume error', unit='%', better='lower', headline=True),
        Metric('gain_dice', 'Gain in Dice'),
        Metric('gain_volume', 'Gain in volume error', unit='%'),
        Metric('auroc_sites', 'AUROC of sites'),
        Metric('brier_sites', 'Brier score of sites', better='lower'),
    )),
    refuses={
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('CLAIM',), 'semantic segmentation', {
        'overlap': ('dice',),
        'distance of borders': (),
        'volume': ('volume_error',),
    }),
)
