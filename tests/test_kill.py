"""Kills real training processes, at any time and in the middle of saves, and holds them to an undisturbed run."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
STEPS = 12
CONFIG = f'''
import runpy

def get_config():
    c = runpy.run_path({str(ROOT / 'configs' / 'segment_brain_unet2d.py')!r})['get_config']('smoke')
    c.steps = {STEPS}
    c.model.levels = 2
    c.data.patch = (32, 32, 1)
    c.optim.ema = 0.9
    c.evaluate.update(every=4, overlap=0.0)
    c.checkpoint.every = 2
    return c
'''


class Run:
    """The same command again and again, on one workdir."""

    def __init__(self, home, workdir):
        self.home, self.workdir, self.saves = home, workdir, workdir / 'checkpoints'
        self.output, self.process = workdir.with_suffix('.txt'), None

    def start(self):
        environment = {**os.environ, 'HOME': str(self.home), 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu',
                       'XLA_FLAGS': ''}
        environment.pop('JAX_COMPILATION_CACHE_DIR', None)  # the caches of this test's home serve all its processes
        with self.output.open('w') as output:
            self.process = subprocess.Popen(
                [sys.executable, '-m', 'medjax.train', f'--config={self.home / "config.py"}',
                 f'--workdir={self.workdir}'], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def until(self, condition):
        """Waits for a condition, watching closely; the process must still run by then."""
        end = time.monotonic() + 300
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop(signal.SIGKILL)
                raise AssertionError(f'ended or hung before it was to be killed:\n{self.output.read_text()}')
            time.sleep(0.001)

    def says(self, words):
        return words in self.output.read_text()

    def stop(self, number):
        self.process.send_signal(number)
        return self.process.wait(120)

    def steps(self):
        """Steps of the complete checkpoints, and of the saves that were cut short."""
        names = [path.name for path in self.saves.iterdir()] if self.saves.is_dir() else []
        return ({int(name) for name in names if name.isdigit()},
                {int(name.split('.')[0]) for name in names if '.orbax-checkpoint-tmp' in name})

    def finish(self):
        """Goes on to the last save, behind which a kill loses nothing."""
        newest = max(self.steps()[0], default=0)
        line = f'resuming from step {newest} of {STEPS}'
        self.start()
        # A run whose last save is whole already has to be given the time to say so.
        self.until(lambda: STEPS in self.steps()[0] and (newest < STEPS or self.says(line)))
        self.stop(signal.SIGKILL)
        assert self.says(line) == bool(newest), self.output.read_text()

    def kill_at_a_time(self, step, delay):
        """SIGKILL, `delay` seconds after the line of a step."""
        self.start()
        self.until(lambda: self.says(f'step {step}/{STEPS}'))
        time.sleep(delay)
        self.stop(signal.SIGKILL)

    def kill_in_a_save(self, step, delay):
        """SIGKILL, `delay` seconds after the save of a step, or of a later one, began."""
        self.start()
        self.until(lambda: any(number >= step for number in self.steps()[1]))
        time.sleep(delay)
        self.stop(signal.SIGKILL)

    def weights(self):
        """All numbers of the last checkpoint."""
        with ocp.training.Checkpointer(self.saves) as reader:
            assert reader.latest.step == STEPS
            return jax.tree.map(np.asarray, reader.load(STEPS))

    def lines(self):
        """metrics.jsonl without the speeds: what a run measured, step by step."""
        lines = [json.loads(line) for line in (self.workdir / 'metrics.jsonl').read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != 'images_per_s'} for line in lines]


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp('home')
    (home / 'config.py').write_text(CONFIG)
    return home


@pytest.fixture(scope='module')
def straight(home):
    """A run that nothing disturbs until its last save is complete."""
    run = Run(home, home / 'straight')
    run.finish()
    assert [line['step'] for line in run.lines()] == [2, 4, 4, 6, 8, 8, 10, 12, 12]  # 4, 8 and 12 validate as well
    return run


def assert_same_weights(run, straight):
    """Bit for bit; every comparison is also one of two fresh processes."""
    ours, theirs = run.weights(), straight.weights()
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_killed_at_any_time(home, straight):
    run = Run(home, home / 'time')
    run.kill_at_a_time(random.choice((2, 4, 6)), random.uniform(0.0, 0.5))
    run.finish()
    assert_same_weights(run, straight)
    assert run.lines() == straight.lines()


@pytest.mark.slow
def test_killed_in_a_save(home, straight):
    run, cut = Run(home, home / 'save'), set()
    for step, delay in ((2, 0.0), (6, 0.02)):
        run.kill_in_a_save(step, delay)
        complete, begun = run.steps()
        cut |= begun - complete
    assert cut, 'no kill cut a save short: this tried nothing'
    run.finish()
    assert_same_weights(run, straight)
    assert run.lines() == straight.lines()


@pytest.mark.parametrize('number', [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow),
                                    pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_signal_saves_and_says_how_to_go_on(home, straight, number):
    run = Run(home, home / number.name)
    run.start()
    run.until(lambda: run.says(f'step 4/{STEPS}'))
    assert run.stop(number) == 75
    complete, cut = run.steps()
    last = run.output.read_text().splitlines()[-1]
    assert last == (f'{number.name}: saved step {max(complete)} of {STEPS} in {run.workdir}; '
                    'rerun the same command to resume')
    assert 4 <= max(complete) < STEPS and not cut
    run.finish()
    assert_same_weights(run, straight)
    seen = [(line['step'], 'lr' in line) for line in run.lines()]
    assert len(seen) == len(set(seen)) and seen[-1][0] == STEPS
    assert [line for line in run.lines() if 'lr' not in line] == [line for line in straight.lines() if 'lr' not in line]
    assert not run.steps()[1]


@pytest.mark.slow
def test_killed_again_and_again(home, straight):
    chance, cuts = random.Random(), 0
    for number in range(6):
        run = Run(home, home / f'many{number}')
        for _ in range(4):
            newest = max(run.steps()[0], default=0)
            if newest >= STEPS - 2:
                break
            step = chance.randrange(newest + 2, STEPS, 2)
            if chance.random() < 0.7:
                run.kill_in_a_save(step, chance.uniform(0.0, 0.15))
                complete, begun = run.steps()
                cuts += bool(begun - complete)
            else:
                run.kill_at_a_time(step, chance.uniform(0.0, 1.0))
        run.finish()
        assert_same_weights(run, straight)
        assert run.lines() == straight.lines()
    assert cuts
