"""Numbers of parameters of all models, and counts by hand from the papers' tables of layers."""

import importlib
import math
import pkgutil

import jax
import jax.numpy as jnp
import pytest

import medjax.models

SERIES = ((1, 5, 3), (1, 5, 3), (1, 5), (1, 5), (1, 2))  # values, observed, times, mask, covariates

VISITS = ((1, 2, 8, 8, 2), (1, 2), (1, 2), (1, 2), (1,))  # images, times, mask, volumes, horizon
FILM, NUMBERS = {n: 64 * 2 * n + 2 * n for n in (4, 8)}, 64 + 64 * 64 + 64

# A molecule for 'mpnn': atoms, mask, bonds, bond features and descriptors.
GRAPH = ((1, 5, 34), (1, 5), (1, 4, 2), (1, 4, 7), (1, 0))
VIT = (16 * 96 + 96) + 96 + 50 * 96 + 4 * (4 * 96 + 4 * (96 * 96 + 96) + 8 * 96 * 96 + 5 * 96) + 2 * 96
MAE_DECODER = 97 * 64 + 64 + 49 * 64 + 2 * (4 * 64 + 4 * (64 * 64 + 64) + 8 * 64 * 64 + 5 * 64) + 2 * 64 + 65 * 16
LINE = ((1, 9), (1, 9), (1, 0))  # a molecule for 'smiles_encoder': tokens, mask, descriptors
PAIR = ((1, 16, 16, 1), (1, 16, 16, 1))
AFFINE = 9 * (2 * 4 + 4 * 8) + 12 + (4 * 4 * 8) * 6 + 6  # two strided convolutions, and a dense layer to 6 numbers
VELOCITY = 9 * (2 * 4 + 4 * 4 + 4 * 8 + 8 * 8 + 8 * 4 + 4 * 4) + 32 + 4 * 8 * 4 + 4 + 4 * 4 + 4 + 4 * 2 + 2

# A U-Net with 4 and 8 channels and instance norm, from one channel to one.
TWO_LEVELS = (9 * (4 + 4 * 4 + 4 * 8 + 8 * 8) + 2 * (4 + 4 + 8 + 8) + 4 * 8 * 4 + 4 + 9 * (8 * 4 + 4 * 4) + 2 * (4 + 4)
              + 4 + 1)
# nnU-Net's residual U-Net of two levels with one block each: stem, blocks, decoder.
NNUNET = dict(classes=1, dims=2, features=(4, 8), kernels=((3, 3),) * 2, strides=((1, 1), (2, 2)))
RESIDUAL = (9 * 4 + 8 + 2 * (9 * 4 * 4 + 8) + 9 * (4 * 8 + 8 * 8) + 2 * 16 + 4 * 8 + 16 + 4 * 8 * 4 + 4 + 9 * 8 * 4 + 8
            + 4 + 1)
