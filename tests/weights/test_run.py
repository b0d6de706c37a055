"""A run that starts from the weights of another one, and the features that its network computes."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from medjax import assemble, build, restore
from medjax.errors import InputError
from medjax.synthesise import synthesise
from medjax.training import train_and_evaluate
from medjax.weights.run import feature_extractor

pytestmark = pytest.mark.usefixtures('no_report')
CONFIG = dict(
    seed=0, batch=8, steps=2,
    model=dict(name='resnet', variant='18', classes=2, small_images=True, base=4, blocks=(1, 1)),
    task=dict(name='classification'), optim=dict(name='adamw', lr=1e-2, weight_decay=0.0, ema=0.9),
    data=dict(name='images', size=(16, 16), channels=1,
              source=dict(name='simulated_images', classes=('small', 'large'), cases=(16, 4, 4))),
    evaluate=dict(name='classification', every=2, batch=4, saliency=()), checkpoint=dict(best='auroc'),
    log=dict(every=1))


def other(path, **changes):
    """A run for three classes that starts from the first run's weights, and does not change them."""
    source = dict(name='simulated_images', classes=('a', 'b', 'c'), cases=(18, 3, 3))
    return {**CONFIG, 'seed': 1, 'steps': 1, 'model': {**CONFIG['model'], 'classes': 3},
            'data': {**CONFIG['data'], 'source': source}, 'checkpoint': {},
            'optim': dict(name='adamw', lr=0.0, weight_decay=0.0),
            'init': dict(name='run', path=str(path), reinitialise=('logits',), **changes)}


