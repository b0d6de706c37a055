"""Optimisation of one pair: known maps are found, and nothing breaks where there is nothing to find."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.losses import image_similarity
from medjax.ops import deformation, instance_optimisation, warp

SHORT = instance_optimisation.Search(levels=(2, 1), steps=(40, 30), affine=(40, 0), weight=0.05)


@functools.cache
@jax.jit
def pair():
    """A texture, and the same as a known map shows it: a shift and a smooth deformation."""
    fixed = jnp.moveaxis(warp.elastic(jax.random.key(0), (40, 48), 6)[:1], 0, -1)
    way = 1.2 * warp.elastic(jax.random.key(1), (20, 24), 8), jnp.array([[0.0, 0.05, 0.1], [0, 0, -0.1]])
    return fixed, deformation.warped(fixed, deformation.undone(*way, (40, 48))), deformation.displaced(*way, (40, 48))


@jax.jit
def found(fixed, moving):
    way = instance_optimisation.optimise(fixed, moving, image_similarity.measure(dict(name='ncc', window=5)), (1.0, 1.0), SHORT)
    return (*way, deformation.displaced(*way, fixed.shape[:-1]))


def test_a_known_map_is_found():
    fixed, moving, want = pair()
    velocity, generator, got = found(fixed, moving)
    inner = (slice(None), slice(6, -6), slice(6, -6))
    before, after = (np.linalg.norm(np.asarray(far)[inner], axis=0).mean() for far in (want, got - want))
    assert before > 2 and after < 0.25 * before
    assert velocity.shape == (2, 20, 24) and generator.shape == (2, 3) and float(deformation.folded(got)) == 0


def test_nothing_is_found_in_an_image_without_contrast():
    np.testing.assert_allclose(found(pair()[0], jnp.ones((40, 48, 1)))[2], 0, atol=0.06)


@pytest.mark.parametrize('change', [dict(levels=()), dict(levels=(2, 1)), dict(rate=0.0), dict(steps=(1, 2, 0.5)),
                                    dict(shrink=0), dict(weight=-1.0), dict(levels=4), dict(rate='fast'),
                                    dict(levels=('a', 2, 1))])
def test_what_is_refused(change):
    with pytest.raises(InputError, match=r'config\.task\.refine: .*; expected as many steps and affine as levels'):
        instance_optimisation.Search(**change)
