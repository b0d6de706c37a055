"""Faults in numbers: kills at random moments, mutated inputs, and every kind of damage to a checkpoint."""

import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import pytest
from hypothesis import given, settings

from medjax.core import loop, manifest
from medjax.core.sharding import Jit
from medjax.data.io import medmnist_files, tables
from medjax.data.split_files import read_split
from medjax.errors import InputError
from medjax.report import run_files
from tests.conftest import ROOT
from tests.core import toy
from tests.data.io import test_fuzz

pytestmark = pytest.mark.slow

FAMILIES = ('segment_brain_unet2d', 'classify_cancer_cnn', 'detect_lesion3d_retinanet', 'survive_metabric_deepsurv',
            'regress_solubility_mpnn', 'grow_brain_unet')
KILLS = 17  # of each family
STEPS = 12


class Commands:
    """Commands on the run of a family, in processes of their own that share a cache of compiled programs."""

    def __init__(self, home, name, workdir):
        self.workdir = workdir
        self._train = [f'--config={ROOT}/configs/{name}.py:smoke', f'--config.steps={STEPS}', '--config.log.every=2',
                       '--config.checkpoint.every=2', '--config.evaluate.every=4']
        self._environment = {**os.environ, 'HOME': str(home), 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu',
                             'XLA_FLAGS': ''}
        self._environment.pop('JAX_COMPILATION_CACHE_DIR', None)

    def start(self, command):
        """Starts a command; its output goes to a file beside the run."""
        arguments = [f'--workdir={self.workdir}', *(self._train if command == 'train' else [])]
        with self.workdir.with_suffix('.txt').open('w') as output:
            return subprocess.Popen([sys.executable, '-m', f'medjax.{command}', *arguments], cwd=ROOT, stdout=output,
                                    env=self._environment, stderr=subprocess.STDOUT)

    def finish(self):
        """Trains to the end; returns the seconds that it took."""
        began = time.monotonic()
        assert self.start('train').wait() == 0, self.workdir.with_suffix('.txt').read_text()
        return time.monotonic() - began

    def outcome(self):
        """All that must not depend on kills: weights, history, predictions and results."""
        with ocp.training.Checkpointer(self.workdir / 'checkpoints') as reader:
            weights = jax.tree.map(np.asarray, reader.load(STEPS))
        history = [json.loads(line) for line in (self.workdir / 'metrics.jsonl').read_text().splitlines()]
        return (weights, [{k: v for k, v in line.items() if k != 'images_per_s'} for line in history],
                (self.workdir / 'predictions.csv').read_text(), json.loads((self.workdir / 'results.json').read_text()))


@pytest.mark.parametrize('name', FAMILIES)
def test_kills_at_random_moments_change_nothing(tmp_path, name):
    straight, run = (Commands(tmp_path, name, tmp_path / kind) for kind in ('straight', 'run'))
    straight.finish()
    longest = Commands(tmp_path, name, tmp_path / 'second').finish()  # with compiled programs, as the runs to be killed
    chance, kills = random.Random(), collections.Counter()
    while kills.total() < KILLS:
        finished = (run.workdir / 'report.html').exists()
        command = chance.choice(('train', 'evaluate', 'report')) if finished else 'train'
        process = run.start(command)
        try:
            code = process.wait(chance.uniform(0.0, longest))
            assert code == 0, run.workdir.with_suffix('.txt').read_text()
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills[command] += 1
    run.finish()
    print(name, dict(kills))
    for ours, theirs in zip(run.outcome(), straight.outcome()):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    left = [path for path in run.workdir.rglob('*') if path.suffix == '.part' or 'orbax-checkpoint-tmp' in path.name]
    assert not left


