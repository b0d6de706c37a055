"""Experiment trackers: one tracked run over resumes, each line once; what is missing or fails."""

import importlib.util
import json

import pytest

from medjax import assemble, training
from medjax.core import trackers
from medjax.core.log import Writer
from medjax.errors import InputError
from tests.test_configs import smoke

CONFIG = {'seed': 3, 'optim': {'name': 'adamw', 'lr': 1e-3}, 'data': {'size': (8, 8)}}


class Recorder:
    """A tracker that notes what it gets."""

    def __init__(self, workdir, config, known):
        self.id, self.calls = known or f'id{len(RECORDERS)}', []
        RECORDERS.append(self)

    def write(self, step, values):
        if values.get('bad'):
            raise ConnectionError('no answer\nfrom the server')
        self.calls.append((step, dict(values)))

    def keep(self, path):
        self.calls.append(path.name)

    def close(self, status):
        self.calls.append(status)


RECORDERS = []


@pytest.fixture
def recorders(monkeypatch):
    """The trackers that have been opened in place of MLflow."""
    RECORDERS.clear()
    monkeypatch.setitem(trackers.KINDS, 'mlflow', Recorder)
    monkeypatch.setattr(trackers, 'find_spec', lambda name: None if name == 'wandb' else name)
    return RECORDERS


def log(workdir, start, steps, names=('mlflow',), say=print):
    """Writes lines of a run that starts after a step, as the loop does."""
    with trackers.opened(names, workdir, CONFIG, say) as tracked:
        writer = Writer(workdir, start, say, tracked)
        for step in steps:
            writer.write(step, {'train/loss': 1 / step, 'lr': float('nan')})
            if step % 2 == 0:
                writer.write(step, {'val/dice': 0.1 * step})
        writer.close()
        tracked.status = 'finished'


def test_a_resumed_run_is_the_same_tracked_run_with_each_line_once(tmp_path, recorders):
    log(tmp_path, 0, [1, 2, 3, 4])
    # The run was killed after step 4 was logged, resumes from step 2, is killed after step 3, and resumes again.
    log(tmp_path, 2, [3])
    log(tmp_path, 2, [3, 4, 5, 6])
    first, between, second = recorders
    assert between.calls == ['finished']
    assert first.id == second.id == json.loads((tmp_path / trackers.NAME).read_text())['mlflow']
    assert first.calls == [(1, {'train/loss': 1}), (2, {'train/loss': 1 / 2}), (2, {'val/dice': 0.2}),
                           (3, {'train/loss': 1 / 3}), (4, {'train/loss': 1 / 4}), (4, {'val/dice': 0.4}), 'finished']
    assert [call[0] for call in second.calls[:-1]] == [5, 6, 6]
    lines = [json.loads(line)['step'] for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert lines == [1, 2, 2, 3, 4, 4, 5, 6, 6]


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path, recorders):
    said = []
    with trackers.opened(['mlflow'], tmp_path, CONFIG, said.append) as tracked:
        tracked.write(1, {'bad': 1.0})
        tracked.write(2, {'bad': 0.0})
    assert said == ['warning: config.log.also: mlflow is left out: ConnectionError: no answer']
    assert recorders[0].calls == []


@pytest.mark.slow
def test_a_training_gives_its_trackers_config_metrics_report_and_model_card(tmp_path, recorders):
    config = smoke('survive_gbsg_deepsurv')
    config['log']['also'] = ('mlflow',)
    config['data']['source']['cases'] = (24, 16, 16)
    config['batch'] = 8
    assert training.train_and_evaluate(config, tmp_path, lambda _: None, evaluate=False)
    assert training.train_and_evaluate(config, tmp_path, lambda _: None)  # evaluates
    first, second = (recorder.calls for recorder in recorders)
    assert first[0] == 'config.json' and first[-1] == 'finished'
    assert {1, 2} == {call[0] for call in first[1:-1]} and any('val/c_index' in call[1] for call in first[1:-1])
    assert second == ['config.json', 'report.html', 'results.json', 'model_card.md', 'finished']
    assert recorders[0].id == recorders[1].id
    card = (tmp_path / 'model_card.md').read_text()
    assert '`mlp`' in card and '| c_index |' in card and 'Not a medical device.' in card


@pytest.mark.parametrize('name, message', [('wandb', "'wandb' needs the package wandb; install it: pip install wandb"),
                                           ('aim', "'aim' is not known; expected some of: mlflow, wandb")])
def test_a_tracker_that_is_missing_is_named_before_data_are_read(recorders, name, message):
    config = smoke('survive_gbsg_deepsurv')
    config['log']['also'], config['data']['source'] = (name,), {'name': 'deepsurv', 'dir': '/nowhere'}
    with pytest.raises(InputError, match=f'config.log.also: {message}'):
        assemble.experiment(config)


@pytest.mark.skipif(importlib.util.find_spec('mlflow') is None, reason='mlflow-skinny is not installed')
def test_mlflow_has_one_run_with_every_step_once(tmp_path, monkeypatch):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', (tmp_path / 'mlruns').as_uri())
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    run = tmp_path / 'run7'
    run.mkdir()
    log(run, 0, [1, 2, 3, 4])
    (run / 'report.html').write_text('a report')
    log(run, 2, [3, 4, 5, 6])
    with trackers.opened(['mlflow'], run, CONFIG, print) as tracked:
        tracked.keep('report.html', 'none.json')
    import mlflow

    client = mlflow.MlflowClient()
    found, = client.search_runs([client.get_experiment_by_name('medjax').experiment_id])
    assert found.info.run_name == 'run7' and found.info.status == 'FAILED'  # the last one was not finished
    assert found.data.params == {'seed': '3', 'optim.name': 'adamw', 'optim.lr': '0.001', 'data.size': '(8, 8)'}
    history = client.get_metric_history(found.info.run_id, 'train/loss')
    assert sorted((entry.step, entry.value) for entry in history) == [(step, 1 / step) for step in range(1, 7)]
    assert [file.path for file in client.list_artifacts(found.info.run_id)] == ['report.html']


@pytest.mark.skipif(importlib.util.find_spec('wandb') is None, reason='wandb is not installed')
def test_wandb_offline_has_one_identifier_and_the_report(tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_MODE', 'offline')
    (tmp_path / 'report.html').write_text('a report')
    log(tmp_path, 0, [1, 2], ['wandb'])
    with trackers.opened(['wandb'], tmp_path, CONFIG, print) as tracked:
        tracked.keep('report.html')
        tracked.status = 'finished'
    parts = sorted((tmp_path / 'wandb').glob('offline-run-*'))
    known = json.loads((tmp_path / trackers.NAME).read_text())['wandb']
    assert len(parts) == 2 and all((part / f'run-{known}.wandb').stat().st_size for part in parts)
    assert (parts[1] / 'files' / 'report.html').read_text() == 'a report'
