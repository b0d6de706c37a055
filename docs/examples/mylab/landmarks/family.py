"""The declaration of the family: its task, its metrics, and what it refuses."""

from medjax.metrics.names import Metric, MetricList
from medjax.tasks.family import Family

ONE_RUN = 'evaluate each run by itself'
FAMILY = Family(
    package=__package__,
    tasks={'heatmap': 'task'},
    metrics=MetricList((
        Metric('error', 'Localisation error', unit='px', better='lower', headline=True),
        Metric('within', 'Within 2 px'),
    )),
    refuses={'merge': ONE_RUN, 'compare': ONE_RUN, 'ensemble': ONE_RUN},
)
