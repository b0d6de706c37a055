"""U-Nets: shapes, attention gates, rematerialisation and precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.unet import VARIANTS, Model

KEY = jax.random.key(0)
SMALL = dict(classes=3, base=4, levels=3)
QUICK = {'xla_backend_optimization_level': 0}  # most of the time is compilation
THICK = dict(SMALL, levels=4, dims=3, strides=((2, 2, 1), (2, 2, 2), (2, 1, 1)))


def image(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def random_variables(model, shape):
    """Variables with the distribution of `init`, drawn by NumPy: compiling as many draws is slow."""
    rng = np.random.default_rng(1)

    def fill(path, leaf):
        if path[-1].key == 'kernel':
            return jnp.asarray(rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.dtype)
        return jnp.full(leaf.shape, float(path[-1].key in ('scale', 'var')), leaf.dtype)
    shapes = jax.eval_shape(lambda: model.init(KEY, jnp.zeros(shape), train=False))
    return jax.tree_util.tree_map_with_path(fill, shapes)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def apply(model, variables, x):
    return model.apply(variables, x, train=False)


def shapes(model, shape):
    """Shapes of the logits and of every feature."""
    def run(x):
        return model.apply(model.init(KEY, x, train=False), x, train=False)
    logits, feats = jax.eval_shape(run, jnp.zeros(shape))
    return logits.shape, jax.tree.map(lambda x: x.shape, feats)


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('space', [(32, 64), (32, 64, 96)])
def test_logits_have_the_size_of_the_image(variant, space):
    model = Model(**{**VARIANTS[variant], 'classes': 3, 'dims': len(space), 'base': 4})
    logits, feats = shapes(model, (2, *space, 1))
    assert logits == (2, *space, 3)
    for level in range(model.levels):
        assert feats[f'enc{level}'] == (2, *(n // 2**level for n in space), 4 * 2**level)
    for level in range(model.levels - 1):
        assert feats[f'dec{level}'] == feats[f'enc{level}']
    coarser = range(1, model.levels - 2) if model.deep_supervision else ()
    assert feats.get('deep', ()) == tuple((2, *(n // 2**level for n in space), 3) for level in coarser)
    assert ('deep' in feats) == model.deep_supervision


def test_channels_are_capped():
    assert shapes(Model(**SMALL | dict(max_channels=8)), (1, 8, 8, 1))[1]['enc2'] == (1, 2, 2, 8)


def test_anisotropic_strides():
    model = Model(**THICK)
    logits, feats = shapes(model, (1, 16, 8, 6, 2))
    assert logits == (1, 16, 8, 6, 3)
    assert [feats[f'enc{n}'][1:-1] for n in range(4)] == [(16, 8, 6), (8, 4, 6), (4, 2, 3), (2, 2, 3)]
    params = jax.eval_shape(model.init, KEY, jnp.zeros((1, 16, 8, 6, 2)), train=False)['params']
    kernels = {name: params[f'{name}_1']['conv']['kernel'].shape[:3] for name in ('enc0', 'enc1', 'enc2', 'dec0')}
    # Kernels have extent 1 along an axis until it is first downsampled, and 3 from there on.
    assert kernels == {'enc0': (3, 3, 1), 'enc1': (3, 3, 3), 'enc2': (3, 3, 3), 'dec0': (3, 3, 1)}
    assert params['dec0_up']['kernel'].shape[:3] == (2, 2, 1)


@pytest.mark.parametrize('options', [dict(SMALL), dict(SMALL, blocks=(1, 2, 1)), THICK])
def test_attention_gates_each_skip(options):
    model = Model(**options, attention=True)
    x = image(2, *(16, 8, 6)[:model.dims - 1], 8, 1)
    variables = random_variables(model, x.shape)
    logits, feats = apply(model, variables, x)
    assert logits.shape == (*x.shape[:-1], 3)
    for level in range(model.levels - 1):
        weight = feats[f'attention{level}']
        assert weight.shape == (*feats[f'enc{level}'].shape[:-1], 1) and (weight > 0).all() and (weight < 1).all()
    # With a closed gate the skip connection has no effect.
    gate = variables['params']['dec0_gate']['weight']
    closed = jax.tree.map(lambda w: w, variables)
    closed['params']['dec0_gate']['weight'] = gate | {'bias': gate['bias'] - 1000}
    merge = closed['params']['dec0_0']['conv']['kernel']
    half = merge.shape[-2] // 2
    without = jax.tree.map(lambda w: w, closed)
    without['params']['dec0_0']['conv']['kernel'] = merge.at[..., half:, :].set(0)
    want = apply(model, without, x)[0]
    np.testing.assert_allclose(apply(model, closed, x)[0], want, atol=1e-6)
    assert not np.allclose(logits, want, atol=1e-3)


def value_and_gradient(model, variables, x):
    """Cross-entropy of the sign of the image at each scale, its gradient, and the collections after the step."""
    def loss(params):
        (logits, feats), new = model.apply({**variables, 'params': params}, x, train=True, mutable=['batch_stats'])
        total = 0.0
        for scale in (logits, *feats.get('deep', ())):
            step = x.shape[1] // scale.shape[1]
            label = x[:, ::step, ::step, 0] > 0
            total -= jnp.mean(jax.nn.log_softmax(scale)[..., :2] * jnp.stack([~label, label], -1).astype(jnp.float32))
        return total, new
    return jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)(variables['params'])


@pytest.mark.parametrize('options', [dict(norm='batch', attention=True, levels=2),
                                     pytest.param(dict(blocks=(1, 1, 1, 1), deep_supervision=True, levels=4),
                                                  marks=pytest.mark.slow)])
def test_remat_does_not_change_values(options):
    x, plain = image(2, 16, 16, 1), Model(**SMALL | options)
    variables = random_variables(plain, x.shape)
    remat = Model(**SMALL | options, remat=True)
    assert jax.tree.structure(random_variables(remat, x.shape)) == jax.tree.structure(variables)
    (want, want_stats), want_gradient = value_and_gradient(plain, variables, x)
    (got, stats), gradient = value_and_gradient(remat, variables, x)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
                 (gradient, stats), (want_gradient, want_stats))
    text = lambda model: str(jax.make_jaxpr(lambda v: model.apply(v, x, train=False)[0])(variables))
    assert ('remat' in text(remat) or 'checkpoint' in text(remat)) and 'checkpoint' not in text(plain)


@pytest.mark.parametrize('variant', VARIANTS)
def test_with_bfloat16_parameters_logits_and_statistics_are_float32(variant):
    model = Model(**VARIANTS[variant] | SMALL | dict(norm='batch', levels=4, attention=True, dtype='bfloat16'))
    x = jnp.zeros((1, 8, 8, 1))
    variables = jax.eval_shape(lambda: model.init(KEY, x, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    (logits, feats), new = jax.eval_shape(lambda v: model.apply(v, x, train=True, mutable=['batch_stats']), variables)
    wide = {k for k in feats if jax.tree.leaves(feats[k])[0].dtype == jnp.float32}
    assert wide == {k for k in feats if k.startswith(('deep', 'attention'))} and feats['enc1'].dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((logits, new))} == {jnp.dtype('float32')}


@pytest.mark.parametrize('options', [dict(), dict(norm='batch'), dict(norm='none', activation='relu', max_pooling=True),
                                     pytest.param(dict(blocks=(1, 1), attention=True), marks=pytest.mark.slow)])
def test_the_gradient_in_bfloat16_is_close_to_float32(options):
    # Two levels only: each rectifier whose input changes sign by rounding adds to the difference.
    options = SMALL | dict(levels=2) | options
    full, half = Model(**options), Model(**options, dtype='bfloat16')
    x = image(2, 32, 32, 1)
    variables = random_variables(half, x.shape)
    (want, _), want_gradient = value_and_gradient(full, variables, x)
    (got, new), gradient = value_and_gradient(half, variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((new, gradient))} == {jnp.dtype('float32')}
    np.testing.assert_allclose(got, want, rtol=0.02)
    flat = [jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in (want_gradient, gradient)]
    assert 0 < jnp.linalg.norm(flat[1] - flat[0]) < 0.05 * jnp.linalg.norm(flat[0])


@pytest.mark.parametrize('options, shape, message', [
    (dict(), (1, 8, 8, 8, 1), r'config\.model\.dims: 2, but images have 3'),
    (dict(), (1, 8, 10, 1), r'config\.data\.patch: 10 voxels along axis 1; expected a multiple of 4'),
    (dict(dims=3, strides=((2, 2, 1), (2, 2, 1))), (1, 8, 6, 5, 1), r'config\.data\.patch: 6 voxels along axis 1'),
    (dict(strides=((2, 2),)), (1, 8, 8, 1), r'config\.model\.strides: \(\(2, 2\),\); expected 2 of 2 numbers'),
    (dict(dims=3, strides=((2, 2), (2, 2))), (1, 8, 8, 8, 1), r'config\.model\.strides: .* expected 2 of 3 numbers'),
    (dict(blocks=(1, 1)), (1, 8, 8, 1), r'config\.model\.blocks: \(1, 1\); expected 3 numbers'),
    (dict(levels=1), (1, 8, 8, 1), r'config\.model\.levels: 1; expected 2 or more'),
])
def test_invalid_shapes_and_fields_raise(options, shape, message):
    with pytest.raises(InputError, match=message):
        shapes(Model(**{**SMALL, **options}), shape)
