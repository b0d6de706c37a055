"""MeshNet against the same network in PyTorch, with weights that went through a safetensors file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from medjax.models.meshnet import Model
from medjax.weights import meshnet

torch = pytest.importorskip('torch')


@pytest.mark.parametrize('activation, make', [('relu', torch.nn.ReLU), ('elu', torch.nn.ELU)])
def test_logits(tmp_path, activation, make):
    torch.manual_seed(0)
    layers, channels = [], 1
    for dilation in (1, 2, 4, 1):
        layers += [torch.nn.Conv3d(channels, 5, 3, padding=dilation, dilation=dilation), make()]
        channels = 5
    network = torch.nn.Sequential(*layers, torch.nn.Conv3d(5, 3, 1))
    state = {f'model.{name}': value.detach().numpy() for name, value in network.state_dict().items()}
    safetensors.numpy.save_file(state, tmp_path / 'a.safetensors')
    image = np.random.default_rng(0).normal(size=(2, 9, 10, 11)).astype(np.float32)
    model = Model(classes=3, base=5, dilations=(1, 2, 4, 1), activation=activation)
    shapes = flatten_dict(jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(image[..., None]),
                                                            train=False)), sep='/')
    variables = unflatten_dict(meshnet.read(tmp_path / 'a.safetensors', shapes, ()), sep='/')
    got, _ = model.apply(variables, image[..., None], train=False)
    want = network(torch.from_numpy(image[:, None])).detach().numpy()
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), want, atol=1e-5)
