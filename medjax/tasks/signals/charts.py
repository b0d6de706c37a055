"""Charts of recordings: the signal with true and found beats and the probability of a beat."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from medjax.report.style import CHART_DPI, INK, PALETTE, png, style_axes
from medjax.tasks.signals.snapshot import Snapshot

MARGIN = 0.08  # above and below the signal, as a share of its range


def recordings_chart(recordings: Mapping[str, Snapshot], theme: str) -> bytes:
    """Recordings below each other, as PNG.

    Args:
      recordings: snapshots by title.
      theme: 'light' or 'dark'.
    """
    figure = Figure(figsize=(9.4, 2.1 * len(recordings)), layout='constrained')
    for axes, (title, recording) in zip(np.atleast_1d(figure.subplots(len(recordings), 1)), recordings.items()):
        style_axes(axes, theme)
        rate, lead = recording['rate'], recording['lead']
        time, (low, high) = np.arange(len(lead)) / rate, _limits(lead)
        axes.fill_between(time, low, low + (high - low) * recording['probs'], color=PALETTE[1], alpha=0.35, linewidth=0)
        axes.plot(time, lead, color=INK[theme], linewidth=0.7)
        axes.plot(recording['true'] / rate, np.full(len(recording['true']), low), '|', color=PALETTE[2], markersize=9,
                  markeredgewidth=1.6)
        axes.plot(recording['found'] / rate, np.full(len(recording['found']), high), 'v', color=PALETTE[3],
                  markersize=4.5)
        axes.grid(visible=False)
        axes.set_title(title, fontsize=9.5, color=INK[theme], loc='left')
        axes.set(xlim=(0, time[-1]), yticks=[])
    axes.set_xlabel('Time, s')
    return png(figure, CHART_DPI)


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    margin = MARGIN * (high - low) or 1.0
    return low - margin, high + margin
