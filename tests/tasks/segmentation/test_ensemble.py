"""Ensembles of segmentations: averages by NumPy, components by SciPy, and what validation cases choose."""

import json
import pathlib
import types

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medjax import assemble, compare, restore, training
from medjax.core.task import Task
from medjax.data.datasets.volumes import dataset
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.errors import InputError
from medjax.tasks.segmentation.ensemble import ensemble
from medjax.tasks.segmentation.evaluator import evaluator
from tests import cli
from tests.conftest import without_reports

SHAPE, CLASSES = (8, 8, 2), ('background', 'organ', 'lesion')
SPLITS = {'a': 'val', 'b': 'val', 'c': 'train', 'd': 'test', 'e': 'test'}  # of fold 0; fold 1 validates c


def truth(name):
    """An organ of 3 × 3 pixels and a lesion of two parts."""
    label, at = np.zeros(SHAPE, np.uint8), ord(name) - ord('a')
    label[at % 4:at % 4 + 3, 1:4] = 1
    label[6, 5:7], label[0, 6] = 2, 2
    return label


def guess(path, name):
    """The probabilities that a run gives for a case: noise, and a false part of the organ far from it."""
    rng = np.random.default_rng([sum(map(ord, path[-2:])), ord(name)])
    probs = np.eye(3)[truth(name)] + rng.uniform(0, {'A': 2.2, 'B': 1.6, 'C': 1.9}[path[-2]], (*SHAPE, 3))
    probs[7, 0, :, 1] += 3
    return (probs / probs.sum(-1, keepdims=True)).astype(np.float32)


class Members:
    """Predictors that know the cases by the first voxel."""

    def __init__(self, made):
        self.evaluator = made

    def trained(self, path):
        return types.SimpleNamespace(probabilities=lambda of, image: guess(of, chr(int(image.array[0, 0, 0])))), path


@pytest.fixture
def given(tmp_path):
    """Three configurations in two folds, as folders with their splits, and the evaluator."""
    def read(name):
        image = np.random.default_rng(ord(name)).uniform(1, 9, SHAPE).astype(np.float32)
        image[0, 0, 0] = ord(name)
        return Image(image, np.eye(4), name), Image(truth(name), np.eye(4), name)

    runs, paths = [], []
    for configuration in 'ABC':
        for fold in range(2):
            path = tmp_path / f'{configuration}{fold}'
            path.mkdir()
            splits = SPLITS if fold == 0 else {**SPLITS, 'a': 'train', 'b': 'train', 'c': 'val'}
            (path / 'splits.json').write_text(json.dumps({'cases': {
                name: {'patient': name, 'split': split} for name, split in splits.items()}}))
            config = {'seed': fold, 'model': {'base': configuration}, 'data': {'folds': 2, 'fold': fold}}
            runs.append(types.SimpleNamespace(config=config, section=config.get))
            paths.append(str(path))
    cases = tuple(Case(id=name, patient=name, split=split, read=lambda name=name: read(name))
                  for name, split in SPLITS.items())
    data = dataset(Source(cases=cases, classes=CLASSES), patch=(8, 8, 1), crop=False, cache=str(tmp_path / 'cache'))
    return runs, paths, Members(evaluator(data=data, task=Task(None, None, None, None)))


def largest(label, number):
    """The labels with the largest component of one class only, by SciPy."""
    parts, _ = ndimage.label(label == number, np.ones((3, 3, 3)))
    keep = np.bincount(parts.ravel())[1:].argmax() + 1
    return np.where((label == number) & (parts != keep), 0, label)


def dice(label, name, number):
    a, b = label == number, truth(name) == number
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_validation_cases_choose(given, tmp_path):
    runs, paths, members = given
    found = ensemble(runs, paths, members, tmp_path / 'out', choose=True)
    by_group = {name: [path for path in paths if path[-2] == name] for name in 'ABC'}
    scores, components = {}, {}
    for groups in ('A', 'B', 'C', 'AB', 'AC', 'BC', 'ABC'):
        plain, kept = [], []
        for case, fold in (('a', 0), ('b', 0), ('c', 1)):  # each by the run that did not train with it
            label = np.mean([guess(by_group[group][fold], case) for group in groups], 0).argmax(-1)
            plain.append([dice(label, case, number) for number in (1, 2)])
            kept.append([dice(largest(label, number), case, number) for number in (1, 2)])
        scores[groups], components[groups] = np.mean(plain, 0), np.mean(kept, 0)
    best = max(scores, key=lambda groups: scores[groups].mean())
    assert found.chosen['runs'] == [path for group in best for path in by_group[group]]
    classes = [name for number, name in enumerate(CLASSES[1:]) if components[best][number] > scores[best][number]]
    assert found.chosen['largest_component'] == classes == ['organ']  # the lesion has two parts
    listed = {''.join(sorted({path[-2] for path in one['runs']})): one for one in found.chosen['candidates']}
    assert set(listed) == set(scores) and found.chosen['validation_cases'] == 3
    for groups, one in listed.items():
        np.testing.assert_allclose(list(one['dice'].values()), scores[groups], rtol=1e-6)
        np.testing.assert_allclose(list(one['dice_largest_component'].values()), components[groups], rtol=1e-6)
    rows = {row['id']: row for row in found.rows if row['split'] == 'test'}
    assert set(rows) == {'d', 'e'}
    for case, row in rows.items():  # by all folds of the choice
        label = largest(np.mean([guess(path, case) for path in found.chosen['runs']], 0).argmax(-1), 1)
        assert row['dice_organ'] == pytest.approx(dice(label, case, 1))
        assert row['dice_lesion'] == pytest.approx(dice(label, case, 2))


