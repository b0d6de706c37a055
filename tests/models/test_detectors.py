"""RetinaNet and R-CNNs: shapes, anchors, proposals and regions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import build
from medjax.errors import InputError
from medjax.models import rcnn, retinanet
from medjax.ops import boxes as ops

ENCODER = dict(name='resnet', variant='18', base=4, blocks=(1, 1, 1))
SMALL = dict(encoder=ENCODER, classes=2, levels=(0, 1), features=8)
KEY = jax.random.key(0)


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize('shape, dims', [((1, 48, 64, 1), 2), ((1, 32, 32, 16, 1), 3)])
def test_every_anchor_has_logits_and_deltas(shape, dims):
    network = build.network(dict(name='retinanet', dims=dims, extra_levels=1, octaves=2, depth=1, **SMALL), 'float32')
    variables = jax.eval_shape(lambda: network.init(KEY, jnp.zeros(shape), train=False))
    (out, feats), _ = jax.eval_shape(lambda v: network.apply(v, jnp.zeros(shape), train=True, mutable=['batch_stats']),
                                     variables)
    assert len(out['dense']) == len(feats) == 3
    for number, level in enumerate(out['dense']):
        grid = [-(-n // 2**(number + 2)) for n in shape[1:-1]]
        count = int(np.prod(grid)) * 6
        assert level['anchors'].shape == (count, 2 * dims)
        assert level['logits'].shape == (1, count, 2) and level['deltas'].shape == (1, count, 2 * dims)


def test_anchors_are_centred_on_their_receptive_fields():
    """With a head without convolutions, the gradient of an anchor's logit is centred on the anchor."""
    network = retinanet.Model(**SMALL, extra_levels=0, octaves=1, ratios=(1.0,), depth=0)
    x = images(1, 64, 64, 1)
    variables = jax.jit(lambda: network.init(KEY, x, train=False))()

    def gradient_centre(level, anchor):
        def logit(x):
            return network.apply(variables, x, train=False)[0]['dense'][level]['logits'][0, anchor].sum()
        gradient = jnp.abs(jax.jit(jax.grad(logit))(x))[0, ..., 0]
        rows, columns = jnp.meshgrid(jnp.arange(64.0) + 0.5, jnp.arange(64.0) + 0.5, indexing='ij')
        return jnp.stack([(gradient * rows).sum(), (gradient * columns).sum()]) / gradient.sum()

    dense = jax.jit(lambda: network.apply(variables, x, train=False)[0]['dense'])()
    for level, grid in enumerate((16, 8)):
        anchor = grid * (grid // 2) + grid // 2 + 1
        box = dense[level]['anchors'][anchor]
        np.testing.assert_allclose(gradient_centre(level, anchor), (box[:2] + box[2:]) / 2, atol=6)


@pytest.mark.parametrize('name', ['densenet', 'convnext', 'vgg'])
def test_all_classifiers_are_encoders(name):
    options = {'densenet': dict(blocks=(1, 1), growth=4), 'convnext': dict(blocks=(1, 1), width=8),
               'vgg': dict(blocks=(1, 1), base=4)}[name]
    fields = build.network(dict(name=name, classes=1), 'float32').__dataclass_fields__
    options = {key: value for key, value in options.items() if key in fields}
    network = retinanet.Model(classes=2, encoder=dict(name=name, **options), levels=(0, 1), features=8, extra_levels=0)
    out = jax.eval_shape(lambda: network.init_with_output(KEY, jnp.zeros((1, 64, 64, 1)), train=False))[0][0]
    assert len(out['dense']) == 2


@pytest.mark.parametrize('options, message', [
    (dict(encoder=dict(name='unet')), r'config\.model\.encoder: .*unet.*; expected a name of convnext, densenet, '),
    (dict(encoder=dict(name='resnet', variant='19')), r'a variant of 18, 34, 50, 101'),
    (dict(encoder=dict(name='resnet', depth=3)), r'config\.model\.encoder\.depth: unknown key'),
    (dict(levels=(1, 7)), r'config\.model\.levels: \(1, 7\); expected rising numbers'),
    (dict(scale=0.0), r'config\.model: scale=0\.0'),
])
def test_invalid_options_raise(options, message):
    network = retinanet.Model(**{**SMALL, **options})
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: network.init(KEY, jnp.zeros((1, 32, 32, 1)), train=False))


def small_rcnn(variant, **options):
    fields = {**rcnn.VARIANTS[variant], **SMALL, 'hidden': 8, 'post_nms_top_n': 12, 'pre_nms_top_n': 20, **options}
    return rcnn.Model(**{**fields, 'levels': (1,) if variant == 'fast' else (0, 1)})


def external_proposals(count=5):
    low = jnp.asarray(np.random.default_rng(1).uniform(0, 24, (2, count, 2)), jnp.float32)
    return jnp.concatenate([low, low + 8], -1), jnp.ones((2, count))


@pytest.mark.parametrize('variant, fields', [
    ('faster', {}), ('fast', {}), ('fast', dict(pool='align')), ('fast', dict(pool='spp')), ('rcnn', dict(size=16))])
def test_regions_have_logits_and_deltas(variant, fields):
    network, x = small_rcnn(variant, **fields), images(2, 32, 32, 1)
    options = {'proposals': external_proposals()} if network.external_proposals else {}
    out, _ = jax.jit(lambda: network.init_with_output(KEY, x, train=False, **options))()[0]
    count = 5 if network.external_proposals else 12
    regions = out['regions']
    assert regions['boxes'].shape == (2, count, 4) and regions['mask'].shape == (2, count)
    assert regions['logits'].shape == (2, count, 3) and regions['deltas'].shape == (2, count, 2, 4)
    assert ('dense' in out) == (variant == 'faster')
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(out))


def test_regions_depend_only_on_their_part_of_the_image():
    """A change outside of a crop of the image does not affect its region."""
    network, x = small_rcnn('rcnn', size=16), images(2, 32, 32, 1)
    boxes = jnp.tile(jnp.array([[0.0, 0, 16, 16], [16, 16, 32, 32]]), (2, 1, 1))
    variables = jax.jit(lambda: network.init(KEY, x, train=False, proposals=(boxes, jnp.ones((2, 2)))))()
    run = jax.jit(lambda x: network.apply(variables, x, train=False, proposals=(boxes, jnp.ones((2, 2))))[0]['regions'])
    before, after = run(x)['logits'], run(x.at[:, 18:, 18:].set(7.0))['logits']
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert np.abs(before[:, 1] - after[:, 1]).max() > 1e-6


def test_proposals_do_not_overlap_and_lie_in_the_image():
    network, x = small_rcnn('faster', nms_threshold=0.3), images(2, 32, 32, 1)
    out, _ = jax.jit(lambda: network.init_with_output(KEY, x, train=False))()[0]
    for proposals, mask in zip(out['regions']['boxes'], out['regions']['mask']):
        proposals = proposals[mask > 0]
        overlap = ops.iou(proposals, proposals) - jnp.eye(len(proposals))
        assert len(proposals) > 3 and overlap.max() <= 0.3 + 1e-6
        assert proposals.min() >= 0 and proposals.max() <= 32


def test_missing_proposals_raise():
    with pytest.raises(InputError, match=r'config\.data\.proposals'):
        jax.eval_shape(lambda: small_rcnn('fast').init(KEY, images(1, 32, 32, 1), train=False))
