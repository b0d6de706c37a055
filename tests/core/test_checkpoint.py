"""Checkpoints that are kept, refused and ignored."""

import json
import operator

import pytest

from medjax.core import checkpoint, loop
from medjax.errors import InputError
from tests.core import toy


def test_best_and_latest_are_kept(tmp_path):
    lines = []
    experiment = toy.experiment(steps=8, eval_every=2, keep=1, best='size', rank=operator.neg,
                                optim={'name': 'sgd', 'lr': 0.05})
    loop.train(experiment, tmp_path, say=lines.append)
    values = {json.loads(line)['step']: json.loads(line).get('val/size') for line in
              (tmp_path / 'metrics.jsonl').read_text().splitlines() if 'val/size' in line}
    best = min(values, key=values.get)
    checkpoints = experiment.checkpoints(tmp_path)
    assert checkpoints.best_step() == best and checkpoints.latest() == 8
    assert {int(p.name) for p in (tmp_path / 'checkpoints').iterdir() if p.name.isdigit()} == {best, 8}
    assert checkpoints.statistics(8) == {'mean': [0.5]}
    checkpoints.close()


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    loop.train(toy.experiment(), tmp_path, say=lambda line: None)
    with pytest.raises(InputError, match='checkpoint of another model: opt_state'):
        loop.train(toy.experiment(optim={'name': 'sgd', 'lr': 0.1}), tmp_path, say=lambda line: None)


def test_an_incomplete_save_is_ignored(tmp_path):
    experiment = toy.experiment()
    loop.train(experiment, tmp_path, say=lambda line: None)
    (tmp_path / 'checkpoints' / '9.orbax-checkpoint-tmp').mkdir()
    checkpoints = experiment.checkpoints(tmp_path)
    assert checkpoints.latest() == 6
    checkpoints.close()


def test_number_of_kept_checkpoints_is_checked(tmp_path):
    with pytest.raises(InputError, match='config.checkpoint.keep: 0; expected at least 1'):
        checkpoint.Checkpoints(tmp_path, keep=0)
