"""Results of translation: image fidelity of the network and of baselines without one, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.statistics import per_patient
from medjax.tasks.translation.table import CYCLE, GAIN, METRICS, column, methods, psnr

CONVENTIONS = (
    'Metrics are computed on the voxels of the head alone (config.data.all_voxels: on all voxels), on the grid of the '
    'stored image. Intensities are shares of the target\'s range, from its smallest training voxel to the 99.9th '
    'percentile of the training heads, so that the peak of PSNR is 1 and an MAE of 0.01 is one per cent of the range; '
    'translated intensities are not clipped. PSNR is that of the mean squared error of a case, not a mean over its '
    'planes, and at most 100 dB. SSIM (Wang 2004) is the mean of its map, with Gaussian windows of 1.5 pixels in axial '
    'planes and a peak of 1; windows near the border of the head include voxels beyond it. Sharpness is the mean '
    'gradient magnitude within axial planes, divided by that of the true image: below 1 is blurred, and noise '
    'increases it. Linear regression and the lookup table (64 bins with equal numbers of voxels) predict a voxel from '
    'its own intensity and are fitted to pairs of training voxels; histogram matching gives the target of the same '
    'rank and needs no pairs. Outside of the head these baselines are given the true target. A gain is the PSNR of the '
    'network minus that of a baseline, case by case. Cases without a target are not counted. Intervals are '
    't intervals over patients; there is none for a single patient.')


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: image fidelity, of the network and of baselines without one.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, and what a reader must know of them.
    """
    return {**summarise(rows)['metrics'], 'problem': 'translation', 'conventions': CONVENTIONS}


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics of all splits of a predictions table.

    Args:
      rows: of the table; see `tasks/translation/table.py`.

    Returns:
      `metrics`: {split: {name: entry}} as of `per_patient.summarise`: the table's columns, and `gain_psnr_METHOD`.
    """
    return {'metrics': {split: per_patient.summarise(*with_gains(split_rows))
                        for split, split_rows in per_patient.rows_by_split(rows).items()}}


def with_gains(rows: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with the gain in PSNR over each baseline, and the names of all metrics, of the network and of baselines."""
    baselines = [method for method in methods(rows) if method]
    gains = [column(GAIN, method) for method in baselines]
    full = [{**row, **{gain: psnr(row) - psnr(row, method) for gain, method in zip(gains, baselines)}} for row in rows]
    names = [*METRICS, *(column(metric, method) for method in baselines for metric in METRICS), *gains]
    return full, [*names, CYCLE] if any(CYCLE in row for row in rows) else names
