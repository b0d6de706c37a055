"""Folders of nnU-Net's models: the network that they describe, its weights, and what is refused."""

import json

import jax
import nibabel as nib
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from medjax import build, restore, training
from medjax.convert.__main__ import convert_model
from medjax.deploy import nnunet_model
from medjax.models.nnunet import Model
from medjax.predict import predict
from medjax.weights import nnunet
from tests.cli import run
from tests.data.sources.labelled_folders import refused
from tests.data.sources.nnunet_folders import AFFINE, SHAPE, raw
from tests.weights.nnunet_models import PATCH, arrays, model, plans
from tests.weights.test_torch_checkpoint import checkpoint, tensor


def test_folds_are_averaged_and_labels_written_beside_no_other_files(tmp_path):
    folder, data = model(tmp_path / 'model', (0, 1)), raw(tmp_path / 'data')
    lines = []
    predict(folder, [str(data / 'imagesTr')], tmp_path / 'out', lines.append, nnunet_model.load(folder))
    assert 'fold_0 after epoch 10, fold_1 after epoch 11' in lines[0] and len(lines) == 4
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a.nii.gz', 'b.nii.gz', 'c_1.nii.gz']
    both = nib.load(tmp_path / 'out' / 'a.nii.gz')
    assert both.shape == SHAPE
    np.testing.assert_allclose(both.affine, AFFINE)
    predict(folder, [str(data / 'imagesTr' / 'a_0000.nii.gz')], tmp_path / 'one', lines.append,
            nnunet_model.load(folder, ['1']))
    np.testing.assert_array_equal(both.get_fdata(), nib.load(tmp_path / 'one' / 'a.nii.gz').get_fdata())


def test_a_new_network_begins_with_the_weights(tmp_path):
    folder = model(tmp_path)
    fields = nnunet.network(plans()['configurations']['3d_fullres'], 'plans.json')
    fields |= {key: [tuple(reversed(one)) for one in fields[key]] for key in ('kernels', 'strides')}  # x, y, z
    module = Model(classes=5, **fields)
    image = np.zeros((1, *PATCH[::-1], 2), np.float32)
    shapes = flatten_dict(jax.eval_shape(lambda: module.init(jax.random.key(0), image, train=False)), sep='/')
    logits = {name for name in shapes if 'logits0' in name}
    read, _ = build.attribute('weights', {'name': 'nnunet'}, 'config.init')
    found = read(folder, {name: leaf for name, leaf in shapes.items() if name not in logits}, ['logits0'])
    assert set(found) == set(shapes) - logits
    given = arrays()
    np.testing.assert_array_equal(found['params/enc1_0/conv/kernel'],
                                  given['encoder.stages.1.0.convs.0.conv.weight'].transpose(4, 3, 2, 1, 0))
    np.testing.assert_array_equal(found['params/dec0_up/kernel'],
                                  given['decoder.transpconvs.0.weight'].transpose(4, 3, 2, 0, 1))
    refused(lambda: read(folder, shapes, []), 'config.init.path', 'params/logits0/', "'logits0' in config.init")


def test_a_training_starts_from_the_weights(tmp_path):
    """After a step of almost no length the weights are those of the file, but for the layer that is new."""
    folder, data = model(tmp_path / 'model'), raw(tmp_path / 'data')
    fields = nnunet.network(plans()['configurations']['3d_fullres'], 'plans.json')
    fields |= {key: [tuple(reversed(one)) for one in fields[key]] for key in ('kernels', 'strides')}
    config = dict(
        seed=0, steps=1, batch=8, model=dict(name='nnunet', classes=3, **fields),
        task=dict(name='segmentation', loss=dict(cross_entropy=1.0)), optim=dict(name='sgd', lr=1e-12),
        data=dict(name='volumes', patch=PATCH[::-1], cache=str(tmp_path / 'cache'),
                  source=dict(name='nnunet', dir=str(data))),
        init=dict(name='nnunet', path=str(folder), reinitialise=['logits0']), evaluate=dict(name='segmentation'))
    training.train_and_evaluate(config, tmp_path / 'run', evaluate=False)
    found = flatten_dict(restore.restore(tmp_path / 'run').variables['params'], sep='/')
    given = arrays()
    for ours, theirs, axes in (('enc0_0/conv', 'encoder.stages.0.0.convs.0.conv', (4, 3, 2, 1, 0)),
                               ('enc1_0/conv', 'encoder.stages.1.0.convs.0.conv', (4, 3, 2, 1, 0)),
                               ('dec0_up', 'decoder.transpconvs.0', (4, 3, 2, 0, 1))):
        np.testing.assert_allclose(found[f'{ours}/kernel'], given[f'{theirs}.weight'].transpose(axes), atol=1e-6)
    new = given['decoder.seg_layers.0.weight'].transpose(4, 3, 2, 1, 0)
    assert np.abs(np.asarray(found['logits0/kernel']) - new).max() > 0.1


def change(folder, name, edit):
    content = json.loads((folder / name).read_text())
    edit(content)
    (folder / name).write_text(json.dumps(content))


def architecture(content):
    return content['configurations']['3d_fullres']['architecture']


