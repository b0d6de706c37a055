"""How many parameters each model has, and two counts by hand from the papers' tables of layers."""

import importlib
import math
import pkgutil

import jax
import jax.numpy as jnp
import pytest

import medjax.models

# Module, variant, options, image `[B, *S, C]`, parameters. Every variant of every module needs a row.
TABLE = [
    ('densenet', '121', dict(classes=1000), (1, 64, 64, 3), 7_978_856),
    ('densenet', '169', dict(classes=1000), (1, 64, 64, 3), 14_149_480),
    ('resnet', '18', dict(classes=1000), (1, 64, 64, 3), 11_689_512),
    ('resnet', '18', dict(classes=10, small=True), (1, 28, 28, 3), 11_173_962),
    ('resnet', '34', dict(classes=1000), (1, 64, 64, 3), 21_797_672),
    ('resnet', '50', dict(classes=1000), (1, 64, 64, 3), 25_557_032),
    ('resnet', '101', dict(classes=1000), (1, 64, 64, 3), 44_549_160),
    ('fcn', '32s', dict(classes=21), (1, 64, 64, 3), 136_152_917),
    ('fcn', '16s', dict(classes=21), (1, 64, 64, 3), 134_815_994),
    ('fcn', '8s', dict(classes=21), (1, 64, 64, 3), 134_489_759),
    ('unet', 'plain', dict(classes=2, dims=2), (1, 64, 64, 1), 31_030_658),
    ('unet', 'plain', dict(classes=2, dims=3), (1, 64, 64, 64, 1), 90_292_738),
    ('unet', 'nnunet', dict(classes=2, dims=2), (1, 64, 64, 1), 20_613_064),
    ('unet', 'nnunet', dict(classes=2, dims=3), (1, 64, 64, 64, 1), 60_070_408),
    ('unet', 'residual', dict(classes=2, dims=2), (1, 64, 64, 1), 74_942_344),
    ('unet', 'residual', dict(classes=2, dims=3), (1, 64, 64, 64, 1), 222_650_824),
]


def count(module, variant, options, shape):
    """Counted from shapes alone: nothing is allocated."""
    code = importlib.import_module(f'medjax.models.{module}')
    model = code.Model(**{**code.VARIANTS[variant], **options})
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros(shape), train=False))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables['params']))


@pytest.mark.parametrize('module, variant, options, shape, want', TABLE)
def test_counts(module, variant, options, shape, want):
    assert count(module, variant, options, shape) == want


def test_every_variant_has_a_row():
    modules = [m.name for m in pkgutil.iter_modules(medjax.models.__path__)]
    variants = {(m, v) for m in modules for v in importlib.import_module(f'medjax.models.{m}').VARIANTS}
    assert modules and variants == {(module, variant) for module, variant, *_ in TABLE}
    assert {(v, o['dims']) for m, v, o, *_ in TABLE if m == 'unet'} == {(v, d) for m, v in variants if m == 'unet'
                                                                        for d in (2, 3)}


def conv(size, channels, features):
    """A convolution's weights and biases in 2D."""
    return size * size * channels * features + features


def test_plain_unet_by_hand():
    """The architecture of Ronneberger 2015, figure 1, with 1 input channel and 2 classes."""
    encoder = (conv(3, 1, 64) + conv(3, 64, 64) + conv(3, 64, 128) + conv(3, 128, 128)
               + conv(3, 128, 256) + conv(3, 256, 256) + conv(3, 256, 512) + conv(3, 512, 512)
               + conv(3, 512, 1024) + conv(3, 1024, 1024))
    ups = conv(2, 1024, 512) + conv(2, 512, 256) + conv(2, 256, 128) + conv(2, 128, 64)
    decoder = (conv(3, 1024, 512) + conv(3, 512, 512) + conv(3, 512, 256) + conv(3, 256, 256)
               + conv(3, 256, 128) + conv(3, 128, 128) + conv(3, 128, 64) + conv(3, 64, 64))
    by_hand = encoder + ups + decoder + conv(1, 64, 2)
    assert count('unet', 'plain', dict(classes=2), (1, 32, 32, 1)) == by_hand
    assert count('unet', 'plain', dict(classes=1), (1, 32, 32, 1)) == by_hand - 65 == 31_030_593


def test_fcn_8s_by_hand():
    """VGG-16's convolutions, its dense layers as convolutions, three score layers and three upsamplings."""
    vgg = (conv(3, 3, 64) + conv(3, 64, 64) + conv(3, 64, 128) + conv(3, 128, 128)
           + conv(3, 128, 256) + 2 * conv(3, 256, 256) + conv(3, 256, 512) + 2 * conv(3, 512, 512)
           + 3 * conv(3, 512, 512))
    dense = conv(7, 512, 4096) + conv(1, 4096, 4096)
    scores = conv(1, 4096, 21) + conv(1, 512, 21) + conv(1, 256, 21)
    ups = (2 * 4 * 4 + 16 * 16) * 21 * 21  # by 2, 2 and 8, kernels twice as large, no biases
    assert count('fcn', '8s', dict(classes=21), (1, 32, 32, 3)) == vgg + dense + scores + ups == 134_489_759
