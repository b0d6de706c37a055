"""The family of segmentation: a class for each voxel or sample."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'segmentation': 'task'},
    metrics=MetricList((
        Metric('dice', 'Dice', headline=True),
        Metric('iou', 'IoU'),
        Metric('sensitivity', 'Sensitivity'),
        Metric('precision', 'Precision'),
        Metric('hd95', 'HD95', unit='mm', better='lower'),
        Metric('assd', 'ASSD', unit='mm', better='lower'),
        Metric('nsd', 'NSD'),
        Metric('volume_error_ml', 'Volume error', unit='ml', better='zero'),
        Metric('area_error_mm2', 'Area error', unit='mm²', better='zero'),
        Metric('area_error_px', 'Area error', unit='px', better='zero'),
        Metric('lesion_f1', 'Lesion F1'),
        Metric('lesions_merged', 'Merged lesions', better='lower'),
        Metric('lesions_split', 'Split lesions', better='lower'),
        Metric('missed', 'Missed structures', better='lower'),
        Metric('spurious', 'Spurious structures', better='lower'),
    )),
    reporting=Reporting(('CLAIM',), 'semantic segmentation', {
        'overlap': ('dice', 'iou'),
        'distance of borders': ('nsd', 'hd95', 'assd'),
        'structures missed or spurious': ('missed', 'spurious', 'lesion_f1'),
    }),
)
