"""Charts of image synthesis: features of images, and distances to the nearest training image."""

from collections.abc import Mapping

import numpy as np

from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, legend, png


def scatter_chart(points: Mapping[str, np.ndarray], theme: str) -> bytes:
    """Images by their first two features, as PNG.

    Args:
      points: `[n, 2]` by name.
      theme: 'light' or 'dark'.
    """
    figure, axes = chart(theme, 'First component', 'Second component', *SQUARE)
    for place, (name, xy) in enumerate(points.items()):
        axes.scatter(*xy.T, s=9, alpha=0.5, linewidths=0, color=PALETTE[place], label=name)
    legend(axes, theme, loc='best')
    return png(figure, CHART_DPI)


def distance_chart(groups: Mapping[str, np.ndarray], theme: str) -> bytes:
    """Histograms of distances to the nearest training image, with their means, as PNG.

    Args:
      groups: `[n]` by name, n > 0.
      theme: 'light' or 'dark'.
    """
    figure, axes = chart(theme, 'Distance to the nearest training image', 'Share', *SQUARE)
    values = np.concatenate(list(groups.values()))
    edges = np.linspace(values.min(), values.max() + 1e-9, 31)
    for place, (label, distances) in enumerate(groups.items()):
        axes.hist(distances, edges, weights=np.full(len(distances), 1 / len(distances)), histtype='stepfilled',
                  alpha=0.35, color=PALETTE[place], label=label)
    for place, distances in enumerate(groups.values()):
        axes.axvline(distances.mean(), color=PALETTE[place], linewidth=1.2, linestyle='--')
    axes.tick_params(colors=INK[theme])
    legend(axes, theme, loc='best')
    return png(figure, CHART_DPI)