def test_test_cases_do_not_choose(given, tmp_path, monkeypatch):
    """Other test labels leave the choice as it is."""
    runs, paths, members = given
    before = ensemble(runs, paths, members, tmp_path / 'out', choose=True).chosen
    true = truth
    monkeypatch.setitem(globals(), 'truth', lambda name: true(name) if name < 'd' else np.roll(true(name), 3, 1))
    assert ensemble(runs, paths, members, tmp_path / 'out', choose=True).chosen == before


def test_runs_that_are_no_ensemble(given, tmp_path):
    runs, paths, members = given
    other = pathlib.Path(paths[1], 'splits.json')
    table = json.loads(other.read_text())
    table['cases']['d']['split'] = 'train'
    other.write_text(json.dumps(table))
    with pytest.raises(InputError, match='A1: 1 test cases are not those of .*A0; expected the same in all'):
        ensemble(runs, paths, members, tmp_path / 'out')
    with pytest.raises(InputError, match='--best: no validation case that each of 2 configurations predicts'):
        ensemble([runs[0], runs[3]], [paths[0], paths[3]], members, tmp_path / 'out', choose=True)


def config_of(root, fold, **data):
    """The config of a fold; `data` is added to its section."""
    return dict(
        seed=fold, steps=6, batch=8, model=dict(name='unet', variant='nnunet', dims=2, classes=2, base=4, levels=2),
        task=dict(name='segmentation', loss=dict(cross_entropy=1.0)), optim=dict(name='adamw', lr=1e-2),
        data=dict(name='volumes', patch=(16, 16, 1), crop=False, intensity=dict(name='none'), folds=2, fold=fold,
                  cache=str(root / 'cache'), source=dict(
                      name='segmentation_folder', dir=str(root / 'data'), classes=('background', 'square')), **data),
        evaluate=dict(name='segmentation', overlap=0.0), checkpoint=dict(keep=1))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Two folds of a tiny network on pictures of squares, with one window for a slice."""
    root = tmp_path_factory.mktemp('runs')
    rng = np.random.default_rng(0)
    for folder in ('images', 'labels'):
        (root / 'data' / folder).mkdir(parents=True)
    for number in range(8):
        label = np.zeros((16, 16, 2), np.uint8)
        label[3 + number % 4:9 + number % 4, 4:11] = 1
        image = (label * 2 + rng.normal(0, 1, label.shape)).astype(np.float32)
        for folder, array in (('images', image), ('labels', label)):
            image = nib.Nifti1Image(array, np.diag([2.0, 1.0, 3.0, 1.0]))
            nib.save(image, root / 'data' / folder / f'c{number}.nii.gz')
    paths = []
    for fold in range(2):
        config = config_of(root, fold)
        paths.append(root / f'fold{fold}')
        with without_reports():
            training.train_and_evaluate(config, paths[-1])
    return root, list(map(str, paths))


def test_an_ensemble_of_runs_is_evaluated_and_predicts(trained, tmp_path):
    root, paths = trained
    with without_reports():
        compare.ensemble(paths, tmp_path / 'both')
    rows = [row.split(',') for row in (tmp_path / 'both' / 'predictions.csv').read_text().splitlines()]
    place = rows[0].index('dice_square')
    cases = {row[1]: float(row[place]) for row in rows[1:]}
    runs = [restore.restore(pathlib.Path(path)) for path in paths]
    tested = next(iter(cases))
    for case, found in cases.items():
        image, label = (nib.load(root / 'data' / folder / f'{case}.nii.gz').get_fdata()
                        for folder in ('images', 'labels'))
        slices = jnp.asarray(np.moveaxis(image, 2, 0)[..., None], jnp.float32)
        probs = np.mean([run.task.predict(run.variables, {'image': slices})['probs'] for run in runs], 0)
        mean = np.moveaxis(probs.argmax(-1), 0, 2)
        assert found == pytest.approx(2 * (mean * label).sum() / (mean.sum() + label.sum()), abs=1e-6)
        if case == tested:
            expected = mean
    ended = cli.run('predict', f'--workdir={tmp_path}/both', f'--input={root}/data/images/{tested}.nii.gz',
                    f'--output={tmp_path}/out')
    assert ended.code == 0 and 'the mean of 2 runs' in ended.out, ended.err
    label = np.asarray(nib.load(tmp_path / 'out' / f'{tested}.nii.gz').dataobj)
    np.testing.assert_array_equal(label, expected)
    record = json.loads((tmp_path / 'both' / 'ensemble.json').read_text())
    record['largest_component'] = ['square']
    (tmp_path / 'both' / 'ensemble.json').write_text(json.dumps(record))
    with without_reports():
        ended = cli.run('evaluate', f'--workdir={tmp_path}/both')
        assert ended.code == 0, ended.err
        assert 'largest connected component was kept of: square' in json.loads(
            (tmp_path / 'both' / 'results.json').read_text())['notice']
    ended = cli.run('predict', f'--workdir={tmp_path}/both', f'--input={root}/data/images/{tested}.nii.gz',
                    f'--output={tmp_path}/out2')
    assert ended.code == 0, ended.err
    found = np.asarray(nib.load(tmp_path / 'out2' / f'{tested}.nii.gz').dataobj)
    np.testing.assert_array_equal(found, largest(expected, 1))


def test_what_an_ensemble_refuses(trained, tmp_path):
    root, paths = trained
    with without_reports():
        ended = cli.run('evaluate', '--best', f'--workdir={tmp_path}/best', *paths)
    assert ended.code == 0, ended.err
    ended = cli.run('predict', f'--workdir={tmp_path}/best', f'--input={root}/data/images/c0.nii.gz',
                    f'--output={tmp_path}/out', '--fill_holes')
    assert ended.code == 2 and 'whose post-processing is in its ensemble.json' in ended.err
    ended = cli.run('evaluate', f'--workdir={tmp_path}/best', '--split=test')
    assert ended.code == 2 and 'is an ensemble; expected neither' in ended.err
    record = json.loads((tmp_path / 'best' / 'ensemble.json').read_text())
    (tmp_path / 'best' / 'ensemble.json').write_text(json.dumps({**record, 'runs': ['../gone']}))
    with pytest.raises(InputError, match='gone: no run there; expected the folders of the runs'):
        restore.restore(tmp_path / 'best')


def test_a_cascade_trains_with_labels_of_other_runs_and_predicts_both_stages(trained, tmp_path):
    root, paths = trained
    with without_reports():
        compare.ensemble(paths, tmp_path / 'first', labels=True)
        config = config_of(root, 0, previous=str(tmp_path / 'first'))
        config['steps'], config['augment'] = 2, dict(name='flip', label_channels=1)
        training.train_and_evaluate(config, tmp_path / 'second')
    splits = [json.loads(pathlib.Path(path, 'splits.json').read_text())['cases'] for path in paths]
    runs = [restore.restore(pathlib.Path(path)) for path in paths]
    data = assemble.experiment(config).data
    for volume in data.prepared:
        case = volume.case.id
        image = nib.load(root / 'data' / 'images' / f'{case}.nii.gz').get_fdata()
        slices = jnp.asarray(np.moveaxis(image, 2, 0)[..., None], jnp.float32)
        chosen = [run for run, split in zip(runs, splits) if split[case]['split'] != 'train']
        assert len(chosen) == (2 if splits[0][case]['split'] == 'test' else 1)
        probs = np.mean([run.task.predict(run.variables, {'image': slices})['probs'] for run in chosen], 0)
        label = np.moveaxis(probs.argmax(-1), 0, 2)
        stored = nib.load(tmp_path / 'first' / 'labels' / f'{case}.nii.gz')
        np.testing.assert_array_equal(np.asarray(stored.dataobj), label)
        found = data.network_input(volume)
        np.testing.assert_array_equal(found[..., 1], label)
        np.testing.assert_allclose(found[..., 0], image, rtol=1e-6)
    second = restore.restore(tmp_path / 'second')
    case = next(name for name, row in splits[0].items() if row['split'] == 'test')
    path = root / 'data' / 'images' / f'{case}.nii.gz'
    slices = np.moveaxis(np.stack([nib.load(path).get_fdata(), np.asarray(nib.load(
        tmp_path / 'first' / 'labels' / f'{case}.nii.gz').dataobj)], -1), 2, 0)
    probs = second.task.predict(second.variables, {'image': jnp.asarray(slices, jnp.float32)})['probs']
    ended = cli.run('predict', f'--workdir={tmp_path}/second', f'--input={path}', f'--output={tmp_path}/out')
    assert ended.code == 0, ended.err
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / 'out' / f'{case}.nii.gz').dataobj),
                                  np.moveaxis(np.asarray(probs).argmax(-1), 0, 2))