@pytest.mark.parametrize('name, edit, parts', [
    ('plans.json', lambda c: c['configurations']['3d_fullres'].update(patch_size=[8, 8, 8]),
     ['trained with other plans', 'patch_size: [4, 8, 8], there [8, 8, 8]']),
    ('plans.json', lambda c: c.update(transpose_forward=[2, 0, 1]), ['other plans', 'transpose_forward']),
    ('plans.json', lambda c: architecture(c)['arch_kwargs'].update(features_per_stage=[4, 8]),
     ['other plans', 'architecture']),
    ('plans.json', lambda c: architecture(c).update(network_class_name='my.Swin'), ["'Swin'", 'PlainConvUNet']),
    ('plans.json', lambda c: architecture(c)['arch_kwargs'].update(norm_op='torch.nn.BatchNorm3d'), ['norm_op']),
    ('plans.json', lambda c: c['configurations'].update({'3d_fullres': {'inherits_from': 'x'}}),
     ["inherits_from: 'x'"]),
    ('plans.json', lambda c: c['configurations']['3d_fullres'].update(previous_stage='3d_lowres'), ['cascade']),
    ('plans.json', lambda c: c['configurations'].pop('3d_fullres'), ["no '3d_fullres'"]),
    ('plans.json', lambda c: c.update(image_reader_writer='Tiff3DIO'), ["'Tiff3DIO'"]),
    ('plans.json', lambda c: c['configurations']['3d_fullres'].update(preprocessor_name='Mine'), ["'Mine'"]),
    ('dataset.json', lambda c: c.update(modality={'0': 'CT'}), ['modality', 'version 1']),
    ('dataset.json', lambda c: c['labels'].update(cyst=3), ['logits0', 'expected (4,)']),
    ('dataset.json', lambda c: c.update(channel_names={'0': 'CT'}), ['normalization_schemes: 2; expected 1']),
])
def test_files_that_do_not_belong_together_are_refused(tmp_path, name, edit, parts):
    folder = model(tmp_path)
    change(folder, name, edit)
    refused(lambda: nnunet_model.load(folder), tmp_path, *parts)


def test_missing_and_hostile_checkpoints_are_refused(tmp_path):
    folder = model(tmp_path / 'model')
    refused(lambda: nnunet_model.load(folder, ['3']), 'no fold_3')
    path = folder / 'fold_0' / 'checkpoint_final.npz'
    path.write_bytes(path.read_bytes()[:100])
    refused(lambda: nnunet_model.load(folder), path)
    path.unlink()
    refused(lambda: nnunet_model.load(folder), 'no folder of a fold')
    refused(lambda: nnunet_model.load(tmp_path / 'none'), 'no such folder')
    other = checkpoint(folder / 'fold_0' / 'checkpoint_final.pth', {'state_dict': {}})
    refused(lambda: nnunet_model.load(folder), other, "'network_weights' is missing", 'nnU-Net version 2')


def test_old_plans_and_inherited_configurations_are_understood():
    new = plans()['configurations']['3d_fullres']
    kwargs = new['architecture']['arch_kwargs']
    old = {'patch_size': new['patch_size'], 'UNet_class_name': 'PlainConvUNet', 'UNet_base_num_features': 4,
           'unet_max_num_features': 6, 'n_conv_per_stage_encoder': [1, 1], 'n_conv_per_stage_decoder': [1],
           'conv_kernel_sizes': kwargs['kernel_sizes'], 'pool_op_kernel_sizes': kwargs['strides']}
    assert nnunet.network(old, 'x') == nnunet.network(new, 'x')
    content = {'configurations': {'a': {'inherits_from': 'b', 'batch_size': 9}, 'b': new}}
    assert nnunet.configuration(content, 'a', 'x') == {**new, 'batch_size': 9, 'inherits_from': 'b'}


def test_the_command_refuses_two_models(tmp_path):
    ended = run('predict', f'--nnunet={tmp_path}', f'--workdir={tmp_path}', f'--input={tmp_path}',
                    f'--output={tmp_path / "out"}')
    assert ended.code == 2 and '--workdir, --pretrained, --nnunet: 2 given; expected one of them' in ended.err


def test_a_checkpoint_of_pytorch_is_read_and_converted(tmp_path):
    folder, given = model(tmp_path / 'model'), arrays()
    (folder / 'fold_0' / 'checkpoint_final.npz').unlink()
    weights = {name: tensor(key, 'FloatStorage', value.size, value.shape,
                            tuple(step // 4 for step in value.strides))
               for key, (name, value) in enumerate(given.items())}
    # PyTorch's modules register some weights under other names, too.
    weights |= {name.replace('.conv.', '.all_modules.0.'): value for name, value in weights.items() if '.conv.' in name}
    weights |= {f'decoder.{name}': value for name, value in weights.items() if name.startswith('encoder.')}
    content = {'network_weights': weights, 'init_args': {'configuration': '3d_fullres', 'plans': plans()},
               'current_epoch': 5, 'inference_allowed_mirroring_axes': (0, 1)}
    path = checkpoint(folder / 'fold_0' / 'checkpoint_final.pth', content, given.values())
    of = nnunet.fold(path)
    assert set(of.arrays) == set(given) and of.flips == (0, 1) and of.epoch == 5
    written, = convert_model(folder, tmp_path / 'converted')
    for fold in (of, nnunet.fold(written)):
        for name, value in given.items():
            np.testing.assert_array_equal(fold.arrays[name], value)
    assert nnunet_model.load(tmp_path / 'converted').predictor.outputs(path.with_name('x_0000.nii')) == ('x.nii.gz',)
    refused(lambda: convert_model(folder, folder), '--output', 'another one')
