"""Weights of MeshNet in a safetensors file that the test writes with safetensors' own library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

from medjax.errors import InputError
from medjax.models.meshnet import Model
from medjax.weights import meshnet

SHAPES = {'model.0': (2, 1, 3, 3, 3), 'model.2': (2, 2, 3, 3, 3), 'model.4': (3, 2, 1, 1, 1)}


def state():
    rng = np.random.default_rng(0)
    return {f'{name}.{leaf}': rng.normal(size=shape if leaf == 'weight' else shape[:1]).astype(np.float32)
            for name, shape in SHAPES.items() for leaf in ('weight', 'bias')}


def wanted(**options):
    model = Model(**(dict(classes=3, base=2, dilations=(1, 2)) | options))
    return flatten_dict(jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 4, 4, 4, 1)), train=False)),
                        sep='/')


def test_every_weight_finds_its_place(tmp_path):
    given = state()
    safetensors.numpy.save_file(given, tmp_path / 'a.safetensors')
    got = meshnet.read(tmp_path / 'a.safetensors', wanted(), ())
    assert {name: value.shape for name, value in got.items()} == {name: leaf.shape for name, leaf in wanted().items()}
    assert got['params/layer1/kernel'][0, 1, 2, 0, 1] == given['model.2.weight'][1, 0, 0, 1, 2]
    np.testing.assert_array_equal(got['params/logits/kernel'][0, 0, 0], given['model.4.weight'][..., 0, 0, 0].T)
    np.testing.assert_array_equal(got['params/layer0/bias'], given['model.0.bias'])
    rest = {name: leaf for name, leaf in wanted(classes=7).items() if 'logits' not in name}
    assert set(meshnet.read(tmp_path / 'a.safetensors', rest, ('logits',))) == set(rest)


@pytest.mark.parametrize('change, options, message', [
    (lambda s: s.pop('model.2.bias'), {}, 'no model.2.bias; expected it for params/layer1/bias'),
    (lambda s: None, dict(base=4), r'model.0.bias has shape \(2,\) as params/layer0/bias; expected \(4,\)'),
    (lambda s: None, dict(dilations=(1, 2, 4)), r'model.4.bias has shape \(3,\) as params/layer2/bias'),
    (lambda s: None, dict(dilations=(1,)), '3 convolutions; expected 2'),
    (lambda s: s.update({'model.0.bias': np.full(2, np.nan, np.float32)}), {}, 'model.0.bias: .*expected finite'),
    (lambda s: s.update({'model.0.bias': np.zeros(2)}), {}, 'model.0.bias: float64.*expected finite float32')])
def test_files_that_do_not_fit(tmp_path, change, options, message):
    given = state()
    change(given)
    safetensors.numpy.save_file(given, tmp_path / 'a.safetensors')
    with pytest.raises(InputError, match=message):
        meshnet.read(tmp_path / 'a.safetensors', wanted(**options), ())


@pytest.mark.parametrize('content', [b'', b'PK\3\4 no tensors', b'\xff' * 64])
def test_damaged_files(tmp_path, content):
    (tmp_path / 'a.safetensors').write_bytes(content)
    with pytest.raises(InputError, match='a.safetensors: .*damaged or cut short'):
        meshnet.read(tmp_path / 'a.safetensors', wanted(), ())
    with pytest.raises(InputError, match='none.safetensors'):
        meshnet.read(tmp_path / 'none.safetensors', wanted(), ())
