"""Snippets of the pages: their config keys are known, and they make experiments of such data."""

import re
import shutil
from unittest import mock

import jax
import ml_collections
import nibabel
import numpy as np
import pandas as pd
import pytest
from generator import keys
from PIL import Image

from medjax.run import Prediction, Run, load_config
from tests.conftest import ROOT
from tests.docs.pages import DOCS, OWN, PAGES, blocks, check_keys


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('*.py')), ids=lambda path: path.stem)
def test_the_keys_of_every_config_are_known(path):
    check_keys(load_config(path).to_dict())


@pytest.mark.parametrize('change, error', [
    (lambda c: c.data.update(sizes=3), 'sizes'), (lambda c: c.data.source.update(folder=''), 'folder'),
    (lambda c: c.evaluate.update(samplings=2), 'samplings'), (lambda c: c.checkpoint.update(best='dice'), 'dice'),
    (lambda c: c.task.update(weight=2), 'weight'), (lambda c: c.update(step=2), 'step')])
def test_an_unknown_key_is_found(change, error):
    config = ml_collections.ConfigDict(load_config(ROOT / 'configs' / 'classify_pneumonia_best.py').to_dict())
    change(config)
    with pytest.raises(AssertionError, match=error):
        check_keys(config.to_dict())


def snippets():
    """All snippets that change a config, each with the config that it changes.

    That is the last one that the page names before the first snippet after it; further snippets change it further.
    """
    found = []
    for path in PAGES:
        base, earlier, start = 'configs/segment_brain_unet2d.py', '', 0
        for code, before in blocks(path, 'python'):
            if code.startswith('c.'):
                named = [name for name in re.findall(r'configs/\w+\.py', before[start:]) if name not in OWN]
                base, earlier, start = named[-1] if named else base, '' if named else earlier, len(before)
                earlier += code
                found.append(pytest.param(earlier, base, id=f'{path.stem}-{len(found)}'))
    return found


@pytest.mark.parametrize('code, base', snippets())
def test_a_snippet_changes_the_config_before_it_with_known_keys(code, base, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / 'examples'))
    config = load_config(ROOT / base)
    exec(compile(code, base, 'exec'), {'c': config})
    check_keys(config.to_dict())


@pytest.mark.parametrize('path', [path for path in PAGES if any(
    code.startswith('import medjax') for code, _ in blocks(path, 'python'))], ids=lambda path: path.stem)
def test_python_snippets_use_the_interface_as_it_is(path, monkeypatch):
    """Snippets are executed; `train` checks its config, and runs answer as runs do."""
    import medjax

    def train(config, workdir):
        check_keys((load_config(ROOT / config) if isinstance(config, str) else config).to_dict())
        return finished

    finished = mock.create_autospec(Run, instance=True)
    finished.results = {'test': mock.MagicMock()}
    finished.predict.return_value = mock.create_autospec(Prediction, instance=True, arrays=mock.MagicMock(), table=None)
    monkeypatch.setattr(medjax, 'train', train, raising=False)
    monkeypatch.setattr(medjax, 'load', lambda workdir: finished, raising=False)
    monkeypatch.setattr(medjax, 'load_config', lambda name: load_config(ROOT / name), raising=False)
    for code, _ in blocks(path, 'python'):
        if code.startswith('import medjax'):
            exec(compile(code, str(path), 'exec'), {'volume': None})


# Data of the kind that a how-to page describes, so that its first snippet makes a complete experiment.

