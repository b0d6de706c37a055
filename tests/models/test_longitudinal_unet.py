"""Networks that predict the next scan: their inputs and shapes, in 2D and 3D."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core.task import init_variables, network_inputs
from medjax.errors import InputError
from medjax.models import convlstm, longitudinal_unet

MODELS = {'unet': dict(base=4, levels=2), 'convlstm': dict(base=4, levels=2, state=6)}
MODULES = {'unet': longitudinal_unet.Model, 'convlstm': convlstm.Model}


def visits(dims=2, count=3, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return {'image': draw(2, count, *(8,) * dims, 2), 'time': jnp.array([[-90.0, -40.0, 0.0]] * 2)[:, -count:],
            'time_mask': jnp.ones((2, count)), 'volume': jnp.exp(draw(2, count)), 'horizon': jnp.array([30.0, 90.0])}


def perturb(variables):
    """Adds noise to all variables, so that layers initialised with zeros have an effect."""
    leaves, tree = jax.tree.flatten(variables)
    return jax.tree.unflatten(tree, [leaf + 0.1 * np.random.default_rng(n).normal(size=leaf.shape).astype(np.float32)
                                     for n, leaf in enumerate(leaves)])


@pytest.mark.parametrize('name', MODELS)
def test_the_output_depends_on_all_inputs(name):
    net, batch = MODULES[name](**MODELS[name]), visits()
    variables = perturb(jax.jit(lambda b: init_variables(net, jax.random.key(0), b))(batch))

    @jax.jit
    def apply(batch):
        logits, feats = net.apply(variables, *network_inputs(net, batch), train=False)
        return jnp.concatenate([logits, feats['risk'][..., None]], -1)

    out = apply(batch)
    assert out.shape == (2, 8, 8, 3) and out.dtype == jnp.float32
    masked = {**batch, 'time_mask': batch['time_mask'].at[:, 0].set(0)}
    # The content of a missing visit, even NaN, has no effect; that of every visit has.
    np.testing.assert_array_equal(apply(masked), apply({
        **masked, 'image': masked['image'].at[:, 0].set(jnp.nan), 'time': masked['time'].at[:, 0].set(7.0),
        'volume': masked['volume'].at[:, 0].set(5.0)}))
    for key in ('image', 'time', 'volume'):
        for visit in range(3 if key != 'time' else 2):
            # Norms remove the overall brightness of an image, so change its content.
            new = batch[key][0, visit][::-1] if key == 'image' else 1.5 * batch[key][0, visit]
            other = apply({**batch, key: batch[key].at[0, visit].set(new)})
            assert float(jnp.abs(other[0] - out[0]).max()) > 1e-4, (key, visit)
            np.testing.assert_allclose(other[1], out[1], atol=1e-5)
    assert float(jnp.abs(apply({**batch, 'horizon': jnp.array([60.0, 90.0])})[0] - out[0]).max()) > 1e-4


@pytest.mark.parametrize('name', MODELS)
def test_volumes_without_risk(name):
    net, batch = MODULES[name](**MODELS[name], dims=3, risk=False), visits(3, 2)
    out, feats = jax.eval_shape(lambda: net.apply(
        init_variables(net, jax.random.key(0), batch), *network_inputs(net, batch), train=False))
    assert out.shape == (2, 8, 8, 8, 2) and 'risk' not in feats


def test_sizes_that_cannot_be_halved_raise():
    batch = visits()
    with pytest.raises(InputError, match='config.data.size: .* expected multiples of 16'):
        jax.eval_shape(lambda: init_variables(convlstm.Model(levels=5), jax.random.key(0), batch))


def test_visit_features_by_hand():
    parts = [[5.0, -50.0, 0.0]], [[0.0, 1.0, 1.0]], [[9.0, 1.0, np.e]], [30.0]  # times, mask, volumes, horizon
    got = longitudinal_unet.visit_features(*map(jnp.array, parts), 100.0)
    np.testing.assert_allclose(got, [[0, -0.5, 0, 0, 1, 1, 0, 0, 1, 0, 2, 0.3]], rtol=1e-6)
