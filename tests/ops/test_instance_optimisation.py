"""Registration of one pair by optimisation: recovery of known maps, and images without contrast."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core import config
from medjax.errors import InputError
from medjax.losses import image_similarity
from medjax.ops import deformation, instance_optimisation, warp

OPTIONS = instance_optimisation.OptimisationOptions(downsampling=(2, 1), steps=(40, 30), affine_steps=(40, 0),
                                                    weight=0.05)


@functools.cache
@jax.jit
def pair():
    """A texture, the same texture warped by a known map (a shift and a smooth deformation), and that map."""
    fixed = jnp.moveaxis(warp.elastic_displacement(jax.random.key(0), (40, 48), 6)[:1], 0, -1)
    velocity = 1.2 * warp.elastic_displacement(jax.random.key(1), (20, 24), 8)
    transform = velocity, jnp.array([[0.0, 0.05, 0.1], [0, 0, -0.1]])
    moving = deformation.warp(fixed, deformation.inverse_displacement_field(*transform, (40, 48)))
    return fixed, moving, deformation.displacement_field(*transform, (40, 48))


@jax.jit
def register(fixed, moving):
    dissimilarity = image_similarity.make_dissimilarity(dict(name='ncc', window=5))
    transform = instance_optimisation.optimise(fixed, moving, dissimilarity, (1.0, 1.0), OPTIONS)
    return (*transform, deformation.displacement_field(*transform, fixed.shape[:-1]))


def test_a_known_map_is_recovered():
    fixed, moving, want = pair()
    velocity, generator, got = register(fixed, moving)
    inner = (slice(None), slice(6, -6), slice(6, -6))
    before, after = (np.linalg.norm(np.asarray(error)[inner], axis=0).mean() for error in (want, got - want))
    assert before > 2 and after < 0.25 * before
    assert velocity.shape == (2, 20, 24) and generator.shape == (2, 3) and float(deformation.folding_fraction(got)) == 0


def test_an_image_without_contrast_gives_the_identity():
    np.testing.assert_allclose(register(pair()[0], jnp.ones((40, 48, 1)))[2], 0, atol=0.06)


@pytest.mark.parametrize('change, message', [
    (dict(downsampling=()), 'expected as many steps and affine_steps as levels'),
    (dict(downsampling=(2, 1)), 'expected as many steps and affine_steps as levels'),
    (dict(lr=0.0), 'lr: 0.0; expected'), (dict(lr='fast'), "lr: 'fast'; expected"),
    (dict(steps=(1, 2, 0.5)), 'steps: .*0.5.*; expected'), (dict(downsampling=4), 'downsampling: 4; expected'),
    (dict(downsampling=('a', 2, 1)), "downsampling: .*'a'.*; expected"), (dict(weight=-1.0), 'weight: -1.0; expected'),
    (dict(velocity_downsampling=0), 'velocity_downsampling: 0; expected')])
def test_invalid_options_raise(change, message):
    with pytest.raises(InputError, match=rf'config\.task\.refine.*{message}'):
        config.bind(instance_optimisation.OptimisationOptions, change, 'config.task.refine')