GRID = 398_641 - (2 * 16 * 128 + 16) + 3 * 4 * 128 + 2 * 4
# Module, variant, options, shape of the image `[B, *S, C]` or of all inputs, parameters. Every variant has a row.
TABLE = [
    ('autoencoder', 'plain', dict(), (1, 28, 28, 1), 802_113),
    ('autoencoder', 'vae', dict(), (1, 28, 28, 1), 1_002_849),
    ('autoencoder', 'vq', dict(), (1, 28, 28, 1), 398_641),
    # A latent of 4 channels instead of 16 for 'vq', and its variances.
    ('autoencoder', 'grid', dict(), (1, 28, 28, 1), GRID),
    ('cnn', 'lung', dict(), (1, 224, 224, 3), 44_396_609),
    ('cnn', 'digits', dict(), (1, 28, 28, 1), 693_962),
    ('cnn', 'folder', dict(classes=1), (1, 150, 150, 3), 3_453_121),
    ('cnn', 'cancer', dict(), (1, 128, 128, 3), 3_304_769),
    ('cnn', 'logistic', dict(classes=1), (1, 28, 28, 1), 785),
    ('convnext', 'tiny', dict(classes=1000), (1, 64, 64, 3), 28_589_128),
    ('densenet', '121', dict(classes=1000), (1, 64, 64, 3), 7_978_856),
    ('densenet', '169', dict(classes=1000), (1, 64, 64, 3), 14_149_480),
    ('diffusion', 'patches', dict(classes=2), ((1, 28, 28, 1), (1,), (1,)), 2_150_145),
    ('diffusion', 'pixels', dict(), ((1, 28, 28, 1), (1,), (1,)), 2_046_337),
    # The autoencoder 'grid', and the denoiser 'patches', whose patches have 4 numbers as well, without classes.
    ('latent_diffusion', 'grid', dict(), ((1, 7, 7, 4), (1,), (1,)), GRID + 2_150_145 - 2 * 256 + 3),
    ('nnunet', 'plain', NNUNET | dict(convs=(2, 2), decoder_convs=(2,)), (1, 8, 8, 1), TWO_LEVELS),
    ('nnunet', 'residual', NNUNET | dict(convs=(1, 1), decoder_convs=(1,)), (1, 8, 8, 1), RESIDUAL),
    ('resnet', '18', dict(classes=1000), (1, 64, 64, 3), 11_689_512),
    ('resnet', '18', dict(classes=10, small_images=True), (1, 28, 28, 3), 11_173_962),
    ('resnet', '34', dict(classes=1000), (1, 64, 64, 3), 21_797_672),
    ('resnet', '50', dict(classes=1000), (1, 64, 64, 3), 25_557_032),
    ('resnet', '101', dict(classes=1000), (1, 64, 64, 3), 44_549_160),
    ('resnet', '50', dict(classes=1000, attention='se'), (1, 64, 64, 3), 28_088_024),
    ('meshnet', 'gwm', dict(classes=3), (1, 8, 8, 8, 1), 28 * 5 + 8 * (27 * 25 + 5) + 6 * 3),
    ('meshnet', 'subcortical', dict(classes=18), (1, 8, 8, 8, 1), 28 * 21 + 8 * (27 * 441 + 21) + 22 * 18),
    ('mil', '18', dict(classes=1), (1, 2, 64, 64, 3), 11_308_481),
    ('mil', '50', dict(classes=1), (1, 2, 64, 64, 3), 24_034_753),
    ('gan', 'projection', dict(), ((1, 28, 28, 1), (1,)), 1_689_762),
    ('gan', 'dcgan', dict(), ((1, 28, 28, 1), (1,)), 1_864_770),
    ('gan', 'style', dict(), ((1, 28, 28, 1), (1,)), 1_445_929),
    ('image_tabular', '18', dict(), ((1, 64, 64, 3), (1, 9)), 11_689_512 - 513_000 + 513 * 32 + 42 * 32 + 33 + 9),
    ('image_tabular', '50', dict(), ((1, 64, 64, 3), (1, 9)), 25_557_032 - 2_049_000 + 2049 * 32 + 42 * 32 + 33 + 9),
    ('mlp', 'small', dict(), (1, 9), 9 * 32 + 32 + 32 * 32 + 32 + 32 + 1),
    ('mlp', 'linear', dict(bias=False), (1, 9), 9),
    ('mpnn', 'directed', dict(width=8, features=(4,)), GRAPH, 41 * 8 + 8 + 64 + 42 * 8 + 8 + 36 + 5),
    ('mpnn', 'atoms', dict(width=8, features=(4,)), GRAPH, 34 * 8 + 8 + 15 * 8 + 8 + 64 + 42 * 8 + 8 + 36 + 5),
    ('rcnn', 'faster', dict(classes=3), (1, 64, 64, 3), 28_910_944),
    ('rcnn', 'fast', dict(classes=3), (1, 64, 64, 3), 25_744_977),
    ('rcnn', 'rcnn', dict(classes=3), (1, 64, 64, 3), 12_768_337),
    ('registration', 'voxelmorph', dict(base=4, levels=2), PAIR, AFFINE + VELOCITY),
    ('registration', 'velocity', dict(base=4, levels=2), PAIR, VELOCITY),
    ('registration', 'affine', dict(base=4, levels=2), PAIR, AFFINE),
    ('registration', 'instance', dict(), PAIR, 6),
    ('retinanet', '18', dict(classes=3), (1, 64, 64, 3), 19_223_424),
    ('retinanet', '50', dict(classes=3), (1, 64, 64, 3), 32_244_608),
    # Inputs are 3 values, 3 masks, the time and 2 covariates; then gates and the output layer.
    ('sequence', 'rnn', dict(width=4), SERIES, 9 * 4 + 4 * 4 + 4 + 5),
    ('sequence', 'lstm', dict(width=4), SERIES, 4 * (9 * 4 + 4 * 4 + 4) + 5),
    ('sequence', 'gru', dict(width=4), SERIES, 3 * (9 * 4 + 4 * 4 + 4) + 4 + 5),
    ('sequence', 'gru_d', dict(width=4), SERIES, 3 * (10 * 4 + 4 * 4 + 4) + 4 + 5 + 5 + 5 * 4 + 4 + 5),
    ('sequence', 'conv', dict(width=4), SERIES, (3 * 9 * 4 + 4) + 5 * (3 * 4 * 4 + 4) + (9 * 4 + 4) + 5),
    ('sequence', 'transformer', dict(width=4), SERIES, 40 + 2 * (2 * 8 + 4 * 20 + (4 + 1) * 16 + 17 * 4) + 5),
    # A step has four samples of 2 leads; two directions; and 4 × 2 outputs.
    ('signal_segmenter', 'gru', dict(classes=2, width=4), (1, 10, 2), 2 * (3 * (8 * 4 + 16 + 4) + 4) + 8 * 8 + 8),
    ('signal_segmenter', 'lstm', dict(classes=2, width=4), (1, 10, 2), 2 * 4 * (8 * 4 + 16 + 4) + 8 * 8 + 8),
    ('signal_segmenter', 'rnn', dict(classes=2, width=4), (1, 10, 2), 2 * (8 * 4 + 16 + 4) + 8 * 8 + 8),
    ('smiles_encoder', 'gru', dict(width=8, features=(4,)), LINE, 512 + 2 * (2 * 8 * 24 + 24 + 8) + 16 * 4 + 4 + 5),
    ('smiles_encoder', 'lstm', dict(width=8, features=(4,)), LINE, 512 + 2 * (2 * 8 * 32 + 32) + 16 * 4 + 4 + 5),
    ('smiles_encoder', 'conv', dict(width=8, features=(4,)), LINE, 512 + 4 * 2 * (3 * 64 + 8) + 8 * 4 + 4 + 5),
    ('smiles_encoder', 'transformer', dict(width=8, features=(4,)), LINE,
     512 + 72 + 3 * (4 * 72 + 2 * 16 + 8 * 32 + 32 + 32 * 8 + 8) + 8 * 4 + 4 + 5),
    ('tarnet', 'tarnet', dict(shared=(10,), heads=(5,)), (1, 9), 100 + 2 * (55 + 6)),
    ('tarnet', 'tlearner', dict(heads=(5,)), (1, 9), 2 * (50 + 6)),
    ('tarnet', 'slearner', dict(heads=(5,)), (1, 9), 55 + 6),
    ('tarnet', 'xlearner', dict(heads=(5,)), (1, 9), 4 * (50 + 6) + 10),
    ('vgg', '16', dict(classes=1000), (1, 224, 224, 3), 138_357_544),
    ('vit', 's16', dict(classes=1000), (1, 224, 224, 3), 22_050_664),
    ('vit', 's16', dict(classes=1000, dims=3), (1, 32, 32, 32, 1), 23_256_424),
    ('vit', 'b16', dict(classes=1000), (1, 224, 224, 3), 86_567_656),
    # Embedding, class token and positions; blocks of two norms, attention and dense layers 4 times as wide; the head.
    ('vit', 'tiny', dict(classes=2), (1, 28, 28, 1), VIT + 96 * 2 + 2),
    # The same without logits, and a decoder of 2 such blocks with a mask token and 16 numbers per patch.
    ('mae', 'tiny', dict(), (1, 28, 28, 1), VIT + MAE_DECODER),
    # ViT-S/16 without its logits, and a decoder of 4 blocks of width 192.
    ('mae', 's16', dict(), (1, 224, 224, 3), 22_050_664 - 385_000 + 582 * 192 + 4 * 444_864 + 384 + 193 * 768),
    ('fcn', '32s', dict(classes=21), (1, 64, 64, 3), 136_152_917),
    ('fcn', '16s', dict(classes=21), (1, 64, 64, 3), 134_815_994),
    ('fcn', '8s', dict(classes=21), (1, 64, 64, 3), 134_489_759),
    ('convlstm', 'plain', dict(base=4, levels=2, state=6), VISITS, 8 * 64 + 3 * 64 + 2 * NUMBERS
     + 9 * (2 * 4 + 4 * 4 + 4 * 8 + 8 * 8) + 48 + 9 * (8 + 6) * 24 + 24 + 2 * (FILM[4] + FILM[8])
     + 9 * (14 * 8 + 8 * 8 + 8 * 4 + 4 * 4) + 48 + 4 * 8 * 4 + 4 + 15),
    ('longitudinal_unet', 'film', dict(base=4, levels=2), VISITS, 8 * 64 + NUMBERS
     + 9 * (4 * 4 + 4 * 4 + 4 * 8 + 8 * 8) + 48 + 2 * FILM[4] + FILM[8]
     + 4 * 8 * 4 + 4 + 9 * (8 * 4 + 4 * 4) + 16 + 15),
    ('translation', 'pix2pix', dict(base=4, levels=2, width=4, depth=1), (1, 16, 16, 1), TWO_LEVELS + 16 * (2 * 4)
     + 4 + 16 * 4 * 8 + 16 + 16 * 8 + 1),
    ('translation', 'regression', dict(base=4, levels=2), (1, 16, 16, 1), TWO_LEVELS),
    ('translation', 'cyclegan', dict(channels=(3, 3)), (1, 64, 64, 3), 28_257_544),
    ('unet', 'plain', dict(classes=2, dims=2), (1, 64, 64, 1), 31_030_658),
    ('unet', 'plain', dict(classes=2, dims=3), (1, 64, 64, 64, 1), 90_292_738),
    ('unet', 'nnunet', dict(classes=2, dims=2), (1, 64, 64, 1), 20_613_064),
    ('unet', 'nnunet', dict(classes=2, dims=3), (1, 64, 64, 64, 1), 60_070_408),
    ('unet', 'residual', dict(classes=2, dims=2), (1, 64, 64, 1), 74_942_344),
    ('unet', 'residual', dict(classes=2, dims=3), (1, 64, 64, 64, 1), 222_650_824),
]

