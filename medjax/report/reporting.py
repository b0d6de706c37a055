"""The declaration of a family of problems for the report's checklist."""

import dataclasses
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Reporting:
    """The reporting guidelines of a family, and the metrics that its kind of problem needs.

    Attributes:
      guidelines: 'CLAIM' for images, 'TRIPOD+AI' for prediction models of tables; a family that can have both inputs
        declares the latter, and runs with images get both.
      category: the problem category of Metrics Reloaded (Maier-Hein 2024): 'image-level classification', 'semantic
        segmentation' or 'object detection'; '' where it is none of them.
      metrics: for each kind of metric that should be reported the names of the family's metrics, one of which is
        enough; '' in place of a name for what the report has as a section.
    """

    guidelines: Sequence[str] = ()
    category: str = ''
    metrics: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
