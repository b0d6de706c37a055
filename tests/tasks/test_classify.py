"""Classification's loss and metrics against hand counts, and that its networks learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from medjax import build
from medjax.errors import InputError
from medjax.tasks import classify


class Identity(nn.Module):
    classes: int = 2

    @nn.compact
    def __call__(self, x, *, train):
        return x[:, 0, 0] * self.param('scale', nn.initializers.ones, ()), {}


def batch(logits, label, mask):
    return {'image': jnp.asarray(logits, jnp.float32)[:, None, None], 'label': jnp.asarray(label),
            'mask': jnp.asarray(mask, jnp.float32)}


def test_cross_entropy_and_accuracy_by_hand():
    task = classify.task(Identity(), classes=('healthy', 'ill'))
    # Odds of 1 to 3 for the second class, right and wrong; the third is padding and would count infinitely.
    data = batch([[0, np.log(3)], [0, np.log(3)], [np.inf, -np.inf]], [1, 0, 1], [1, 1, 0])
    variables = task.init(jax.random.key(0), data)
    loss, (_, states) = task.loss(variables, data, jax.random.key(0))
    np.testing.assert_allclose(loss, (np.log(4 / 3) + np.log(4)) / 2, rtol=1e-6)
    assert states['accuracy'] == (1, 2)
    np.testing.assert_allclose(task.predict(variables, data)['probs'][:2], [[0.25, 0.75]] * 2, rtol=1e-6)


def test_a_network_with_other_outputs_is_refused():
    with pytest.raises(InputError, match='config.model.classes: 2; expected 3'):
        classify.task(Identity(), classes=('a', 'b', 'c'))


@pytest.mark.parametrize('section', [
    dict(name='resnet', variant='18', blocks=(1, 1), base=4, dims=2),
    dict(name='resnet', variant='50', blocks=(1,), small=True, base=4, dims=3),
    dict(name='densenet', variant='121', blocks=(2, 2), growth=4, dims=2)])
def test_networks_learn_which_half_is_bright(section):
    network = build.network({**section, 'classes': 2}, 'float32')
    task, rng = classify.task(network, classes=('left', 'right')), np.random.default_rng(0)
    label = rng.integers(0, 2, 8)
    image = rng.normal(0, 0.3, (8, *[16] * network.dims, 1)).astype(np.float32)
    image[label == 0, :8] += 1
    image[label == 1, 8:] += 1
    data = {'image': image, 'label': label, 'mask': np.ones(8, np.float32)}
    variables = task.init(jax.random.key(0), data)
    params, rest = variables.pop('params'), variables
    optimiser = optax.adam(1e-2)

    @jax.jit
    def step(params, rest, state):
        (loss, (rest, _)), slopes = jax.value_and_grad(
            lambda params: task.loss({'params': params, **rest}, data, jax.random.key(0)), has_aux=True)(params)
        updates, state = optimiser.update(slopes, state)
        return optax.apply_updates(params, updates), rest, state, loss

    state, losses = optimiser.init(params), []
    for _ in range(12):
        params, rest, state, loss = step(params, rest, state)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    _, feats = network.apply({'params': params, **rest}, image, train=False)
    assert feats['pooled'].shape[0] == 8 and all(f.ndim == network.dims + 2 for n, f in feats.items() if n != 'pooled')