# The inputs are zeros of float32, also where a network takes class numbers.
pytestmark = pytest.mark.filterwarnings('ignore:jax.nn.one_hot input should be integer-typed:DeprecationWarning')


def count(module, variant, options, shape):
    """The number of parameters, from shapes only."""
    code = importlib.import_module(f'medjax.models.{module}')
    model = code.Model(**{**code.VARIANTS[variant], **options})
    shapes = shape if isinstance(shape[0], tuple) else (shape,)
    given = {'proposals': (jnp.zeros((1, 2, 4)), jnp.ones((1, 2)))} if getattr(model, 'external_proposals',
                                                                               False) else {}
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), *map(jnp.zeros, shapes), train=False, **given))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables['params']))


@pytest.mark.parametrize('module, variant, options, shape, want', TABLE)
def test_parameter_counts(module, variant, options, shape, want):
    assert count(module, variant, options, shape) == want


def test_every_variant_has_a_row():
    modules = [m.name for m in pkgutil.iter_modules(medjax.models.__path__)]
    variants = {(m, v) for m in modules for v in importlib.import_module(f'medjax.models.{m}').VARIANTS}
    assert modules and variants == {(module, variant) for module, variant, *_ in TABLE}
    assert {(v, o['dims']) for m, v, o, *_ in TABLE if m == 'unet'} == {(v, d) for m, v in variants if m == 'unet'
                                                                        for d in (2, 3)}


