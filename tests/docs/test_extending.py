"""The worked example of `docs/extending.md`: a family in one folder outside of the package, by the command line."""

import json
import re
import shutil
import sys

import numpy as np
import pytest

from tests import cli
from tests.conftest import ROOT

EXAMPLES = ROOT / 'docs' / 'examples'
FILES = ('family', 'source', 'dataset', 'task', 'table', 'evaluator', 'summary', 'chapter')


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    """A folder on the path with the example's package, its config, and a trained run."""
    folder = tmp_path_factory.mktemp('lab')
    shutil.copytree(EXAMPLES / 'mylab', folder / 'mylab', ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(EXAMPLES / 'landmarks_config.py', folder)
    done = process(folder, 'train', f'--config={folder}/landmarks_config.py:smoke', f'--workdir={folder}/run')
    assert done.code == 0, done.err
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in [name for name in sys.modules if name.split('.')[0] == 'mylab']:
        del sys.modules[name]


def process(folder, command, *arguments):
    """A command with the example's package on the path, in a process of its own and so on one device, as a user's."""
    return cli.process(command, *arguments, PYTHONPATH=f'{ROOT}:{folder}')


def test_training_evaluates_and_draws_a_report(lab):
    run = lab / 'run'
    results = json.loads((run / 'results.json').read_text())
    error = results['test']['error']
    assert error['n'] == 8 and len(error['ci95']) == 2 and 0 <= error['value'] < 23
    assert results['notice'].startswith('Simulated images') and results['conventions'].startswith('The error is')
    history = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    assert [line['step'] for line in history if 'val/error' in line] == [2]
    page = (run / 'report.html').read_text()
    assert 'Localisation error' in page and 'Simulated images' in page


def test_evaluating_again_gives_the_same_results(lab):
    before = json.loads((lab / 'run' / 'results.json').read_text())
    done = process(lab, 'evaluate', f'--workdir={lab}/run')
    assert done.code == 0 and 'test error' in done.out, done.err
    assert json.loads((lab / 'run' / 'results.json').read_text()) == before


def test_the_report_is_drawn_from_files_alone(lab):
    before = (lab / 'run' / 'report.html').read_text()
    (lab / 'run' / 'report.html').unlink()
    assert cli.run('report', f'--workdir={lab}/run').code == 0
    assert (lab / 'run' / 'report.html').read_text() == before


def test_a_new_image_is_predicted(lab, tmp_path):
    np.save(tmp_path / 'new.npy', np.zeros((16, 16), np.float32))
    np.save(tmp_path / 'large.npy', np.zeros((17, 16), np.float32))
    done = cli.run('predict', f'--workdir={lab}/run', f'--input={tmp_path}/new.npy', f'--output={tmp_path}/out')
    assert done.code == 0 and 'new.npy: row ' in done.out, done.err
    header, row = (tmp_path / 'out' / 'predictions.csv').read_text().splitlines()
    assert header == 'image,row,column' and row.startswith(f'{tmp_path}/new.npy,')
    done = cli.run('predict', f'--workdir={lab}/run', f'--input={tmp_path}/large.npy', f'--output={tmp_path}/out')
    assert done.code == 2 and 'expected (16, 16), as in training' in done.err


def test_new_images_are_found_in_a_folder_by_the_sources_suffixes(lab, tmp_path):
    (tmp_path / 'new').mkdir()
    for name in 'ab':
        np.save(tmp_path / 'new' / f'{name}.npy', np.zeros((16, 16), np.float32))
    (tmp_path / 'new' / 'notes.txt').touch()
    done = cli.run('predict', f'--workdir={lab}/run', f'--input={tmp_path}/new', f'--output={tmp_path}/out')
    assert done.code == 0 and 'Left out of new, no inputs: 1 (notes.txt).' in done.out, done.err
    rows = (tmp_path / 'out' / 'predictions.csv').read_text().splitlines()[1:]
    assert [row.split(',')[0] for row in rows] == [f'{tmp_path}/new/{name}.npy' for name in 'ab']


@pytest.mark.parametrize('command', ['merge', 'compare', 'ensemble'])
def test_several_runs_are_refused_in_one_line_with_the_reason(lab, tmp_path, command):
    if not (lab / 'other').exists():
        shutil.copytree(lab / 'run', lab / 'other')
    done = cli.run('evaluate', f'--{command}', f'--workdir={tmp_path}/all', f'{lab}/run', f'{lab}/other')
    assert done.code == 2 and len(done.err.splitlines()) == 1, done.err
    assert f'--{command}: runs of mylab.landmarks: evaluate each run by itself' in done.err
    assert not (tmp_path / 'all').exists()


def test_no_file_of_the_package_names_the_example():
    for path in (ROOT / 'medjax').rglob('*'):
        if path.suffix in ('.py', '.jinja', '.md'):
            assert not re.search('mylab|landmarks_config', path.read_text(encoding='utf-8')), path


def test_each_file_is_explained():
    page = (ROOT / 'docs' / 'extending.md').read_text()
    for name in FILES:
        assert f'--8<-- "docs/examples/mylab/landmarks/{name}.py"' in page
    found = {path.stem for path in (EXAMPLES / 'mylab' / 'landmarks').glob('*.py')} - {'__init__'}
    assert found == set(FILES)


def test_recordings_from_a_folder_are_a_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from medjax import build

    for number in range(5):
        np.savetxt(tmp_path / f'p{number}.csv', np.full((40, 2), float(number)), delimiter=',')
        np.savetxt(tmp_path / f'p{number}_beats.csv', [10, 30], fmt='%d')
    data = build.dataset(dict(name='signals', window=20, source=dict(name='mylab.recordings', dir=str(tmp_path),
                                                                     rate=100.0)))
    assert dict(data.counts) == {'train': 3, 'val': 1, 'test': 1}
    case = data.source.cases[3]
    recording = case.read()
    assert case.patient == 'p3' and recording.values.shape == (40, 2) and recording.values.max() == 3
    assert recording.beats.tolist() == [10, 30] and recording.rate == 100
