"""The family of anomaly detection: scores of how abnormal an image is."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'autoencoder': 'autoencoder_task', 'synthetic_anomaly': 'synthetic_anomaly_task'},
    metrics=MetricList((
        Metric('auroc', 'AUROC', headline=True),
        Metric('auprc', 'AUPRC'),
        Metric('sensitivity', 'Sensitivity'),
        Metric('specificity', 'Specificity'),
        Metric('error', 'Reconstruction error', better='lower'),
        Metric('bound', 'Negative evidence lower bound', better='lower'),
        Metric('synthetic_anomaly', 'Synthetic anomaly score', better='lower'),
    )),
    refuses={
        'ensemble': 'only runs of classification can be averaged',
    },
    reporting=Reporting(('CLAIM',), 'image-level classification', {
        'threshold-free discrimination': ('auroc', 'auprc'),
        'counts at a threshold': ('sensitivity', 'specificity'),
    }),
)
