"""Layouts of states and batches over devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core.sharding import Jit
from medjax.errors import InputError

KEY = jax.random.key(0)


def test_fsdp_shards_large_leaves_only():
    plan = Jit(data=1, fsdp=8)
    state = plan.abstract_state({'large': jax.ShapeDtypeStruct((3, 64, 128), jnp.float32),
                                 'small': jax.ShapeDtypeStruct((64,), jnp.float32)})
    assert state['large'].sharding.spec == jax.sharding.PartitionSpec(None, None, 'fsdp')
    assert state['small'].sharding.is_fully_replicated


@pytest.mark.parametrize('axes', [{'data': 3}, {'fsdp': -1}, {'space': 0}, {'fsdp': 16}])
def test_a_mesh_of_another_size_is_refused(axes):
    with pytest.raises(InputError, match='config.mesh.*number of devices, 8'):
        Jit(**axes)


@pytest.mark.parametrize('extent, stride, space', [(2, 2, 4), (6, 1, 4), (6, 2, 4), (8, 2, 8)])
def test_volumes_that_space_does_not_divide_have_the_right_gradients(extent, stride, space):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jnp.tanh(nn.Conv(2, (3, 3), name='first')(x))
            x = jnp.tanh(nn.Conv(2, (3, 3), stride, name='second')(x))
            return nn.Conv(2, (3, 3), name='third')(x)

    def loss(params, batch):
        pooled = batch['image'].reshape(4, extent, space, 4, 2).mean(2)  # the volume itself is divided
        return jnp.sin(Net().apply(params, pooled)).sum()

    batch = {'image': np.random.default_rng(0).normal(size=(4, space * extent, 4, 2)).astype(np.float32)}
    params = jax.device_get(Net().init(KEY, batch['image'][:, :extent]))

    def grads(plan):
        step = plan.compile(lambda params, batch, key: (params, jax.grad(loss)(params, batch)), params)
        state = jax.tree.map(lambda x, a: jax.device_put(x, a.sharding), params, plan.abstract_state(params))
        return jax.device_get(step(state, plan.place_batch(batch), KEY)[1])

    one, many = grads(Jit(devices=jax.devices()[:1])), grads(Jit(space=space))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, atol=1e-4 * np.abs(a).max()), one, many)
