"""Appearance of the report's pictures: a colour-blind safe palette, and charts for light and dark pages."""

import io

from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe & Ito 2008; the first three also differ in lightness, and from the colours of the error map.
PALETTE = ('#56B4E9', '#E69F00', '#009E73', '#0072B2', '#F0E442', '#D55E00', '#CC79A7')
MISSED, SPURIOUS, CONFUSED = '#D55E00', '#F0E442', '#CC79A7'
# Heat maps, from strong to faint: evidence for a class, and evidence against it.
SUPPORTING, OPPOSING = ('#D55E00', '#F0E442'), ('#0072B2', '#56B4E9')
INK = {'light': '#24292f', 'dark': '#d0d4d9'}
FAINT = {'light': '#d9dce0', 'dark': '#3d444d'}
MARKERS = 'osD^vPX'
CHART_DPI = 200
SQUARE = (4.6, 4.0)  # inches
NAME_LENGTH = 26  # characters of a name beside a chart


def class_colour(number: int) -> str:
    """The colour of class `number`, 1 for the first class after the background; paler from the eighth on."""
    turn, place = divmod(number - 1, len(PALETTE))
    colour = colors.to_rgb(PALETTE[place])
    return colors.to_hex([c + (1 - c) * min(turn * 0.45, 0.8) for c in colour])


def png(figure: Figure, dpi: float) -> bytes:
    """The figure as PNG with a transparent background; equal figures give equal bytes."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format='png', dpi=dpi, transparent=True, metadata={'Software': None})
    return stream.getvalue()


def chart(theme: str, xlabel: str, ylabel: str, width: float = 4.6, height: float = 2.9) -> tuple[Figure, Axes]:
    """An empty chart in the colours of a light or a dark page.

    Args:
      theme: 'light' or 'dark'.
      xlabel: name of the x axis.
      ylabel: name of the y axis.
      width: inches.
      height: inches.
    """
    figure = Figure(figsize=(width, height), layout='constrained')
    axes = figure.add_subplot()
    style_axes(axes, theme)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return figure, axes


def style_axes(axes: Axes, theme: str) -> None:
    """Sets the colours of axes for a theme, without a box and with faint horizontal grid lines."""
    ink = INK[theme]
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color(FAINT[theme])
    axes.tick_params(colors=ink, labelsize=9, length=0)
    axes.xaxis.label.set(color=ink, fontsize=9.5)
    axes.yaxis.label.set(color=ink, fontsize=9.5)
    axes.grid(axis='y', color=FAINT[theme], linewidth=0.7)
    axes.set_axisbelow(True)


def legend(axes: Axes, theme: str, **options: object) -> None:
    """Adds a legend without a frame in the colours of a theme."""
    axes.legend(frameon=False, labelcolor=INK[theme], fontsize=9, **options)


def short_name(name: str, length: int = NAME_LENGTH) -> str:
    """A name cut to `length` characters, so that it fits beside a chart."""
    return name if len(name) <= length else f'{name[:length - 1].rstrip()}…'
