"""The family of classification: a class, or several, for a whole image."""

from medjax.metrics.names import Metric, MetricList
from medjax.report.reporting import Reporting
from medjax.tasks.family import Family

FAMILY = Family(
    package=__package__,
    tasks={'classification': 'task'},
    metrics=MetricList((
        Metric('auroc', 'AUROC', headline=True),
        Metric('auprc', 'AUPRC'),
        Metric('accuracy', 'Accuracy', headline=True),
        Metric('balanced_accuracy', 'Balanced accuracy'),
        Metric('sensitivity', 'Sensitivity'),
        Metric('specificity', 'Specificity'),
        Metric('precision', 'Precision'),
        Metric('f1', 'F1'),
        Metric('f1_micro', 'F1, pooled'),
        Metric('mcc', 'MCC'),
        Metric('kappa', "Cohen's kappa"),
        Metric('kappa_weighted', 'Kappa, quadratic weights'),
        Metric('brier', 'Brier score', better='lower'),
        Metric('log_loss', 'Log loss', better='lower'),
        Metric('ece', 'ECE', better='lower'),
        Metric('ece_adaptive', 'ECE, adaptive', better='lower'),
        Metric('ece_predicted', 'ECE, predicted class', better='lower'),
        Metric('calibration_slope', 'Calibration slope', better='target', target=1.0),
        Metric('calibration_intercept', 'Calibration-in-the-large', better='zero'),
        Metric('demographic_parity_difference', 'Demographic parity difference', better='lower'),
        Metric('equalised_odds_difference', 'Equalised odds difference', better='lower'),
    )),
    reporting=Reporting(('CLAIM',), 'image-level classification', {
        'threshold-free discrimination of each class': ('auroc', 'auprc'),
        'counts of each class at a threshold': ('sensitivity', 'specificity', 'precision', 'f1'),
        'a summary over classes that does not follow the most frequent one': (
            'balanced_accuracy', 'mcc', 'kappa', 'kappa_weighted'),
        'calibration': ('brier', 'log_loss', 'ece', 'ece_adaptive'),
    }),
)
