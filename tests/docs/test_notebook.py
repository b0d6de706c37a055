"""The notebook from a folder of NIfTI to overlays, cell by cell, with a few steps of training."""

import json
import pathlib

import matplotlib
import numpy as np
import pytest
from generator import notebooks
from PIL import Image

from tests.conftest import ROOT

PATH = ROOT / 'docs' / 'notebooks' / 'nifti_folder.py'
STEPS = 4


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
    """The folder in which the notebook ran, and its variables."""
    pytest.importorskip('nilearn')
    folder, variables = tmp_path_factory.mktemp('notebook'), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv('MEDJAX_NOTEBOOK_STEPS', str(STEPS))
        with matplotlib.rc_context({'backend': 'Agg'}):
            for number, cell in enumerate(notebooks.cells(PATH)):
                if cell.kind == 'code':
                    exec(compile(cell.text, f'cell {number}', 'exec'), variables)
    return folder, variables


def test_the_folder_has_pairs_and_the_split_is_by_name(ran):
    folder, _ = ran
    images, labels = (sorted(path.name for path in (folder / 'brains' / kind).iterdir())
                      for kind in ('images', 'labels'))
    assert images == labels and len(images) == 8
    splits = json.loads((folder / 'runs' / 'brains' / 'splits.json').read_text())['cases']
    assert [name for name, case in splits.items() if case['split'] == 'test'] == ['slab5', 'slab7']


def test_the_table_of_dice_is_that_of_the_results(ran):
    folder, variables = ran
    results = json.loads((folder / 'runs' / 'brains' / 'results.json').read_text())
    table = variables['dice']
    assert list(table.index) == ['csf', 'grey', 'white'] and list(table.columns) == ['value', 'ci95', 'n']
    for name in table.index:
        entry = results['test'][f'dice_{name}']
        assert table.loc[name, 'value'] == entry['value'] and 0 <= entry['value'] <= 1
        assert table.loc[name, 'n'] == entry['n'] == 2 and table.loc[name, 'ci95'] == entry['ci95']
    cases = variables['cases']
    for name in table.index:
        test = cases[cases['split'] == 'test'][f'dice_{name}']
        assert test.mean() == pytest.approx(results['test'][f'dice_{name}']['value'])


def test_a_new_image_is_labelled_on_its_own_grid(ran):
    _, variables = ran
    assert variables['labels'].shape == variables['image'].shape == (98, 233, 13)
    assert set(np.unique(variables['labels'])) <= {0, 1, 2, 3} and 'unknown' in variables['prediction'].messages[-1]
    assert not variables['prediction'].arrays['unknown'][variables['image'] == 0].all()


def test_the_overlay_shows_the_image_and_the_tissues(ran):
    folder, _ = ran
    picture = np.asarray(Image.open(folder / 'overlays.png').convert('RGB')).astype(int)
    assert picture.shape == (440, 990, 3)
    coloured = picture.max(2) - picture.min(2) > 40
    assert not coloured[:, :330].any() and coloured[:, 660:].mean() > 0.1


def test_the_report_is_drawn(ran):
    folder, variables = ran
    assert variables['run'].report() == folder / 'runs' / 'brains' / 'report.html'
    assert pathlib.Path(folder / 'runs' / 'brains' / 'report.html').stat().st_size > 10**5


def test_cells_begin_at_their_marks(tmp_path):
    path = tmp_path / 'n.py'
    path.write_text('# ---\n# jupyter: {}\n# ---\n\n# %% [markdown]\n# # Title\n#\n# Text\n\n# %%\nx = 1  # one\n')
    assert notebooks.cells(path) == [('markdown', '# Title\n\nText'), ('code', 'x = 1  # one')]
    assert notebooks.page(path) == '# Title\n\nText\n\n```python\nx = 1  # one\n```\n'