def test_retinanet_by_hand():
    """Encoder, pyramid and head of Lin 2018; the encoder ResNet-18 has unused logits of one class."""
    encoder = 11_689_512 - 1000 * 513 + 513
    pyramid = sum(conv(1, c, 256) for c in (128, 256, 512)) + 5 * conv(3, 256, 256)
    head = 8 * conv(3, 256, 256) + conv(3, 256, 9 * 3) + conv(3, 256, 9 * 4)
    assert count('retinanet', '18', dict(classes=3), (1, 64, 64, 3)) == encoder + pyramid + head


def conv(size, channels, features):
    """Weights and biases of a 2D convolution."""
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


def test_denoiser_by_hand():
    """Patches of 2×2 with 64 channels, downsampled once to 128; two dense layers embed time and class."""
    def block(channels, features):
        norms, film = 2 * channels + 2 * features, 256 * 2 * features + 2 * features
        skip = conv(1, channels, features) if channels != features else 0
        return norms + film + conv(3, channels, features) - features + conv(3, features, features) + skip

    steer = (64 + 2) * 256 + 256 + 256 * 256 + 256
    down = conv(2, 1, 64) + block(64, 64) + conv(3, 64, 128) + block(128, 128)
    attention = 2 * 128 + 4 * conv(1, 128, 128)
    up = 2 * block(256, 128) + 4 * 128 * 64 + 64 + 2 * block(128, 64) + 2 * 64 + conv(3, 64, 64) + 4 * 64 + 1
    assert count('diffusion', 'patches', dict(classes=2), ((1, 28, 28, 1), (1,), (1,))) == steer + down + attention + up


