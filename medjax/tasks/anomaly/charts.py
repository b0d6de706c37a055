"""Charts of anomaly scores."""

from collections.abc import Mapping

import numpy as np

from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, legend, png


def histogram_chart(groups: Mapping[str, np.ndarray], name: str, threshold: float | None, theme: str) -> bytes:
    """Histograms of a score in each class, as PNG.

    Args:
      groups: for each class its scores, `[n]` with n > 0.
      name: of the score.
      threshold: drawn as a dashed line; None for none.
      theme: 'light' or 'dark'.
    """
    figure, axes = chart(theme, name, 'Share of the class', *SQUARE)
    values = np.concatenate(list(groups.values()))
    edges = np.linspace(values.min(), values.max() + 1e-9, 31)
    for place, (label, scores) in enumerate(groups.items()):
        axes.hist(scores, edges, weights=np.full(len(scores), 1 / len(scores)), histtype='stepfilled', alpha=0.35,
                  color=PALETTE[place], label=f'{label} (n = {len(scores)})')
    if threshold is not None:
        axes.axvline(threshold, color=INK[theme], linestyle='--', linewidth=1.2)
    legend(axes, theme, loc='best')
    return png(figure, CHART_DPI)
