"""The denoising U-Net: its inputs, odd sizes, 2D and 3D."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core.task import init_variables, network_inputs
from medjax.errors import InputError
from medjax.models.diffusion import VARIANTS, Model

SMALL = dict(classes=2, size=(6, 7), base=4, levels=3, heads=2)
CONDITIONS = {'time': jnp.array([0.2, 0.9]), 'label': jnp.array([0, 1])}


def batch(net):
    rng = np.random.default_rng(0)
    return {'image': jnp.asarray(rng.normal(size=(2, *net.size, net.channels)), jnp.float32), **CONDITIONS}


def weights(net):
    """Random variables drawn by NumPy; none is zero, so that every layer has an effect."""
    rng, shapes = np.random.default_rng(0), jax.eval_shape(lambda: init_variables(net, jax.random.key(0), batch(net)))
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), shapes)


def test_the_output_depends_on_all_inputs():
    net = Model(**SMALL)
    given, variables = batch(net), weights(net)
    apply = jax.jit(lambda b: net.apply(variables, *network_inputs(net, b), train=False))
    out, feats = apply(given)
    assert out.shape == (2, 6, 7, 1) and out.dtype == jnp.float32 and float(out.std()) > 0.1
    assert feats['attention'].shape == (2, 2, 4, 4)
    assert [feats[f'enc{n}'].shape[1:] for n in range(3)] == [(6, 7, 4), (3, 4, 8), (2, 2, 16)]
    other = {'image': given['image'] + 1.0, 'time': jnp.array([0.25, 0.9]), 'label': jnp.array([1, 1])}
    # The overall brightness of an image, and a missing class, have an effect as well.
    for name, new in (*other.items(), ('label', jnp.array([-1, 1]))):
        now, _ = apply({**given, name: new.at[1].set(given[name][1])})
        assert float(jnp.abs(now[0] - out[0]).max()) > 1e-3, name
        np.testing.assert_allclose(now[1], out[1], atol=1e-5)


@pytest.mark.parametrize('options', [
    dict(size=(28, 28), levels=4), dict(size=(28, 20), levels=2, patch=4, blocks=2, channels=3),
    dict(size=(6, 5, 7)), dict(size=(8, 8, 4), patch=2, attention=False), dict(classes=0), dict(dropout=0.1),
    dict(dtype='bfloat16')])
def test_the_output_has_the_shape_of_the_image(options):
    net = Model(**{**SMALL, **options})
    given = batch(net)
    out, feats = jax.eval_shape(lambda: net.apply(
        init_variables(net, jax.random.key(0), given), *network_inputs(net, given), train=False))
    assert out.shape == given['image'].shape and out.dtype == jnp.float32
    assert ('attention' in feats) == net.attention and feats['enc0'].dtype == net.dtype


def test_volumes():
    net = Model(classes=0, size=(4, 3, 5), base=4, levels=2, heads=2)
    variables = weights(net)
    out = jax.jit(lambda b: net.apply(variables, *network_inputs(net, b), train=False)[0])(batch(net))
    assert out.shape == (2, 4, 3, 5, 1) and np.isfinite(out).all() and float(out.std()) > 0.05


def test_variants_accept_images_of_28_pixels():
    for name, options in VARIANTS.items():
        net = Model(classes=2, **options)
        variables = jax.eval_shape(lambda net=net: init_variables(net, jax.random.key(0), batch(net)))
        assert variables['params'], name


@pytest.mark.parametrize('options, match', [
    (dict(size=(7,)), r'config\.model: size=\(7,\)'), (dict(levels=0), 'levels=0'), (dict(blocks=0), 'blocks=0'),
    (dict(base=0), 'base=0'),
    (dict(size=(6, 6)), r'config\.model: size=\(6, 6\), channels=1; expected those of the images, \(6, 7\) and 1'),
    (dict(channels=3), 'channels=3; expected'), (dict(patch=2), r'config\.model\.patch: 2; expected a divisor'),
    (dict(heads=3), r'config\.model\.heads: 3'), (dict(dropout=1.0), 'a dropout rate of 1.0')])
def test_invalid_fields_raise(options, match):
    net, given = Model(**{**SMALL, **options}), batch(Model(**SMALL))
    with pytest.raises(InputError, match=match):
        jax.eval_shape(lambda: init_variables(net, jax.random.key(0), given))