def test_fcn_8s_by_hand():
    """VGG-16's convolutions, its dense layers as convolutions, three score layers and three upsamplings."""
    vgg = (conv(3, 3, 64) + conv(3, 64, 64) + conv(3, 64, 128) + conv(3, 128, 128)
           + conv(3, 128, 256) + 2 * conv(3, 256, 256) + conv(3, 256, 512) + 2 * conv(3, 512, 512)
           + 3 * conv(3, 512, 512))
    dense = conv(7, 512, 4096) + conv(1, 4096, 4096)
    scores = conv(1, 4096, 21) + conv(1, 512, 21) + conv(1, 256, 21)
    ups = (2 * 4 * 4 + 16 * 16) * 21 * 21  # factors 2, 2 and 8, kernels twice as large, no biases
    assert count('fcn', '8s', dict(classes=21), (1, 32, 32, 3)) == vgg + dense + scores + ups == 134_489_759


def test_folder_cnn_by_hand():
    """150 pixels become 148, 74, 72, 36, 34, 17, 15 and 7 by four unpadded convolutions and poolings."""
    convs = conv(3, 3, 32) + conv(3, 32, 64) + conv(3, 64, 128) + conv(3, 128, 128)
    by_hand = convs + conv(1, 7 * 7 * 128, 512) + conv(1, 512, 1)
    assert count('cnn', 'folder', dict(classes=1), (1, 150, 150, 3)) == by_hand == 3_453_121


