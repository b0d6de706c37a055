"""Sliding-window inference: blending, memory, flips and devices."""

import subprocess
import sys
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.ops.sliding_windows import SlidingWindowInference, gaussian_weights, window_starts


def blur(variables, x):
    """A network whose output at a voxel depends only on its 3-neighbourhood; K = 3."""
    kernel = jnp.ones((3,) * (x.ndim - 2) + (x.shape[-1], 3)) * jnp.arange(1.0, 4.0) * variables
    dims = 'DHW'[3 - (x.ndim - 2):]
    return jax.lax.conv_general_dilated(x, kernel, (1,) * (x.ndim - 2), 'SAME', dimension_numbers=(
        f'N{dims}C', f'{dims}IO', f'N{dims}C'))


def pointwise(variables, x):
    return jnp.concatenate([x, 2 * x - 1, 1 - x], -1) * variables


def image(*shape):
    return np.random.default_rng(0).random((*shape, 1), np.float32)


def test_starts_cover_the_axis():
    assert window_starts(10, 4, 0.5) == [0, 2, 4, 6]
    assert window_starts(11, 4, 0.5) == [0, 2, 4, 5, 7]
    assert window_starts(3, 4, 0.5) == [0]
    assert window_starts(8, 4, 0.0) == [0, 4]


def test_weights_are_largest_in_the_centre_and_positive():
    weights = gaussian_weights((9, 64, 1))
    assert weights.shape == (9, 64, 1) and weights[4, 31, 0] == weights.max() == 1 and weights.min() > 1e-8


def test_a_window_as_large_as_the_image_is_one_forward_pass():
    x = image(8, 6, 5)
    got = SlidingWindowInference(blur, window=(8, 6, 5)).probabilities(2.0, x)
    np.testing.assert_allclose(got, blur(2.0, x[None])[0], rtol=1e-6)


@pytest.mark.parametrize('window, flips, batch', [((4, 4, 4), (), 1), ((4, 5, 3), (0, 2), 3), ((6, 4, 1), (1,), 4),
                                                  ((1, 8, 8), (), 7), ((16, 3, 4), (), 2)])
def test_blending_a_pointwise_network_changes_nothing(window, flips, batch):
    x = image(11, 8, 9)
    sliding = SlidingWindowInference(pointwise, window=window, flips=flips, batch=batch)
    got = sliding.probabilities(1.0, x)
    np.testing.assert_allclose(got, pointwise(1.0, x), atol=1e-6)
    label, confidence = sliding(1.0, x)
    np.testing.assert_array_equal(label, got.argmax(-1))
    np.testing.assert_allclose(confidence, got.max(-1), atol=1e-6)


def test_the_interior_equals_the_full_forward_pass():
    x = image(64, 8, 8)
    got = SlidingWindowInference(blur, window=(32, 8, 8), overlap=0.5).probabilities(1.0, x)
    full = np.asarray(blur(1.0, x[None])[0])
    # Windows are inaccurate at their padded borders, where their weights are small.
    error = np.abs(got - full).max((1, 2, 3)) / full.max()
    assert error[[0, 1, 31, 32, 62, 63]].max() < 0.02 and error[[5, 20, 40, 60]].max() < 1e-6


def test_one_program_for_all_sizes_and_weights():
    sliding = SlidingWindowInference(blur, window=(4, 4, 4), batch=3)
    for shape, weight in (((9, 4, 7), 1.0), ((3, 2, 2), 2.0), ((5, 20, 4), 3.0)):
        label, confidence = sliding(weight, image(*shape))
        assert label.shape == confidence.shape == shape
    assert sliding._run._cache_size() == 1


def test_a_mirrored_network_is_averaged():
    ramp = jnp.linspace(0, 1, 6)[None, :, None, None, None]
    forward = lambda variables, x: jnp.concatenate([x * 0 + ramp, x * 0 + 0.5], -1)
    got = SlidingWindowInference(forward, window=(6, 4, 4), flips=(0,)).probabilities(None, image(6, 4, 4))
    np.testing.assert_allclose(got[..., 0], 0.5, atol=1e-6)


def steps(variables, x):
    """Probabilities of a hundred classes; the most probable is that of the voxel's value."""
    return jax.nn.softmax(-jnp.abs(x * 100 - jnp.arange(100.0)))


def peak(run):
    """Peak memory of Python and NumPy during a call, in bytes, beyond that before it."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_proportional_to_a_slab():
    sliding = SlidingWindowInference(steps, window=(8, 8, 8), overlap=0.5, batch=3)
    sliding(None, image(8, 8, 8))  # compiles
    slab, volume = 8 * 16 * 16 * 100 * 4, 128 * 16 * 16 * 100 * 4
    assert peak(lambda: sliding.probabilities(None, image(128, 16, 16))) > volume
    # Slabs move along the longest axis, whose length only affects the image, labels and confidences.
    for shape in ((128, 16, 16), (16, 128, 16), (16, 16, 128)):
        assert peak(lambda shape=shape: sliding(None, image(*shape))) < 2 * slab < volume / 5


@pytest.mark.slow
def test_a_hundred_classes_of_a_large_volume_in_four_gigabytes():
    code = '''
import resource
import numpy as np
from medjax.ops.sliding_windows import SlidingWindowInference
from tests.ops.test_sliding_windows import image, steps
x = image(256, 256, 256)
label, confidence = SlidingWindowInference(steps, window=(64, 64, 64))(None, x)
assert (label == np.rint(x[..., 0] * 100).clip(0, 99)).mean() > 0.999 and np.isfinite(confidence).all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4e9  # all probabilities at once would be 6.7e9


def test_invalid_options_raise():
    with pytest.raises(InputError, match='config.evaluate.overlap'):
        SlidingWindowInference(blur, window=(4, 4, 4), overlap=1.0)
    with pytest.raises(InputError, match='config.evaluate.flips'):
        SlidingWindowInference(blur, window=(4, 4, 1), flips=(2,))


def test_windows_are_sharded_over_all_devices():
    shapes = set()

    def forward(variables, image):
        jax.debug.callback(lambda x: shapes.add(x.shape), image)
        return jax.nn.softmax(image * variables['scale'] + jnp.arange(3.0))

    image = np.random.default_rng(0).normal(size=(20, 13, 9, 1)).astype(np.float32)
    sliding = SlidingWindowInference(forward, window=(8, 8, 4), batch=3)
    single = sliding({'scale': jnp.float32(2.0)}, image)
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(2, 4), ('data', 'fsdp'))
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    sharded = sliding({'scale': jax.device_put(np.float32(2.0), replicated)}, image)
    np.testing.assert_array_equal(single[0], sharded[0])
    np.testing.assert_allclose(single[1], sharded[1], rtol=1e-6)
    jax.effects_barrier()
    assert {shape[0] for shape in shapes} == {3, 8}


@pytest.mark.parametrize('option, values', [
    ('flips', [(0, 0), (3,), (-1,), (0.0,), (True,), ('x',), 'x', 0, {0}]),
    ('overlap', [1, -0.1, float('nan'), float('inf'), '0.5', None, True]), ('batch', [0, -1, 2.5, '4', None])])
def test_options_are_checked_when_the_inference_is_made(option, values):
    """So before the first training step, since the evaluator is made before it."""
    for value in values:
        with pytest.raises(InputError, match=f'config.evaluate.{option}: .*; expected'):
            SlidingWindowInference(blur, window=(4, 4, 4), **{option: value})
