"""U-Nets against the same networks written in PyTorch, with weights copied from Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.unet import Model

torch = pytest.importorskip('torch')

LEVELS, BASE, CLASSES = 3, 4, 3


def layers(dims):
    """PyTorch's convolution, transposed convolution, max pooling, instance norm and mean pooling."""
    names = ('Conv', 'ConvTranspose', 'MaxPool', 'InstanceNorm', 'AvgPool')
    return (getattr(torch.nn, f'{name}{dims}d') for name in names)


class Block(torch.nn.Module):
    """Convolution, instance norm, leaky ReLU as in nnU-Net, or convolution and ReLU; padded by half the kernel."""

    def __init__(self, dims, channels, features, kernel, stride, plain, active=True):
        super().__init__()
        conv, _, _, norm, _ = layers(dims)
        self.conv = conv(channels, features, kernel, stride, [n // 2 for n in kernel], bias=plain)
        self.norm = torch.nn.Identity() if plain else norm(features, affine=True)
        self.active = torch.nn.Identity() if not active else torch.nn.ReLU() if plain else torch.nn.LeakyReLU(0.01)

    def forward(self, x):
        return self.active(self.norm(self.conv(x)))


class Residual(torch.nn.Module):
    def __init__(self, dims, channels, features, kernel, stride):
        super().__init__()
        *_, pool = layers(dims)
        self.first = Block(dims, channels, features, kernel, stride, False)
        self.second = Block(dims, features, features, kernel, (1,) * dims, False, active=False)
        self.pool = pool(stride, stride) if max(stride) > 1 else torch.nn.Identity()
        one = (1,) * dims
        same = channels == features
        self.skip = torch.nn.Identity() if same else Block(dims, channels, features, one, one, False, active=False)

    def forward(self, x):
        return torch.nn.functional.leaky_relu(self.second(self.first(x)) + self.skip(self.pool(x)), 0.01)


class Twin(torch.nn.Module):
    """Names of parts as in medjax, for weights to be copied by name."""

    def __init__(self, dims, kernels, strides, plain=False, residual=False):
        super().__init__()
        conv, up, pool, *_ = layers(dims)
        one, channels = (1,) * dims, 1
        for level in range(LEVELS):
            width, kernel, stride = BASE * 2**level, kernels[level], strides[level]
            part = torch.nn.Sequential()
            if plain and level:
                part.add_module('pool', pool(stride, stride))
                stride = one
            if residual:
                if not level:
                    part.add_module('stem', Block(dims, channels, width, kernel, one, False))
                    channels = width
                part.add_module(f'enc{level}_0', Residual(dims, channels, width, kernel, stride))
            else:
                part.add_module(f'enc{level}_0', Block(dims, channels, width, kernel, stride, plain))
                part.add_module(f'enc{level}_1', Block(dims, width, width, kernel, one, plain))
            self.add_module(f'enc{level}', part)
            channels = width
        for level in range(LEVELS - 1):
            width, kernel, stride = BASE * 2**level, kernels[level], strides[level + 1]
            self.add_module(f'dec{level}_up', up(2 * width, width, stride, stride))
            self.add_module(f'dec{level}_0', Block(dims, 2 * width, width, kernel, one, plain))
            self.add_module(f'dec{level}_1', Block(dims, width, width, kernel, one, plain))
        self.logits0 = conv(BASE, CLASSES, 1)

    def forward(self, x):
        skips = []
        for level in range(LEVELS):
            x = getattr(self, f'enc{level}')(x)
            skips.append(x)
        for level in reversed(range(LEVELS - 1)):
            x = torch.cat([getattr(self, f'dec{level}_up')(x), skips[level]], 1)
            x = getattr(self, f'dec{level}_1')(getattr(self, f'dec{level}_0')(x))
        return self.logits0(x)


def copy(params, twin):
    """Fills the twin, each of whose weights has a counterpart, and the reverse."""
    ours = {jax.tree_util.keystr(path, simple=True, separator='.'): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    for name, weight in twin.named_parameters():
        part, kind = name.removeprefix(name.split('.')[0] + '.' if name.startswith('enc') else '').rsplit('.', 1)
        last = 'bias' if kind == 'bias' else 'scale' if weight.ndim == 1 else 'kernel'
        # A block's bias is its own there, not its convolution's.
        value = ours.pop(f'{part.removesuffix(".conv") if last == "bias" else part}.{last}')
        if last == 'kernel':  # [*K, in, out] here; PyTorch's is [out, in, *K], a transposed one's [in, out, *K]
            value = np.moveaxis(value, (-2, -1), (0, 1) if part.endswith('_up') else (1, 0))
        assert weight.shape == value.shape, name
        weight.data = torch.tensor(value)
    assert not ours


PLAIN = dict(norm='none', activation='relu', max_pooling=True)
THICK = (2, 2, 1), (2, 2, 2)


@pytest.mark.parametrize('options, space', [
    (PLAIN, (12, 16)), (PLAIN, (8, 12, 4)), ({}, (12, 16)), ({}, (8, 12, 4)), (dict(strides=THICK), (8, 12, 6)),
    (dict(blocks=(1, 1, 1)), (12, 16)), (dict(blocks=(1, 1, 1), strides=THICK), (8, 12, 6))])
def test_logits_and_gradient_equal_those_of_pytorch(options, space):
    dims = len(space)
    model = Model(classes=CLASSES, dims=dims, base=BASE, levels=LEVELS, **options)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *space, 1)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x, train=False)['params']
    # Biases and scales too, which are 0 and 1 at first.
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / max(np.prod(s.shape[:-1]), 2)**0.5,
                                                jnp.float32), shapes)
    strides = ((1,) * dims, *options.get('strides', ((2,) * dims,) * (LEVELS - 1)))
    kernels = [(3, 3, 1)[:dims] if 'strides' in options and not level else (3,) * dims for level in range(LEVELS)]
    twin = Twin(dims, kernels, strides, options is PLAIN, 'blocks' in options)
    copy(params, twin)
    theirs = twin(torch.tensor(np.moveaxis(x, -1, 1)))
    seed = rng.normal(size=(2, *space, CLASSES)).astype(np.float32)

    def value_and_slope(params):
        logits, back = jax.vjp(lambda p: model.apply({'params': p}, x, train=True)[0], params)
        return logits, back(seed)[0]
    # Compiling is nearly all the time that this takes.
    logits, slope = jax.jit(value_and_slope, compiler_options={'xla_backend_optimization_level': 0})(params)
    np.testing.assert_allclose(np.moveaxis(np.asarray(logits), -1, 1), theirs.detach().numpy(), atol=1e-4)
    (theirs * torch.tensor(np.moveaxis(seed, -1, 1))).sum().backward()
    first = 'stem' if 'blocks' in options else 'enc0_0'
    np.testing.assert_allclose(np.moveaxis(np.asarray(slope[first]['conv']['kernel']), (-2, -1), (1, 0)),
                               getattr(twin.enc0, first).conv.weight.grad.numpy(), rtol=1e-3, atol=1e-3)
