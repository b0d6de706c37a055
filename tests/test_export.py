"""Networks as files that predict without medjax: the program, its weights, its card, and what is refused."""

import importlib.util
import json
import subprocess
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from medjax import predict
from medjax.deploy import program
from medjax.errors import InputError
from medjax.export import export
from medjax.training import train_and_evaluate

CONFIG = dict(
    seed=0, batch=8, steps=2, model=dict(name='cnn', variant='digits', features=(4,), dense=8, classes=1),
    task=dict(name='classification'),
    data=dict(name='images', size=(8, 8), channels=1, intensity=dict(name='unit'),
              source=dict(name='simulated_images', classes=('small', 'large'), cases=(16, 6, 8), shape=(8, 8))),
    optim=dict(name='adamw', lr=1e-2), evaluate=dict(name='classification', every=2, batch=4), log=dict(every=2))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'classifier'
    assert train_and_evaluate(CONFIG, folder)
    return folder


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory):
    path = tmp_path_factory.mktemp('exported') / 'model.zip'
    card = export(run, path)
    return path, card


def loader(path, folder):
    """The function `load` of the file in the archive."""
    with zipfile.ZipFile(path) as file:
        file.extract('load.py', folder)
    spec = importlib.util.spec_from_file_location('exported_loader', folder / 'load.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load


def test_the_file_predicts_what_predict_does_bit_for_bit(run, exported, tmp_path):
    path, _ = exported
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    (tmp_path / 'images').mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / 'images' / f'{number}.png')
    predict.predict(run, [str(tmp_path / 'images')], tmp_path / 'found', lambda line: None)
    lines = (tmp_path / 'found' / 'predictions.csv').read_text().splitlines()
    want = np.array([[float(cell) for cell in line.split(',')[1:]] for line in lines[1:]])
    call = loader(path, tmp_path)(path)
    for image, probs in zip(pixels[..., None] / np.float32(255), want):
        np.testing.assert_array_equal(np.asarray(call(image=image[None])['probs'])[0].astype(float), probs)


def test_the_loader_needs_no_medjax(exported, tmp_path):
    path, _ = exported
    loader(path, tmp_path)
    code = ('import sys, numpy; from load import load; '
            f'print(load({str(path)!r})(image=numpy.zeros((2, 8, 8, 1), "f"))["probs"].shape, "medjax" in sys.modules)')
    result = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.split('\n')[0] == '(2, 2) False'


def test_the_card_has_what_a_user_needs(run, exported):
    path, card = exported
    assert card['inputs']['image']['shape'][0] == 'b' and card['classes'] == ['small', 'large']
    assert card['platforms'] == ('cpu', 'cuda', 'tpu') and card['step'] == 2
    results = json.loads((run / 'results.json').read_text())
    assert card['metrics'] == results['test'] and card['intended_use'] == 'not stated'
    text = path.with_suffix('.md').read_text()
    assert 'Intended use: not stated' in text and f'`{card["weights_sha256"]}`' in text
    with zipfile.ZipFile(path) as file:
        assert json.loads(file.read('model.json'))['weights_sha256'] == card['weights_sha256']


@pytest.mark.parametrize('precision, width', [('bfloat16', 2), ('int8', 1)])
def test_narrow_weights_say_what_they_cost(run, tmp_path, precision, width):
    card = export(run, tmp_path / 'model.zip', precision=precision)
    assert set(card['precision_cost']) >= {'accuracy', 'auroc'}
    cost = card['precision_cost']['auroc']
    assert cost['float32'] == card['metrics']['auroc']['value']
    assert cost['rounded'] - cost['float32'] == cost['difference'] and 0 <= cost['rounded'] <= 1
    with zipfile.ZipFile(tmp_path / 'model.zip') as file, np.load(file.open('weights.npz')) as arrays:
        kernels = [name for name in arrays.files if name.endswith(f'kernel:{precision}')]
        assert kernels and all(arrays[name].dtype.itemsize == width for name in kernels)


def test_weights_are_rounded_to_their_precision():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32)
    variables = {'params': {'a': {'kernel': kernel, 'bias': kernel[0, 0, 0]}},
                 'batch_stats': {'a': {'mean': kernel[0]}}}
    wide = program.restore(program.store(variables, 'bfloat16'))
    np.testing.assert_array_equal(wide['params']['a']['kernel'], kernel.astype(jnp.bfloat16).astype(np.float32))
    np.testing.assert_array_equal(wide['batch_stats']['a']['mean'], kernel[0])
    narrow = program.restore(program.store(variables, 'int8'))
    scale = np.abs(kernel).max((0, 1, 2)) / 127
    assert (np.abs(narrow['params']['a']['kernel'] - kernel) <= scale / 2 + 1e-7).all()
    np.testing.assert_array_equal(narrow['params']['a']['bias'], kernel[0, 0, 0])


def test_image_sizes_are_free_where_the_network_allows_it():
    def halved(variables, batch):
        image = batch['image']
        if image.shape[1] % 4:
            raise InputError('expected a multiple of 4')
        return {'mean': image.reshape(image.shape[0], -1, 4, *image.shape[2:]).mean(2) * variables['params']['w']}

    example = {'image': np.zeros((1, 8, 6, 1), np.float32), 'target': np.zeros((1, 8, 6, 1), np.float32)}
    traced = program.trace(halved, {'params/w': np.float32(2)}, example)
    assert traced.inputs == {'image': {'shape': ['b', '4*x', '4*y', '1'], 'dtype': 'float32'}}
    image = np.arange(2 * 12 * 4, dtype=np.float32).reshape(2, 12, 4, 1)
    found = traced.exported.call({'params/w': np.float32(2)}, {'image': image})['mean']
    np.testing.assert_array_equal(found, image.reshape(2, 3, 4, 4, 1).mean(2) * 2)


@pytest.mark.parametrize('options, message', [
    (dict(output='model.onnx'), r'--format=jax --output=.*model\.onnx; expected .* jax \.zip, onnx \.onnx'),
    (dict(output='model.onnx', format='onnx', precision='int8'), '--format=onnx --precision=int8; expected float32'),
    (dict(output='model.zip', precision='int4'), '--precision=int4; expected one of: float32, bfloat16, int8')])
def test_bad_options_are_refused(run, tmp_path, options, message):
    output = tmp_path / options.pop('output')
    with pytest.raises(InputError, match=message):
        export(run, output, **options)
    assert not output.exists()


def test_no_file_of_a_run_is_overwritten(run):
    with pytest.raises(InputError, match='would be among the files of the run'):
        export(run, run / 'model.zip')
