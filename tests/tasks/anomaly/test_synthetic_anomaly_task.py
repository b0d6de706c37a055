"""Synthetic anomalies: each kind by hand, and a network that learns to locate them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import InputError
from medjax.models.unet import Model
from medjax.ops.synthetic_anomalies import add_opacity, interpolate_patch, random_blob_mask, shift_intensity
from medjax.tasks.anomaly import synthetic_anomaly_task

KEY = jax.random.key(0)


@pytest.mark.parametrize('size', [(20, 30), (10, 12, 14)])
def test_spots_are_soft_and_local(size):
    spots = np.asarray(jax.jit(jax.vmap(lambda k: random_blob_mask(k, size)))(jax.random.split(KEY, 64)))
    assert spots.shape == (64, *size) and spots.min() >= 0 and spots.max() <= 1
    share = (spots > 0.5).reshape(64, -1).mean(1)
    assert 0 < np.median(share) < 0.3 and (share > 0).mean() > 0.9
    assert len({tuple(np.argwhere(one > 0.5).mean(0).round(1)) for one in spots if one.max() > 0.5}) > 50


def test_each_kind_by_hand():
    image, other = jnp.array([[0.0, 1.0], [2.0, 4.0]])[..., None], jnp.full((2, 2, 1), 10.0)
    mask = jnp.array([[1.0, 0.5], [0.0, 1.0]])
    np.testing.assert_allclose(interpolate_patch(image, other, mask, 0.5)[..., 0], [[5, 3.25], [2, 7]])
    # The median is 1.5: what is darker comes half the mask's share nearer to it, what is brighter stays.
    np.testing.assert_allclose(add_opacity(image, mask, 0.5, 0.5)[..., 0], [[0.75, 1.125], [2, 4]])
    # The percentiles are .15 and 3.7; nothing leaves the image's own range.
    np.testing.assert_allclose(shift_intensity(image, mask, 0.2)[..., 0], [[0.71, 1.355], [2, 4]])
    np.testing.assert_allclose(shift_intensity(image, mask, -0.2)[..., 0], [[0, 0.645], [2, 3.29]])


@functools.cache
def gratings(count=32):
    """Vertical gratings that differ in their phase alone."""
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (count, 1, 1))
    wave = np.sin(np.arange(16) * np.pi / 4 + phase).repeat(16, 1)
    return {'image': jnp.asarray(wave[..., None], jnp.float32), 'mask': jnp.ones(count)}


def test_anomalies_are_located():
    module, batch = Model(classes=1, base=8, levels=2, norm='batch'), gratings()
    task = synthetic_anomaly_task.task(module, statistics={}, anomaly_fraction=0.7)
    variables, update = jax.jit(task.init)(KEY, batch), optax.adam(1e-2)

    @jax.jit
    def step(variables, state, key):
        def cost(params):
            return task.loss({**variables, 'params': params}, batch, key)
        (_, (changed, _)), gradient = jax.value_and_grad(cost, has_aux=True)(variables['params'])
        changes, state = update.update(gradient, state)
        return {**variables, **changed, 'params': optax.apply_updates(variables['params'], changes)}, state

    state = update.init(variables['params'])
    for number in range(80):
        variables, state = step(variables, state, jax.random.fold_in(KEY, number))
    image = batch['image'][:16]
    shown = image.at[:, 4:10, 4:10].set(0.9)
    well, ill = (jax.jit(task.predict)(variables, {'image': x}) for x in (image, shown))
    assert (ill['synthetic_anomaly'] > well['synthetic_anomaly']).all()
    inside = ill['map'][:, 4:10, 4:10].mean()
    # With four seeds 7 to 13 times.
    assert inside > 3 * (ill['map'].sum() - 36 * 16 * inside) / (220 * 16)


@pytest.mark.parametrize('options, message', [
    (dict(kinds=('tumour',)), r"config\.task\.kinds: \('tumour',\); expected some of: patch, opacity, shade"),
    (dict(anomaly_fraction=0), r'config\.task: anomaly_fraction=0'),
    (dict(strength_range=(0.9, 0.2)),
     r'config\.task\.strength_range: \(0\.9, 0\.2\); expected the smallest and the largest'),
    (dict(radius_range=(0.1,)), r'config\.task\.radius_range: \(0\.1,\); expected the smallest and the largest'),
])
def test_invalid_input_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        synthetic_anomaly_task.task(Model(classes=1), statistics={}, **options)


def test_one_image_has_no_other():
    task, batch = synthetic_anomaly_task.task(Model(classes=1, base=8, levels=2), statistics={}), {
        name: part[:1] for name, part in gratings().items()}
    with pytest.raises(InputError, match=r'config\.batch: 1; expected 2 or more'):
        jax.eval_shape(lambda: task.loss(task.init(jax.random.key(0), batch), batch, jax.random.key(0)))
