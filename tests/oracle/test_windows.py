"""Blended windows against MONAI's sliding_window_inference.

The two differ in two things. MONAI puts its windows a fixed step apart and moves the last one in, where ours are spread
evenly: the sizes here are such that the grids agree. And MONAI raises weights below 1e-3 to that: with windows of some
extent a large share of the weights, the corners' in 3D being about 1e-10. So its own weights are compared with windows
that have none so small, or ours are given to it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops.sliding_windows import SlidingWindowInference, gaussian_weights, window_starts

torch = pytest.importorskip('torch')
inferers = pytest.importorskip('monai.inferers')
from monai.data.utils import compute_importance_map, dense_patch_slices  # noqa: E402


@jax.jit
def forward(kernel, x):
    """Probabilities that depend on a voxel's neighbours, and so are wrong at the edges of a window."""
    logits = jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), 'SAME', dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'))
    return jax.nn.softmax(logits)


rng = np.random.default_rng(0)
KERNEL = jnp.asarray(rng.normal(size=(3, 3, 3, 2, 4)), jnp.float32)


def theirs(x, window, overlap, batch, **options):
    def predictor(tiles):
        return torch.tensor(np.moveaxis(np.asarray(forward(KERNEL, np.moveaxis(tiles.numpy(), 1, -1))), -1, 1))
    inputs = torch.tensor(np.moveaxis(x, -1, 0)[None])
    out = inferers.sliding_window_inference(inputs, window, batch, predictor, overlap, 'gaussian', 0.125, **options)
    return np.moveaxis(out[0].numpy(), 0, -1)


# Sizes less the window's are multiples of its step.
@pytest.mark.parametrize('shape, window, overlap, batch', [
    ((10, 6, 5), (4, 2, 1), 0.5, 4), ((6, 5, 7), (2, 2, 2), 0.5, 16), ((20, 3, 4), (8, 1, 1), 0.75, 5),
    ((8, 6, 3), (4, 2, 1), 0.0, 3)])
def test_equal_to_monai_where_no_weight_is_clamped(shape, window, overlap, batch):
    # A window that is one voxel thick stands for a 2D network in ours: `forward` is given its axis again.
    thin = tuple(a + 1 for a, n in enumerate(window) if n == 1)
    ours = SlidingWindowInference(lambda kernel, x: forward(kernel, jnp.expand_dims(x, thin)).squeeze(thin),
                                  window=window, overlap=overlap, batch=batch)
    x = rng.normal(size=(*shape, 2)).astype(np.float32)
    assert gaussian_weights(window).min() > 1.1e-3
    np.testing.assert_allclose(ours.probabilities(KERNEL, x), theirs(x, window, overlap, batch), atol=1e-5)


LARGE = [((32, 18, 12), (16, 12, 8), 0.5), ((20, 8, 28), (8, 8, 16), 0.25)]


@pytest.mark.parametrize('shape, window, overlap', LARGE)
def test_equal_to_monai_with_our_weights(shape, window, overlap):
    x = rng.normal(size=(*shape, 2)).astype(np.float32)
    got = SlidingWindowInference(forward, window=window, overlap=overlap, batch=4).probabilities(KERNEL, x)
    want = theirs(x, window, overlap, 4, roi_weight_map=torch.tensor(gaussian_weights(window))[None, None])
    np.testing.assert_allclose(got, want, atol=1e-5)
    weights = compute_importance_map(window, mode='gaussian').numpy()
    high = weights > 1e-3
    assert 0.1 < high.mean() < 0.9
    np.testing.assert_allclose((gaussian_weights(window) * weights.max())[high], weights[high], rtol=1e-5)


@pytest.mark.parametrize('shape, window, overlap', LARGE)
def test_without_a_clamp_errors_at_window_edges_are_smaller(shape, window, overlap):
    x = rng.normal(size=(*shape, 2)).astype(np.float32)
    full = np.asarray(forward(KERNEL, x[None])[0])
    ours = np.abs(SlidingWindowInference(forward, window=window, overlap=overlap).probabilities(KERNEL, x) - full)
    clamped = np.abs(theirs(x, window, overlap, 4) - full)
    assert ours.mean() < 0.8 * clamped.mean() and ours.max() < clamped.max()


@pytest.mark.parametrize('size, window, overlap', [(32, 16, 0.5), (18, 12, 0.5), (20, 8, 0.25), (5, 2, 0.5)])
def test_grids_agree_where_the_steps_fit(size, window, overlap):
    step = int(window * (1 - overlap))
    assert [s.start for s, in dense_patch_slices((size,), (window,), (step,))] == window_starts(size, window, overlap)