def test_resnet_options_by_hand():
    """Parameters that each option adds to ResNet-18, which has two blocks of 64, 128, 256 and 512 channels each."""
    plain, widths = 11_689_512, (64, 128, 256, 512)
    # Norms of inputs instead of outputs: one at the end instead of the first block's; none on skip connections.
    skips = sum(2 * width for width in widths[1:])
    gates = sum(2 * (conv(1, w, w // 16) + conv(1, w // 16, w)) for w in widths)
    for options, extra in [(dict(preactivation=True), -skips), (dict(attention='se'), gates),
                           (dict(attention='cbam'), gates + 8 * conv(7, 2, 1)), (dict(pool='spp'), 20 * 512 * 1000)]:
        assert count('resnet', '18', dict(classes=1000, **options), (1, 64, 64, 3)) == plain + extra, options


def test_mil_by_hand():
    """ResNet-18 without its logits, gated attention with 128 hidden features, and one logit."""
    encoder = 11_689_512 - conv(1, 512, 1000)
    assert count('mil', '18', dict(classes=1), (1, 2, 64, 64, 3)) == encoder + 2 * conv(1, 512, 128) + 128 + 513


def test_cyclegan_by_hand():
    """Nine blocks between two down- and two upsamplings (Zhu 2017), and discriminators of patches of 70 voxels."""
    ends = 49 * 3 * 64 + 2 * 64 + conv(7, 64, 3)
    down = 9 * 64 * 128 + 2 * 128 + 9 * 128 * 256 + 2 * 256
    up = conv(2, 256, 128) + 9 * 128**2 + 2 * 128 + conv(2, 128, 64) + 9 * 64**2 + 2 * 64
    strided = sum(16 * a * b + 2 * b for a, b in ((64, 128), (128, 256), (256, 512)))
    discriminator = conv(4, 3, 64) + strided + conv(4, 512, 1)
    by_hand = 2 * (ends + down + 9 * 2 * (9 * 256**2 + 2 * 256) + up + discriminator)
    assert count('translation', 'cyclegan', dict(channels=(3, 3)), (1, 64, 64, 3)) == by_hand == 28_257_544


def test_vit_s_by_hand():
    size = 384
    block = 2 * 2 * size + 4 * conv(1, size, size) + conv(1, size, 4 * size) + conv(1, 4 * size, size)
    by_hand = conv(16, 3, size) + size + (14 * 14 + 1) * size + 12 * block + 2 * size + conv(1, size, 1000)
    assert count('vit', 's16', dict(classes=1000), (1, 224, 224, 3)) == by_hand == 22_050_664


def test_convnext_by_hand():
    def block(size):  # depthwise convolution, norm, two dense layers, layer scale
        return conv(7, 1, size) + 2 * size + conv(1, size, 4 * size) + conv(1, 4 * size, size) + size
    widths, depths = (96, 192, 384, 768), (3, 3, 9, 3)
    downs = conv(4, 3, 96) + sum(conv(2, a, b) for a, b in zip(widths, widths[1:]))
    norms = 2 * (96 + sum(widths[:-1]) + widths[-1])
    by_hand = downs + norms + sum(n * block(size) for n, size in zip(depths, widths)) + conv(1, 768, 1000)
    assert count('convnext', 'tiny', dict(classes=1000), (1, 64, 64, 3)) == by_hand == 28_589_128


def test_dcgan_by_hand():
    """Extents 7, 14 and 28 with 16, 8 and 4 channels; 5 latent and 5 class numbers are mapped to 7 × 7 × 16."""
    generator = (2 * 5 + conv(1, 10, 49 * 16) + 2 * 16
                 + (4 * 16 * 8 + 8) + 9 * 8 * 8 + 2 * 8 + (4 * 8 * 4 + 4) + 9 * 4 * 4 + 2 * 4 + conv(3, 4, 1))
    discriminator = conv(3, 1, 4) + conv(4, 4, 8) + conv(4, 8, 16) + conv(1, 49 * 16, 16) + conv(1, 16, 1) + 2 * 16
    assert count('gan', 'dcgan', dict(base=4, latent=5), ((1, 28, 28, 1), (1,))) == generator + discriminator
