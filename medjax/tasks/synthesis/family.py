"""The family of image synthesis: images from noise, by class."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'gan': 'gan_task', 'diffusion': 'diffusion_task'},
    metrics=MetricList((
        Metric('fid', 'FID', better='lower', headline=True),
        Metric('kid', 'KID', better='lower', headline=True),
        Metric('precision', 'Precision'),
        Metric('recall', 'Recall'),
        Metric('density', 'Density', better='target', target=1.0),
        Metric('coverage', 'Coverage'),
        Metric('diversity', 'Diversity', better='target', target=1.0),
        Metric('nearest', 'Nearest', better='target', target=1.0),
        Metric('copies', 'Copies', better='target', target=0.05),
        Metric('label_kept', 'Label kept'),
    )),
    refuses={
        'merge': 'distances between distributions cannot be merged; evaluate each run by itself',
        'compare': 'distances between distributions of images are not made of values of single patients',
        'export': 'images are drawn by many calls of the network; `medjax.synthesise` does that',
        'serve': 'images are drawn by many calls of the network; `medjax.synthesise` does that',
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('CLAIM',), '', {
        'distance of distributions': ('fid', 'kid'),
        'fidelity and variety': ('precision', 'recall', 'density', 'coverage'),
        'copies of training images': ('copies', 'nearest'),
    }),
)
