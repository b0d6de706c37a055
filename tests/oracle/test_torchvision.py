"""Networks against the same written in PyTorch, in torchvision's layout and by its names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models import resnet
from medjax.models.convnext import Model as ConvNeXt
from medjax.nn.attention import TransformerBlock
from medjax.nn.pool import adaptive_pool, max_along_axis
from medjax.weights import torchvision

torch = pytest.importorskip('torch')
F = torch.nn.functional


def convolution(channels, features, size, stride=1):
    return torch.nn.Conv2d(channels, features, size, stride, size // 2, bias=False)


class BasicBlock(torch.nn.Module):
    expansion = 1

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = convolution(channels, width, 3, stride), torch.nn.BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width, 3), torch.nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1 or channels != width:
            self.downsample = torch.nn.Sequential(convolution(channels, width, 1, stride), torch.nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(torch.nn.Module):
    expansion = 4

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = convolution(channels, width, 1), torch.nn.BatchNorm2d(width)
        self.conv2, self.bn2 = convolution(width, width, 3, stride), torch.nn.BatchNorm2d(width)
        self.conv3, self.bn3 = convolution(width, 4 * width, 1), torch.nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or channels != 4 * width:
            self.downsample = torch.nn.Sequential(convolution(channels, 4 * width, 1, stride),
                                                  torch.nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class Twin(torch.nn.Module):
    def __init__(self, block, counts, classes):
        super().__init__()
        self.conv1, self.bn1 = convolution(3, 64, 7, 2), torch.nn.BatchNorm2d(64)
        self.maxpool = torch.nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate(counts):
            width, blocks = 64 * 2**stage, []
            for number in range(count):
                blocks.append(block(channels, width, 2 if stage and not number else 1))
                channels = width * block.expansion
            self.add_module(f'layer{stage + 1}', torch.nn.Sequential(*blocks))
        self.fc = torch.nn.Linear(channels, classes)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = getattr(self, f'layer{stage}')(x)
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize('variant, block, counts', [('18', BasicBlock, (2, 2, 2, 2)), ('50', Bottleneck, (3, 4, 6, 3))])
def test_a_resnet_of_pytorch_gives_the_same_logits(variant, block, counts):
    torch.manual_seed(0)
    twin = Twin(block, counts, 7).eval()
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # Of a size that keeps features near 1 through all blocks.
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.3, 1)
            module.bias.data.normal_(0, 0.3)
    state = {name: value.numpy() for name, value in twin.state_dict().items()}
    model = resnet.Model(classes=7, **resnet.VARIANTS[variant])
    x = np.random.default_rng(0).normal(size=(2, 64, 60, 3)).astype(np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    shapes = {name: shapes[name] for name in ('params', 'batch_stats')}
    variables = torchvision.resnet_variables(state, shapes)
    got = jax.jit(lambda v: model.apply(v, x, train=False)[0])(variables)
    with torch.no_grad():
        want = twin(torch.tensor(np.moveaxis(x, -1, 1))).numpy()
    assert 0.1 < want.std() < 10
    np.testing.assert_allclose(got, want, atol=1e-4)


def drawn(shapes, seed=0):
    """Random weights, biases and scales among them."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / max(np.prod(s.shape[:-1]), 2)**0.5,
                                              jnp.float32), shapes)


def weight(array):
    """PyTorch's, `[out, in, *K]`, of ours, `[*K, in, out]`."""
    return torch.tensor(np.moveaxis(np.asarray(array), (-2, -1), (1, 0)))


def test_a_convnext_of_pytorch_gives_the_same_logits():
    model, x = ConvNeXt(classes=3, blocks=(1, 2), widths=(8, 16)), np.random.default_rng(0).normal(size=(2, 17, 24, 3))
    p = drawn(jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))['params'])

    def norm(x, part):
        return F.layer_norm(x, x.shape[-1:], *(torch.tensor(np.asarray(part[n])) for n in ('scale', 'bias')), 1e-6)

    def dense(x, part):
        return F.linear(x, weight(part['kernel']), torch.tensor(np.asarray(part['bias'])))

    def conv(x, part, **options):
        y = F.conv2d(x.permute(0, 3, 1, 2), weight(part['kernel']), torch.tensor(np.asarray(part['bias'])), **options)
        return y.permute(0, 2, 3, 1)

    y = torch.tensor(x, dtype=torch.float32)
    y = norm(conv(y, p['patches0'], stride=4), p['norm0'])
    for block in ('stage0_0', 'patches1', 'stage1_0', 'stage1_1'):
        part = p[block]
        if block == 'patches1':
            y = conv(norm(y, p['norm1']), part, stride=2)
            continue
        z = norm(conv(y, part['conv'], padding=3, groups=y.shape[-1]), part['norm'])
        z = dense(F.gelu(dense(z, part['dense0'])), part['dense1'])
        y = y + torch.tensor(np.asarray(part['scale'])) * z
    want = dense(norm(y.mean((1, 2)), p['norm']), p['logits'])
    got = jax.jit(lambda p: model.apply({'params': p}, jnp.asarray(x, jnp.float32), train=False)[0])(p)
    np.testing.assert_allclose(got, want.numpy(), atol=1e-4)


def test_a_transformer_block_equals_pytorch():
    block, x = TransformerBlock(heads=3, dropout=0.0, dtype='float32'), np.random.default_rng(0).normal(size=(2, 5, 12))
    x = x.astype(np.float32)
    p = drawn(jax.eval_shape(lambda: block.init(jax.random.key(0), x, False))['params'])
    twin = torch.nn.TransformerEncoderLayer(12, 3, 48, 0.0, 'gelu', 1e-6, batch_first=True, norm_first=True).eval()
    parts = [p['attention'][name] for name in ('query', 'key', 'value')]
    state = {'self_attn.in_proj_weight': torch.cat([weight(part['kernel']) for part in parts]),
             'self_attn.in_proj_bias': torch.cat([torch.tensor(np.asarray(part['bias'])) for part in parts])}
    for ours, theirs in ((p['attention']['out'], 'self_attn.out_proj'), (p['dense0'], 'linear1'),
                         (p['dense1'], 'linear2'), (p['norm0'], 'norm1'), (p['norm1'], 'norm2')):
        kernel = weight(ours['kernel']) if 'kernel' in ours else torch.tensor(np.asarray(ours['scale']))
        state |= {f'{theirs}.weight': kernel, f'{theirs}.bias': torch.tensor(np.asarray(ours['bias']))}
    twin.load_state_dict(state)
    with torch.no_grad():
        want = twin(torch.tensor(x)).numpy()
    np.testing.assert_allclose(block.apply({'params': p}, x, False)[0], want, atol=1e-4)


@pytest.mark.parametrize('space, bins', [((5, 7), 4), ((3, 2), 7), ((6, 5, 9), 4)])
def test_adaptive_pooling_equals_pytorch(space, bins):
    x = np.random.default_rng(0).normal(size=(2, *space, 3)).astype(np.float32)
    theirs = torch.tensor(np.moveaxis(x, -1, 1))
    for reduce, name in ((max_along_axis, 'max'), (jnp.mean, 'avg')):
        want = getattr(F, f'adaptive_{name}_pool{len(space)}d')(theirs, bins).numpy()
        np.testing.assert_allclose(np.moveaxis(adaptive_pool(x, bins, reduce), -1, 1), want, atol=1e-6)
