"""A search over settings: its trials are a stub, whose validation metric is a function of the learning rate."""

import json
import pathlib
import sys

import pytest

from medjax import atomic_files
from medjax.errors import InputError
from medjax.sweep import command, pool, spaces
from tests.conftest import ROOT
from tests.tasks.survival import survivals

pytest.importorskip('optuna')
PYTHON, CONFIG = sys.executable, f'{ROOT}/configs/survive_gbsg_deepsurv.py:smoke'
STUB = """#!{python}
import json, math, pathlib, shutil, signal, sys, time
top = pathlib.Path({top!r})
with (top / 'called').open('a') as file:
    file.write(' '.join(sys.argv[1:]) + chr(10))
given = dict(a[2:].split('=', 1) for a in sys.argv if a.startswith('--') and '=' in a)
run, lr = pathlib.Path(given['workdir']), float(given['config.optim.lr'])
number = int(run.parent.name)
value = 1 - abs(math.log10(lr) + 3) / 4
if '--noevaluate' not in sys.argv:
    shutil.copytree(top / 'made', run, dirs_exist_ok=True)
    sys.exit()
if number in {stopped} and not (top / 'stopped').exists():
    (top / 'stopped').touch()
    sys.exit(75)
with (run / 'metrics.jsonl').open('w') as file:
    for step in (1, 2):
        print(json.dumps({{'step': step, 'val/c_index': value if number not in {bad} else 0.1 * step}}), file=file)
        file.flush()
        if number in {bad}:  # a long training
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
            time.sleep(60)
"""


@pytest.fixture
def searching(tmp_path, monkeypatch):
    """A function that searches, with some trials that are stopped, or that are bad and long."""
    made = survivals.make(tmp_path / 'made', seed=0, error=0.2, count=40)
    (made / 'report.html').touch()
    monkeypatch.setattr(pool.Pool, 'stop_at_signals', lambda _: None)
    monkeypatch.setattr(pool.sys, 'executable', str(tmp_path / 'python'))

    def start(*more, stopped=(), bad=()):
        stub = tmp_path / 'python'
        stub.write_text(STUB.format(python=PYTHON, top=str(tmp_path), stopped=stopped, bad=bad))
        stub.chmod(0o755)
        return command.main([f'--config={CONFIG}', f'--workdir={tmp_path}/out', '--search=optim.lr=log(1e-5,1e-1)',
                             *more], '')

    return start


def called(folder):
    return [line.split() for line in (folder / 'called').read_text().splitlines()]


def test_a_search_resumes_and_only_the_chosen_setting_is_tested(searching, tmp_path, capsys):
    assert searching('--trials=4', stopped=(2,)) == 75
    assert 'rerun the same command to resume' in capsys.readouterr().out
    assert searching('--trials=4') == 0
    history, _ = atomic_files.read_table(tmp_path / 'out' / 'search.csv')
    assert [row['number'] for row in history] == list('0123') and {row['state'] for row in history} == {'complete'}
    best = max(history, key=lambda row: float(row['value']))
    assert [row['chosen'] for row in history] == [str(row is best) for row in history]
    # Trial 2 was trained twice, with the same learning rate; no other trial than the chosen one was evaluated.
    trained = [line for line in called(tmp_path) if '--noevaluate' in line]
    assert [line[-1].split('/')[-2] for line in trained] == ['0000', '0001', '0002', '0002', '0003']
    assert trained[2] == trained[3] and len({row['optim.lr'] for row in history}) == 4
    folder = tmp_path / 'out' / 'trials' / f'{int(best["number"]):04d}' / 'seed0'
    assert [line[-1] for line in called(tmp_path) if '--noevaluate' not in line] == [f'--workdir={folder}']
    results = json.loads((folder / 'results.json').read_text())
    assert results['search']['tried'] == 4 and results['search']['chosen']['trial'] == int(best['number'])
    assert results['search']['chosen']['value'] == pytest.approx(float(best['value']))
    text = 'This setting was chosen among 4 that were tried, by c_index on validation cases.'
    assert results['notice'].startswith(text)
    page = (folder / 'report.html').read_text()
    assert 'Search over settings' in page and text in page and f'{best["number"]} (chosen)' in page
    assert (tmp_path / 'out' / 'search.png').read_bytes().startswith(b'\x89PNG')
    with pytest.raises(InputError, match='--search: .*; choose another --workdir'):
        searching('--search=optim.weight_decay=0,1')


def test_bad_trials_are_pruned(searching, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('medjax.sweep.search.restore.write_report', lambda _: None)
    assert searching('--trials=6', bad=(5,)) == 0
    history, _ = atomic_files.read_table(tmp_path / 'out' / 'search.csv')
    assert [row['state'] for row in history] == 5 * ['complete'] + ['pruned'] and history[5]['value'] == '0.1'
    assert 'trial 5: pruned at c_index 0.1' in capsys.readouterr().out
    assert json.loads(next((tmp_path / 'out' / 'trials').glob('*/seed0/results.json')).read_text())['search'][
        'pruned'] == 1


def test_a_trial_is_the_mean_over_validation_folds_with_the_same_test_patients(searching, tmp_path, monkeypatch):
    merged = []

    def merge(paths, out):
        merged.append([pathlib.Path(path).name for path in paths])
        (out.mkdir(), (out / 'results.json').write_text('{}'))

    monkeypatch.setattr('medjax.sweep.search.compare.merge', merge)
    monkeypatch.setattr('medjax.sweep.search.restore.write_report', lambda _: None)
    assert searching('--trials=1', '--folds=3') == 0
    splits = [[word for word in line if 'fold' in word and 'workdir' not in word] for line in called(tmp_path)]
    assert splits == 2 * [['--config.data.folds=3', f'--config.data.fold={fold}'] for fold in range(3)]
    assert merged == [['fold0_seed0', 'fold1_seed0', 'fold2_seed0']]
    notice = json.loads((tmp_path / 'out' / 'chosen' / 'results.json').read_text())['notice']
    assert 'by c_index on validation cases, the mean over 3 validation folds' in notice


@pytest.mark.parametrize('searched', ['optim.lr', 'optim.lr=1', 'optim.lr=log(1,1)', 'optim.lr=log(0,1)', '=1,2',
                                      'optim.lr=int(1,x)', 'optim.lr=1,1', 'optim.lr=uniform(2,1)'])
def test_a_search_of_another_form_is_refused(searched):
    with pytest.raises(InputError, match='expected KEY=log'):
        spaces.read([searched])


@pytest.mark.parametrize('more, message', [
    ('--search=optim.lrr=1,2', 'config.optim.lrr: unknown key'), ('--search=optim.clip=int(-3,2)', 'config.optim.clip'),
    ('--metric=dice', "metric 'dice'"), ('--config.evaluate.every=0', 'config.evaluate.every: 0'),
    ('--grid=seed=1,2', 'without --grid'), ('--trials=0', '--trials=0')])
def test_what_a_search_cannot_do_is_refused_before_the_first_trial(searching, tmp_path, more, message):
    with pytest.raises(InputError, match=message):
        searching(more)
    assert not (tmp_path / 'called').exists()


def test_values_are_arguments():
    found = spaces.read(['optim.lr=log(1e-4,1e-2)', 'model.base=16,32', 'data.patch=(8,8),(16,16)', 'batch=int(2,4)'])
    assert spaces.ends(found) == [
        ['--config.optim.lr=0.0001', '--config.model.base=16', '--config.data.patch=(8,8)', '--config.batch=2'],
        ['--config.optim.lr=0.01', '--config.model.base=32', '--config.data.patch=(16,16)', '--config.batch=4']]