@pytest.fixture(scope='module')
def first(no_report, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'first'
    assert train_and_evaluate(CONFIG, folder)
    return folder


def flat(folder):
    return {name: np.asarray(value) for name, value in flatten_dict(restore.restore(folder).variables, sep='/').items()}


def test_all_weights_but_reinitialised_ones_are_loaded(first, tmp_path):
    config = other(first)
    assert train_and_evaluate(config, tmp_path / 'second')
    old, new = flat(first), flat(tmp_path / 'second')
    assert old.keys() == new.keys()
    for name in old:
        if name.startswith('params/logits'):
            assert old[name].shape != new[name].shape
        elif name.startswith('params'):
            np.testing.assert_array_equal(old[name], new[name])  # the averaged weights, with which the run is evaluated
    drawn = assemble.experiment({**config, 'init': None})
    np.testing.assert_allclose(new['params/logits/kernel'], drawn.create_state().params['logits']['kernel'], atol=1e-6)
    record = json.loads((tmp_path / 'second' / 'environment.json').read_text())
    assert len(record['init_hash']) == 64


@pytest.mark.slow
def test_the_first_run_may_be_deleted(first, tmp_path):
    shutil.copytree(first, tmp_path / 'first')
    config = other(tmp_path / 'first')
    assert train_and_evaluate(config, tmp_path / 'second')
    shutil.rmtree(tmp_path / 'first')
    hashed = json.loads((tmp_path / 'second' / 'environment.json').read_text())['init_hash']
    assert train_and_evaluate(config, tmp_path / 'second')  # it resumes from its own checkpoint
    assert json.loads((tmp_path / 'second' / 'environment.json').read_text())['init_hash'] == hashed


def drawing(path, **changes):
    """A latent diffusion run, with the frozen autoencoder of another run."""
    first = dict(base=4, blocks=(1, 1), latent=2)
    return {**CONFIG, 'model': dict(name='latent_diffusion', size=(16, 16), classes=2, autoencoder=first,
                                    denoiser=dict(base=4, levels=1, attention=False)),
            'task': dict(name='diffusion', sampling_steps=2), 'evaluate': dict(name='synthesis', every=2),
            'checkpoint': {},
            'optim': dict(name='adamw', lr=1e-2, weight_decay=0.1, ema=0.9),
            'init': dict(name='run', path=str(path), part='image_autoencoder', **changes)}


def test_a_part_of_the_network_starts_from_another_run(tmp_path):
    config = {**CONFIG, 'model': dict(name='autoencoder', variant='grid', base=4, blocks=(1, 1), latent=2),
              'task': dict(name='autoencoder'), 'evaluate': dict(name='anomaly', every=2), 'checkpoint': {}}
    assert train_and_evaluate(config, tmp_path / 'first')
    assert train_and_evaluate(drawing(tmp_path / 'first'), tmp_path / 'second')
    old, new = flat(tmp_path / 'first'), flat(tmp_path / 'second')
    assert {name.split('/')[1] for name in new} == {'image_autoencoder', 'latent_denoiser'}
    for name, value in old.items():
        inner = name.replace('/', '/image_autoencoder/', 1)
        np.testing.assert_allclose(new[inner], value, rtol=1e-6)  # an average of constants
    random = [name for name in new if 'latent_denoiser' in name and 'kernel' in name and np.ptp(new[name]) > 0]
    assert random and np.abs(new['params/latent_denoiser/last/kernel']).max() > 0  # its initial value is 0
    for changes, message in (
            (dict(part='third'), 'config.init: .*this part of the network is not trained here'),
            (dict(reinitialise=('second',)), "config.init.reinitialise: 'second' is no part of the network"),
            (dict(reinitialise=('image_autoencoder',)), 'config.init: .*this part of the network is not trained here'),
            (dict(path='nowhere'), 'config.init.path: nowhere: no config.json')):
        wrong = drawing(tmp_path / 'first')
        wrong['init'].update(changes)
        with pytest.raises(InputError, match=message):
            train_and_evaluate(wrong, tmp_path / 'third')


@pytest.mark.parametrize('change, message', [
    (dict(reinitialise=()),
     r'params/logits/bias has shape \(2,\); expected \(3,\), or .logits. in config.init.reinitialise'),
    (dict(part='head'), r"config.init.part: 'head' is no part of the network; expected some of: logits, stage0_0"),
    (dict(reinitialise=('head',)),
     r"config.init.reinitialise: 'head' is no part of the network; expected some of: logits, stage0_0"),
    (dict(path='nowhere'), 'nowhere: no config.json there'),
    (dict(name='web'), "config.init.name: 'web' is not known; expected one of: .*nnunet, run, torchvision"),
    (dict(strict=True), 'config.init.strict: unknown key'),
])
def test_a_mismatch_is_named_before_training(first, tmp_path, change, message):
    config = other(first)
    config['init'].update(change)
    with pytest.raises(InputError, match=message):
        train_and_evaluate(config, tmp_path / 'second')
    assert not (tmp_path / 'second' / 'checkpoints').exists()


@pytest.mark.parametrize('parallel', ['jit', 'pmap'])
def test_every_plan_starts_from_the_loaded_weights(first, parallel):
    made = assemble.experiment({**other(first), 'parallel': parallel})
    state = made.plan.init_state(made.create_state, made.abstract_state(), made.pretrained)
    kernel = jax.device_get(state.params['stem']['conv']['kernel'])
    np.testing.assert_array_equal(kernel[0] if parallel == 'pmap' else kernel, flat(first)['params/stem/conv/kernel'])


def test_features_of_images(first):
    """Features of 8-bit images of any size equal the task's features of the run's own test images."""
    extractor, data = feature_extractor(first), build.dataset(CONFIG['data'])
    assert extractor.classes == ['small', 'large'] and extractor.name == 'the classifier of the run first, step 2'
    numbers = data.numbers('test')
    outputs = extractor(np.asarray(data.arrays[numbers]))
    run = restore.restore(first)
    want = run.predictor.classifier.task.features(run.variables, data.images(numbers))[1]['pooled']
    np.testing.assert_allclose(outputs['features'], want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs['probs'].sum(1), 1, rtol=1e-5)
    larger = extractor(np.asarray(data.arrays[numbers]).repeat(2, 1).repeat(2, 2))  # resized to the network's input
    np.testing.assert_allclose(larger['features'], outputs['features'], atol=0.2)


def test_a_synthesis_evaluator_uses_the_features(first):
    config = {**CONFIG, 'model': dict(name='gan', variant='dcgan', size=(16, 16), base=4, latent=4),
              'task': dict(name='gan'), 'checkpoint': {}, 'evaluate': dict(name='synthesis', features=str(first))}
    made = assemble.experiment(config)
    assert made.evaluator.network.run.step == 2
    with pytest.raises(InputError, match=r'config\.evaluate\.features: .*nowhere: no config\.json there'):
        assemble.experiment({**config, 'evaluate': dict(name='synthesis', features='nowhere')})
    scored = {**config['data'], 'intensity': dict(name='window', low=0, high=255)}
    message = r"as shares of the range of their file, config\.data\.intensity is 'window'"
    with pytest.raises(InputError, match=message):
        assemble.experiment({**config, 'data': scored})


def test_a_classifier_generates_no_images(first, tmp_path):
    with pytest.raises(InputError, match="generates no images; expected one with config.evaluate.name 'synthesis'"):
        synthesise(first, tmp_path / 'made.npz', 5)
