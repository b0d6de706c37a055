"""Networks whose saliency maps can be computed by hand, and a small random one."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from medjax.tasks.classification.saliency.methods import METHODS


def forward_of(module, variables):
    """What an evaluator injects: the features' perturbations go where flax looks for them."""
    def forward(image, perturbations):
        added = {'perturbations': perturbations} if perturbations else {}
        return module.apply({**variables, **added}, image)
    return forward


def explained(method, forward, image, target, **options):
    """A method's maps, compiled as one program: op by op most of the time goes to compiling ops."""
    return jax.jit(functools.partial(METHODS[method], forward, **options))(image, target)


class Cnn(nn.Module):
    """Two layers of ReLUs and a mean over places; features on two grids, and one without places."""

    classes: int = 3
    dims: int = 2

    @nn.compact
    def __call__(self, x):
        feats = {}
        for name, features, stride in (('z_first', 4, 1), ('a_second', 6, 2)):
            biased = dict(bias_init=nn.initializers.normal())
            x = nn.relu(nn.Conv(features, (3,) * self.dims, (stride,) * self.dims, **biased)(x))
            feats[name] = x = self.perturb(name, x)
        feats['pooled'] = x = self.perturb('pooled', x.mean(tuple(range(1, x.ndim - 1))))
        return nn.Dense(self.classes)(x), feats


class Spot(nn.Module):
    """A detector with weights set by hand: the logit of class 1 is how many bright places the picture has."""

    @nn.compact
    def __call__(self, x):
        bright = self.perturb('bright', nn.relu(x - 0.5))
        pooled = self.perturb('coarse', nn.avg_pool(bright, (2,) * (x.ndim - 2), (2,) * (x.ndim - 2)))
        count = pooled.sum(tuple(range(1, x.ndim)))
        return jnp.stack([-count, count], -1), {'bright': bright, 'coarse': pooled}


@functools.cache
def random_cnn(dims=2, size=8):
    module, key = Cnn(dims=dims), jax.random.key(dims)
    image = np.random.default_rng(0).normal(size=(2, *(size,) * dims, 2)).astype(np.float32)
    return module, {'params': jax.jit(module.init)(key, image)['params']}, image, jnp.array([2, 0])


def with_spot(dims=2, size=16, at=5, width=2):
    """Nearly black images with a bright square or cube, and its place."""
    where = np.zeros((size,) * dims, bool)
    where[(slice(at, at + width),) * dims] = True
    noise = np.random.default_rng(0).random((1, *where.shape, 1), np.float32) * 0.3
    return jnp.asarray(np.where(where[..., None], 1.0, noise), jnp.float32), where


IMAGE, WEIGHTS = np.random.default_rng(1).normal(size=(2, 2, 6, 5, 2)).astype(np.float32)


def linear(image, perturbations):
    del perturbations
    return jnp.stack([(image * w).sum((1, 2, 3)) for w in WEIGHTS], 1) + 3.0, {}


def attending(attention, grid):
    return lambda image, _: (jnp.zeros((len(image), 2)), {
        'attention': jnp.asarray(attention), 'tokens': jnp.zeros((len(image), *grid, 8))})
