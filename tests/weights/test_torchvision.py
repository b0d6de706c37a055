"""A state dict written by hand, for a network of two blocks; whole networks are in tests/oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from medjax import assemble
from medjax.errors import InputError
from medjax.models.resnet import Model
from medjax.weights import torchvision

CONVS = {'conv1': (2, 1, 7, 7), 'layer1.0.conv1': (2, 2, 3, 3), 'layer1.0.conv2': (2, 2, 3, 3),
         'layer2.0.conv1': (4, 2, 3, 3), 'layer2.0.conv2': (4, 4, 3, 3), 'layer2.0.downsample.0': (4, 2, 1, 1)}
NORMS = {'bn1': 2, 'layer1.0.bn1': 2, 'layer1.0.bn2': 2, 'layer2.0.bn1': 4, 'layer2.0.bn2': 4,
         'layer2.0.downsample.1': 4}
SMALL = dict(classes=3, blocks=(1, 1), base=2)


def state():
    shapes = {f'{name}.weight': shape for name, shape in CONVS.items()}
    for name, size in NORMS.items():
        shapes |= {f'{name}.{kind}': (size,) for kind in ('weight', 'bias', 'running_mean', 'running_var')}
    shapes |= {'fc.weight': (3, 4), 'fc.bias': (3,)}
    rng = np.random.default_rng(0)
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return made | {'bn1.num_batches_tracked': np.array(7)}


def variables(**options):
    model = Model(**SMALL, **options)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), train=False))
    return {name: variables[name] for name in ('params', 'batch_stats') if name in variables}


def test_every_weight_finds_its_place():
    given, shapes = state(), variables()
    got = torchvision.resnet_variables(given, shapes)
    assert jax.tree.map(lambda a: a.shape, got) == jax.tree.map(lambda a: a.shape, shapes)
    params, stats = got['params'], got['batch_stats']
    np.testing.assert_array_equal(params['stage1_0']['conv0']['conv']['kernel'][0, 2, 1, 3],
                                  given['layer2.0.conv1.weight'][3, 1, 0, 2])
    np.testing.assert_array_equal(params['stage1_0']['skip']['norm']['scale'], given['layer2.0.downsample.1.weight'])
    np.testing.assert_array_equal(stats['stage0_0']['conv1']['norm']['var'], given['layer1.0.bn2.running_var'])
    np.testing.assert_array_equal(stats['stem']['norm']['mean'], given['bn1.running_mean'])
    np.testing.assert_array_equal(params['logits']['kernel'], given['fc.weight'].T)
    flat = np.concatenate([np.ravel(a) for a in jax.tree.leaves(got)])
    want = np.concatenate([np.ravel(v) for k, v in given.items() if 'tracked' not in k])
    np.testing.assert_array_equal(np.sort(flat), np.sort(want))  # each once


@pytest.mark.parametrize('change, options, message', [
    (lambda s: s.pop('layer2.0.bn1.running_var'), {}, r'state: layer2\.0\.bn1\.running_var is missing'),
    (lambda s: s.update({'layer5.0.conv1.weight': 0}), {}, r'state\.layer5\.0\.conv1\.weight: not known'),
    (lambda s: s.update({'fc.bias': np.zeros(5)}), {}, r'state\.fc\.bias: shape \(5,\); expected \(3,\)'),
    (lambda s: None, dict(small_images=True), r'state\.conv1\.weight: shape \(7, 7, 1, 2\); expected \(3, 3, 1, 2\)'),
    (lambda s: None, dict(attention='se'), r'stage0_0/attention/channels/expand has no counterpart'),
    (lambda s: None, dict(preactivation=True), r'norm has no counterpart'),
    (lambda s: None, dict(norm='none'), r'stage0_0/conv0 has no counterpart'),
])
def test_mismatches_are_named(change, options, message):
    given = state()
    change(given)
    with pytest.raises(InputError, match=message):
        torchvision.resnet_variables(given, variables(**options))


def test_a_file_for_other_classes(tmp_path):
    np.savez(tmp_path / 'weights.npz', **state())
    model = Model(**{**SMALL, 'classes': 7})
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), train=False))
    shapes = {name: shapes[name] for name in ('params', 'batch_stats')}
    got = assemble.initial(name='torchvision', path=str(tmp_path / 'weights.npz'), reinitialise=('logits',))(shapes)
    whole = flatten_dict(torchvision.resnet_variables(state(), variables()), sep='/')
    assert got.keys() == {name for name in whole if not name.startswith('params/logits')}
    for name, value in got.items():
        np.testing.assert_array_equal(value, whole[name])


@pytest.mark.parametrize('reinitialise', [('stem',), ('stage1_0', 'logits')])
def test_reinitialised_parts_are_not_loaded(tmp_path, reinitialise):
    np.savez(tmp_path / 'weights.npz', **{name: np.zeros(1) if torchvision._part(name) in reinitialise else value
                                          for name, value in state().items()})
    load = assemble.initial(name='torchvision', path=str(tmp_path / 'weights.npz'), reinitialise=reinitialise)
    got = load(variables())
    assert {name.split('/')[1] for name in got} == {'stem', 'stage0_0', 'stage1_0', 'logits'} - {*reinitialise}


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut', None, 'pickled', 'short'])
def test_files_that_cannot_be_read_are_named(tmp_path, content):
    path = tmp_path / 'weights.npz'
    if content in ('pickled', 'short'):
        np.savez(path, **{'conv1.weight': np.array([None]) if content == 'pickled' else np.zeros(3)})
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r'config\.init\.path: .*weights\.npz: '):
        assemble.initial(name='torchvision', path=str(path))(variables())
