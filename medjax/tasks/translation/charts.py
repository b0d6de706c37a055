"""Charts of translation: translated against true intensities, and the error by plane."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from medjax.report.style import CHART_DPI, INK, MARKERS, PALETTE, chart, legend, png, style_axes
from medjax.tasks.translation.snapshots import PLANE_ERRORS, Snapshot
from medjax.tasks.translation.table import METHODS

COLOURS = {'': PALETTE[1], 'lookup': PALETTE[0]}
RANGE = (0, 1.1)  # of intensities, as shares of the target's range


def joint_histogram_chart(cases: Sequence[Snapshot], theme: str) -> bytes:
    """Two-dimensional histograms of true and translated intensities, a panel for each method, as PNG.

    Args:
      cases: with a target each.
      theme: 'light' or 'dark'.
    """
    arrays = {'': 'made', 'lookup': 'lookup'}
    methods = [method for method, name in arrays.items() if all(name in case.arrays for case in cases)]
    figure = Figure(figsize=(3.6 * len(methods) + 0.4, 3.5), layout='constrained')
    truth = np.concatenate([case.arrays['target'][case.head > 0].ravel() for case in cases])
    for axes, method in zip(np.atleast_1d(figure.subplots(1, len(methods))), methods):
        style_axes(axes, theme)
        values = np.concatenate([case.arrays[arrays[method]][case.head > 0].ravel() for case in cases])
        axes.hist2d(truth, values, bins=80, range=[RANGE, RANGE], cmap='magma_r' if theme == 'light' else 'magma',
                    norm=LogNorm(vmin=1, clip=False), rasterized=True)
        axes.plot(RANGE, RANGE, color=INK[theme], linewidth=0.8, linestyle=':')
        axes.set(xlabel='True, share of the range', ylabel='Translated, share of the range')
        axes.set_title(METHODS[method], fontsize=9.5, color=INK[theme])
        axes.grid(visible=False)
    return png(figure, CHART_DPI)


def plane_error_chart(cases: Sequence[Snapshot], theme: str) -> bytes:
    """The mean absolute error in each axial plane, a line for each case and method, as PNG."""
    figure, axes = chart(theme, 'Position of the plane, mm, inferior to superior', 'MAE, share of the range')
    for place, case in enumerate(cases):
        position = case.first + np.arange(case.head.shape[2]) * case.spacing[2]
        for method in PLANE_ERRORS:
            if method in case.planes:
                axes.plot(position, case.planes[method], color=COLOURS[method], linewidth=1.4, markersize=4,
                          marker=MARKERS[place % len(MARKERS)] if len(position) < 30 else None,
                          label=METHODS[method] if not place else None)
    axes.set_ylim(0)
    legend(axes, theme, loc='best')
    return png(figure, CHART_DPI)