def write_tables(folder):
    """Tables of patients, visits, a trial and molecules."""
    rng, cohort, visits, trial, molecules = np.random.default_rng(0), [], [], [], []
    for number in range(40):
        sex, age, event, arm = 'fm'[number % 2], rng.integers(40, 80), int(number % 3 > 0), number % 3
        cohort.append((f'p{number}', rng.integers(10, 60), event, age, 'I' * (1 + number % 3), sex, 'A'))
        trial.append((f'p{number}', arm, age, rng.integers(200, 500), rng.integers(200, 500), sex))
        visits += [(f'p{number}', year, rng.uniform(0.5, 3), rng.uniform(3, 4), sex, 6 + number, event)
                   for year in range(3 + number % 4)]
        molecules.append((f'm{number}', f'C1{"C" * (2 + number)}1O', rng.normal()))
    for name, columns, rows in (('cohort', 'id,time,event,age,stage,sex,site', cohort),
                                ('visits', 'id,year,bilirubin,albumin,sex,end,dead', visits),
                                ('trial', 'id,arm,age,cd4,cd4_20w,sex', trial),
                                ('molecules', 'id,smiles,logs', molecules)):
        pd.DataFrame(rows, columns=columns.split(',')).to_csv(folder / f'{name}.csv', index=False)


def write_images(folder):
    """Pictures in a folder for each class, volumes with masks, and pairs of contrasts."""
    rng = np.random.default_rng(0)
    for number in range(10):
        for kind in ('normal', 'pneumonia', 'ill'):
            path = folder / 'chest' / kind / f'p{number}_{kind}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(path)
        volume = rng.normal(100, 10, (12, 12, 6)).astype(np.float32)
        mask = np.zeros(volume.shape, np.uint8)
        mask[4:8, 4:8, 2:4] = 1
        for kind, array in (('images', volume), ('labels', mask), ('input', volume), ('target', volume * 2)):
            path = folder / kind / f'p{number}.nii.gz'
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


@pytest.mark.parametrize('page, number, base, splits', [
    ('survival', 0, 'survive_metabric_deepsurv', (24, 8, 8)), ('visits', 1, 'forecast_framingham_sequence', (24, 8, 8)),
    ('visits', 0, 'survive_pbc_sequence', None), ('treatment', 0, 'treat_actg_tlearner', (20, 8, 12)),
    ('molecules', 0, 'regress_solubility_mpnn', None), ('images', 0, 'classify_folder_cnn', (12, 4, 4)),
    ('unlabelled_images', 0, 'anomaly_pneumonia_unet', None), ('volumes', 0, 'segment_tumour_unet3d', (6, 2, 2)),
    ('translation', 0, 'translate_brain_pix2pix', (6, 2, 2))])
def test_a_snippet_makes_an_experiment_of_such_data(page, number, base, splits, tmp_path, monkeypatch):
    if page == 'molecules':
        pytest.importorskip('rdkit')
    (tmp_path / 'mydata').mkdir()
    write_tables(tmp_path / 'mydata')
    write_images(tmp_path / 'mydata')
    (tmp_path / 'chest').symlink_to(tmp_path / 'mydata' / 'chest')
    if page == 'images':
        shutil.rmtree(tmp_path / 'chest' / 'ill')
    if page == 'unlabelled_images':
        shutil.rmtree(tmp_path / 'chest' / 'pneumonia')
    monkeypatch.chdir(tmp_path)
    config = load_config(ROOT / 'configs' / f'{base}.py')
    code = [code for code, _ in blocks(DOCS / 'howto' / f'{page}.md', 'python') if code.startswith('c.')][number]
    exec(compile(code, page, 'exec'), {'c': config})
    config.data.cache = str(tmp_path / 'cache')
    if page in ('survival', 'visits', 'treatment', 'molecules'):
        del config.data.cache
    config.epochs, config.steps, config.batch = 0, 2, 8
    config.mesh, config.init, config.optim.schedule = None, None, None
    experiment = keys.assemble.experiment(config)
    counts = dict(experiment.data.counts)
    assert splits is None or tuple(counts[name] for name in ('train', 'val', 'test')) == splits
    assert counts['train'] and set(experiment.batches[0]) >= {'id', 'mask'}
    assert jax.tree.leaves(experiment.abstract_state().params)  # the network takes such a batch
