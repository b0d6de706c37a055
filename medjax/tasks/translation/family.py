"""The family of image-to-image translation: one contrast from another."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'translation': 'task'},
    metrics=MetricList((
        Metric('psnr', 'PSNR', unit='dB', headline=True),
        Metric('ssim', 'SSIM', headline=True),
        Metric('mae', 'MAE', better='lower'),
        Metric('sharpness', 'Sharpness', better='target', target=1.0),
        Metric('gain_psnr', 'Gain in PSNR', unit='dB'),
    )),
    refuses={
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('CLAIM',), '', {
        'error of intensities': ('psnr', 'mae'),
        'structural similarity': ('ssim',),
    }),
)
