"""A chart of the ratios."""

import io
import pathlib
from collections.abc import Mapping
from typing import Any

from medjax import atomic_files


def draw(results: Mapping[str, Any], path: pathlib.Path) -> None:
    """Draws each ratio with its range on a logarithmic axis, and its goal.

    Args:
      results: the results of all jobs, by name, and the machine.
      path: the image file.
    """
    import matplotlib
    matplotlib.use('agg')
    from matplotlib import pyplot as plt
    names = [name for name, found in results.items() if 'ratio' in found]
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(names) + 1.3), layout='constrained')
    for row, name in enumerate(reversed(names)):
        found, labelled = results[name], row == 0
        low, high = found['ratio_range']
        axes.plot([low, high], [row, row], color='#2a6f97', linewidth=2, solid_capstyle='round')
        axes.plot(found['ratio'], row, 'o', color='#2a6f97', label='ratio, with its range' if labelled else None)
        axes.plot(found['goal'], row, '|', color='#9b2226', markersize=14, markeredgewidth=2,
                  label='goal' if labelled else None)
        axes.annotate(f'{found["ratio"]:.2f}  ({found["peer"]})', (high, row), xytext=(6, 0),
                      textcoords='offset points', va='center', fontsize=8)
    axes.axvline(1, color='grey', linewidth=1)
    axes.set_xscale('log')
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set_xlabel("peer's time (or memory) / medjax's; above 1 medjax is better")
    axes.margins(x=0.25)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='lower right', fontsize=8, frameon=False)
    machine = results['machine']
    axes.set_title(f'{machine["processor"]}, {machine["cores"]} cores; jax {machine["jax"]}, torch {machine["torch"]}',
                   fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:] or 'png', dpi=150)
    plt.close(figure)
    atomic_files.write_bytes(path, content.getvalue())
