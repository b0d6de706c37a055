"""A table of translated cases summed up: how near what was made is to the truth, beside floors without a network."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.statistics import bootstrap

METHODS = {'': 'network', 'linear': 'linear regression', 'lookup': 'lookup table', 'matched': 'histogram matching'}
FIGURES = ('psnr', 'ssim', 'mae', 'sharpness')
CONVENTIONS = (
    'Figures are of the voxels of the head alone (config.data.whole: of all), on the grid that the image was stored '
    'on. Intensities count as shares of the target\'s range, from its least training voxel to the 99.9th percentile of '
    'the training heads, so that the peak of PSNR is 1 and an MAE of 0.01 is one per cent of the range; what is made '
    'is not clipped. PSNR is that of a case\'s mean squared error, not a mean over its planes, and 100 dB at most. '
    'SSIM (Wang 2004) is the mean of its map, with Gaussian windows of 1.5 pixels in axial planes and a peak of 1; '
    'windows near the border of '
    'the head see what lies beyond. Sharpness is the mean slope within axial planes over that of the truth: 1 is as '
    'sharp, less is blurred, and noise counts as sharp. Linear regression and the lookup table (64 bins with as many '
    'voxels each) tell a voxel by its own intensity and are fitted to pairs of training voxels; histogram matching '
    'gives the target of the same rank and needs no pairs. Beyond the head these three are given the truth. A gain is '
    'the network\'s figure less another\'s, case by case. Cases without a target are counted nowhere. Intervals are '
    'over patients (percentile bootstrap); of one patient there is none.')


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: image fidelity, of the network and of baselines without one.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    return {**summarise(rows)['metrics'], 'problem': 'translation', 'conventions': CONVENTIONS}


def methods(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ways of METHODS that a table has figures of, the network's first."""
    there = {key for row in rows for key in row}
    return [name for name in METHODS if not name or f'psnr_{name}' in there]


def summarise(rows: Sequence[Mapping[str, Any]], resamples: int = 2000) -> dict[str, Any]:
    """Sums a table of translated cases up.

    Args:
      rows: of a predictions table: `split`, `id`, `patient` and FIGURES, with `_METHOD` behind them for those without a
        network, and `cycle_mae` of a CycleGAN.
      resamples: bootstrap draws.

    Returns:
      `metrics`: {split: {name: entry}} as of `bootstrap.summarise`: the figures, and `gain_psnr_METHOD`.
    """
    out = {}
    for split, some in bootstrap.rows_by_split(rows).items():
        others = [name for name in methods(some) if name]
        full = [{**row, **{f'gain_psnr_{name}': bootstrap.parse_number(row.get('psnr')) - bootstrap.parse_number(
            row.get(f'psnr_{name}')) for name in others}} for row in some]
        wanted = [*FIGURES, *(f'{figure}_{name}' for name in others for figure in FIGURES),
                  *(f'gain_psnr_{name}' for name in others)]
        wanted += ['cycle_mae'] * any('cycle_mae' in row for row in some)
        out[split] = bootstrap.summarise(full, wanted, resamples=resamples)
    return {'metrics': out}
