"""Quality of a deformation: overlap of labels, folding, registration errors and correlation."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from medjax.losses.image_similarity import local_correlation
from medjax.ops import deformation

Measured = Mapping[str, np.ndarray]


def make_measure(spacing: Sequence[float], classes: int, window: int) -> Callable[..., dict[str, jax.Array]]:
    """A compiled function that measures a deformation.

    Args:
      spacing: voxel size, in the unit of distances: mm, or 1 px.
      classes: number of classes with the background.
      window: of the correlation, voxels.

    Returns:
      `(pair, displacement, inverse) -> arrays`: of a pair with a batch axis of 1 and displacements `[D, *S]` in voxels
      the deformed image `moved [*S, C]` and label `moved_label [*S]`; for each class but the background twice the
      intersection, `overlap`, and the sum of both sizes, `size`; for each landmark its distance `error`; and
      `folded` (share of cells), `consistency` (a distance) and `ncc`.
    """
    def measure(pair: Mapping[str, jax.Array], displacement: jax.Array, inverse: jax.Array) -> dict[str, jax.Array]:
        one = {name: part[0] for name, part in pair.items()}
        moved = deformation.warp(one['moving'], displacement)
        label = deformation.warp(one['moving_label'][..., None], displacement, 'nearest')[..., 0]
        sums = [(2 * jnp.sum((label == k) & (one['fixed_label'] == k)),
                 jnp.sum(label == k) + jnp.sum(one['fixed_label'] == k)) for k in range(1, classes)]
        overlap, size = (jnp.array([pair[place] for pair in sums], jnp.float32) for place in range(2))
        error = deformation.target_registration_error(displacement, one['points'], one['targets'], spacing)
        correlation = local_correlation(one['fixed'][None], moved[None], window=window)[0]
        return {'moved': moved, 'moved_label': label, 'overlap': overlap, 'size': size, 'error': error,
                'folded': deformation.folding_fraction(displacement),
                'consistency': deformation.inverse_consistency_error(displacement, inverse, spacing),
                'ncc': 1 - correlation}
    return jax.jit(measure)


def pair_metrics(measured: Measured, points_mask: np.ndarray) -> dict[str, float]:
    """The metrics of a pair, without time; NaN where there are no labels or no landmarks.

    Args:
      measured: by the function of `make_measure`.
      points_mask: `[P]`, 1 for landmarks, 0 for padding.
    """
    present = measured['size'] > 0
    errors = measured['error'][points_mask > 0]
    nan = float('nan')
    return {'dice': float((measured['overlap'][present] / measured['size'][present]).mean()) if present.any() else nan,
            'folded': 100 * float(measured['folded']), 'tre': float(errors.mean()) if errors.size else nan,
            'tre90': float(np.percentile(errors, 90)) if errors.size else nan, 'ncc': float(measured['ncc']),
            'consistency': float(measured['consistency'])}
