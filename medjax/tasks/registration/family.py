"""The family of registration: the deformation between two images."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'registration': 'task'},
    metrics=MetricList((
        Metric('dice', 'Dice', headline=True),
        Metric('tre', 'TRE', unit='mm', better='lower', headline=True),
        Metric('tre90', 'TRE, 90th percentile', unit='mm', better='lower'),
        Metric('folded', 'Folded', unit='%', better='lower'),
        Metric('ncc', 'Local correlation'),
        Metric('consistency', 'Inverse consistency', unit='mm', better='lower'),
        Metric('seconds', 'Time per pair', unit='s', better='lower'),
        Metric('gain_tre', 'Gain in TRE', unit='mm'),
        Metric('gain_dice', 'Gain in Dice'),
    )),
    refuses={
        'listen': 'a study is one image, and a pair has two; expected `medjax predict --dicom` with a table of pairs',
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('CLAIM',), '', {
        'alignment of landmarks': ('tre', 'tre90'),
        'overlap of labels': ('dice',),
        'regularity of the deformation': ('folded',),
    }),
)
