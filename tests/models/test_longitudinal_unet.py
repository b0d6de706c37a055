"""Networks that tell the next scan: what they see of the visits, in 2D and 3D."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core.task import initial, seen
from medjax.errors import InputError
from medjax.models import convlstm, longitudinal_unet

MODELS = {'unet': dict(base=4, levels=2), 'convlstm': dict(base=4, levels=2, state=6)}
MODULES = {'unet': longitudinal_unet.Model, 'convlstm': convlstm.Model}


def visits(dims=2, count=3, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return {'image': draw(2, count, *(8,) * dims, 2), 'time': jnp.array([[-90.0, -40.0, 0.0]] * 2)[:, -count:],
            'time_mask': jnp.ones((2, count)), 'volume': jnp.exp(draw(2, count)), 'horizon': jnp.array([30.0, 90.0])}


def shaken(variables):
    """Layers that begin at zero would hide what they do."""
    leaves, tree = jax.tree.flatten(variables)
    return jax.tree.unflatten(tree, [leaf + 0.1 * np.random.default_rng(n).normal(size=leaf.shape).astype(np.float32)
                                     for n, leaf in enumerate(leaves)])


@pytest.mark.parametrize('name', MODELS)
def test_what_it_sees(name):
    net, batch = MODULES[name](**MODELS[name]), visits()
    variables = shaken(jax.jit(lambda b: initial(net, jax.random.key(0), b))(batch))
    tell = jax.jit(lambda b: (lambda out: jnp.concatenate([out[0], out[1]['risk'][..., None]], -1))(
        net.apply(variables, *seen(net, b), train=False)))
    out = tell(batch)
    assert out.shape == (2, 8, 8, 3) and out.dtype == jnp.float32
    one = {**batch, 'time_mask': batch['time_mask'].at[:, 0].set(0)}
    # What a missing visit holds does not matter, NaN neither; all that is there does.
    np.testing.assert_array_equal(tell(one), tell({
        **one, 'image': one['image'].at[:, 0].set(jnp.nan), 'time': one['time'].at[:, 0].set(7.0),
        'volume': one['volume'].at[:, 0].set(5.0)}))
    for key in ('image', 'time', 'volume'):
        for visit in range(3 if key != 'time' else 2):
            # Norms hide how bright an image is as a whole, and nothing else of it.
            new = batch[key][0, visit][::-1] if key == 'image' else 1.5 * batch[key][0, visit]
            other = tell({**batch, key: batch[key].at[0, visit].set(new)})
            assert float(jnp.abs(other[0] - out[0]).max()) > 1e-4, (key, visit)
            np.testing.assert_allclose(other[1], out[1], atol=1e-5)
    assert float(jnp.abs(tell({**batch, 'horizon': jnp.array([60.0, 90.0])})[0] - out[0]).max()) > 1e-4


@pytest.mark.parametrize('name', MODELS)
def test_volumes_and_no_risk(name):
    net, batch = MODULES[name](**MODELS[name], dims=3, risk=False), visits(3, 2)
    out, feats = jax.eval_shape(lambda: net.apply(initial(net, jax.random.key(0), batch), *seen(net, batch),
                                                  train=False))
    assert out.shape == (2, 8, 8, 8, 2) and 'risk' not in feats


def test_sizes_that_cannot_be_halved_are_refused():
    batch = visits()
    with pytest.raises(InputError, match='config.data.size: .* expected multiples of 16'):
        jax.eval_shape(lambda: initial(convlstm.Model(levels=5), jax.random.key(0), batch))


def test_numbers_that_steer():
    parts = [[5.0, -50.0, 0.0]], [[0.0, 1.0, 1.0]], [[9.0, 1.0, np.e]], [30.0]  # times, mask, volumes, horizon
    found = longitudinal_unet.numbers(*map(jnp.array, parts), 100.0)
    np.testing.assert_allclose(found, [[0, -0.5, 0, 0, 1, 1, 0, 0, 1, 0, 2, 0.3]], rtol=1e-6)