@pytest.mark.filterwarnings('ignore')  # Pillow's, of what it mends in a TIFF header
@pytest.mark.parametrize('name', test_fuzz.KINDS)
def test_mutated_images_are_read_or_refused(tmp_path, name):
    content, header = test_fuzz.valid(tmp_path, name)

    @settings(test_fuzz.FEW, max_examples=450, derandomize=False)
    @given(test_fuzz.damage(len(content), header))
    def mutate(changes):
        (tmp_path / name).write_bytes(test_fuzz.damaged(content, changes))
        test_fuzz.check(tmp_path / name)
    mutate()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run of the toy with three checkpoints and small files of every kind."""
    folder = tmp_path_factory.mktemp('soak') / 'run'
    folder.mkdir()
    loop.train(experiment(), folder, say=lambda line: None)
    (folder / 'predictions.csv').write_text('id,split,prob_a\n' + ''.join(f'case{n},test,0.5\n' for n in range(5)))
    (folder / 'config.json').write_text(json.dumps({'model': {'name': 'a'}, 'task': {'name': 'b'}, 'seed': 0}))
    (folder / 'environment.json').write_text(json.dumps({'command': 'python -m medjax.train', 'seed': 0}))
    (folder / 'results.json').write_text(json.dumps({'test': {'auroc': {'value': 0.5}}, 'counts': {'test': 5}}))
    np.savez(folder / 'data.npz', test_images=np.zeros((4, 8, 8), np.uint8))
    return folder


def experiment():
    return toy.experiment(eval_every=2, best='size', keep=3)


def read_run(path):
    return run_files.read(path.parent)


READERS = {
    'config.json': read_run, 'environment.json': read_run, 'results.json': read_run, 'metrics.jsonl': read_run,
    'predictions.csv': read_run, 'predictions.csv as a table': tables.read_table,
    'results.json as a split': read_split, 'data.npz': lambda path: medmnist_files.read_array(str(path), 'test_images'),
    'checkpoints/6/manifest/manifest.json': lambda path: manifest.read(path.parents[1]),
    'checkpoints/6/_CHECKPOINT_METADATA': lambda path: manifest.read(path.parent),
}


@pytest.mark.parametrize('name', READERS)
def test_mutated_files_of_a_run_are_read_or_refused(whole, tmp_path, name):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    path = tmp_path / name.partition(' ')[0]
    content = path.read_bytes()

    @settings(test_fuzz.FEW, max_examples=200, derandomize=False)
    @given(test_fuzz.damage(len(content), len(content)))
    def mutate(changes):
        path.write_bytes(test_fuzz.damaged(content, changes))
        try:
            READERS[name](path)
        except InputError as error:
            assert str(tmp_path) in str(error) and len(str(error)) < 1500
    mutate()


def flipped(content, chance):
    """The bytes with one bit changed."""
    changed = bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def number_changed(content, chance):
    """The text with one digit changed, as a person might edit it."""
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    if not places:
        return flipped(content, chance)
    changed, place = bytearray(content), chance.choice(places)
    changed[place] = ord(chance.choice([digit for digit in '0123456789' if ord(digit) != changed[place]]))
    return bytes(changed)


def cut(content, chance):
    return content[:chance.randrange(len(content))]


def zeros(content, chance):
    return bytes(len(content))


DAMAGES = {'flip': flipped, 'edit': number_changed, 'cut': cut, 'zeros': zeros}
TIMES = {'flip': 24, 'edit': 12, 'cut': 6, 'zeros': 1, 'delete': 1}


def test_no_damage_to_a_checkpoint_is_silent(whole, tmp_path, capfd):
    abstract = Jit().abstract_state(experiment().abstract_state())
    wanted = jax.device_get(experiment().checkpoints(whole).restore(6, abstract))
    known = manifest.read(whole / 'checkpoints' / '6')
    chance, found = random.Random(), collections.Counter()
    files = [path.relative_to(whole) for path in (whole / 'checkpoints' / '6').rglob('*') if path.is_file()]
    for file in files:
        for kind, times in TIMES.items():
            for _ in range(times):
                run = pathlib.Path(shutil.copytree(whole, tmp_path / 'run'))
                if kind == 'delete':
                    (run / file).unlink()
                else:
                    (run / file).write_bytes(DAMAGES[kind]((whole / file).read_bytes(), chance))
                checkpoints = experiment().checkpoints(run)
                try:
                    state = jax.device_get(checkpoints.restore(6, abstract))
                    jax.tree.map(np.testing.assert_array_equal, state, wanted)
                    assert manifest.read(run / 'checkpoints' / '6') == known and checkpoints.best_step() == 2
                    found[kind, 'harmless'] += 1
                except manifest.DamagedCheckpointError as error:
                    assert str(run) in str(error)
                    found[kind, 'named'] += 1
                shutil.rmtree(run)
    said = capfd.readouterr()
    assert not said.out and not said.err
    assert all(found[kind, 'named'] for kind in TIMES)
    print(dict(found))
