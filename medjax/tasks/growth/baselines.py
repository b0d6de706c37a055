"""Baselines of tumour growth: growth laws of the volume, and a reaction–diffusion model of the mask."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.datasets.tumour_growth import TumourGrowthDataset
from medjax.data.datasets.tumour_visits import signed_distance
from medjax.errors import InputError
from medjax.ops import growth_laws, reaction_diffusion
from medjax.tasks.growth.mask_growth import foreground, resize_mask

TYPICAL = (0.1, 0.016)  # diffusion, mm² / day, and rate, 1 / day, towards which the fit is regularised
MAX_DIFFUSION = 0.6  # mm² / day, of the fit
MAX_RATE = 0.1  # 1 / day, of the fit
SIMULATIONS = 16  # in a batch


def growth_law_masks(data: TumourGrowthDataset, curves: Mapping[str, growth_laws.GrowthCurve],
                     numbers: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Masks `[n, *S]` and volumes `[n]`, ml, by growth law: the last mask, resized to the volume of the law.

    Args:
      data: the data set.
      curves: for each law the curves of all cases, `[N]`.
      numbers: of n cases.
    """
    rows, masks, volumes = data.rows, {}, {}
    last = rows.masks[numbers, -1]
    if 'image' in data.inputs:
        allowed = [foreground(image) for image in rows.image[numbers, -1]]
    else:
        allowed = np.ones(last.shape, bool)
    for law, curve in curves.items():
        chosen = growth_laws.GrowthCurve(*(part[numbers] for part in curve))
        volumes[law] = np.asarray(growth_laws.volume(law, chosen, rows.horizon[numbers]), np.float64)
        masks[law] = np.stack([resize_mask(mask, data.spacing, round(volume / data.voxel), where)
                               for mask, volume, where in zip(last, volumes[law], allowed)])
    return masks, volumes


def reaction_diffusion_masks(data: TumourGrowthDataset, numbers: np.ndarray) -> np.ndarray:
    """Masks `[n, *S]` uint8 by a reaction–diffusion model that is fitted to the last two visits of each case.

    Args:
      data: the data set, with maps of the tissue.
      numbers: of n cases.

    Raises:
      InputError: the masks have no common threshold.
    """
    rows, spacing = data.rows, data.spacing[:data.rows.label.ndim - 1]
    thresholds = np.array([data.source.cases[number].target.threshold for number in numbers])
    if not (thresholds == thresholds[0]).all() or thresholds[0] is None:
        raise InputError('config.evaluate.reaction_diffusion: True; expected False, or masks with one known threshold')
    threshold = float(thresholds[0])
    longest = max(float(-rows.time[numbers, -2].min()), float(rows.horizon[numbers].max()))
    steps = reaction_diffusion.stable_steps(longest, MAX_DIFFUSION, MAX_RATE, spacing)

    def simulate_case(parts: tuple[jax.Array, ...]) -> jax.Array:
        before, after, mask, tissue, duration, horizon = parts
        found = reaction_diffusion.fit_masks(before, mask, tissue, duration, spacing, steps=steps,
                                             max_diffusion=MAX_DIFFUSION, threshold=threshold, start=TYPICAL)
        u = jnp.where(tissue > 0, reaction_diffusion.front_profile(after, found.diffusion, found.rate, threshold), 0)
        u = reaction_diffusion.simulate(u, found.diffusion * tissue, found.rate, horizon, spacing, steps)
        return u > threshold

    distances = [np.stack([signed_distance(mask, spacing) for mask in rows.masks[numbers, place]])
                 for place in (-2, -1)]
    masks = jax.jit(lambda *parts: jax.lax.map(simulate_case, parts, batch_size=SIMULATIONS))(
        *distances, rows.masks[numbers, -1].astype(np.float32), rows.tissue[numbers], -rows.time[numbers, -2],
        rows.horizon[numbers])
    return np.asarray(masks).astype(np.uint8)
