"""Metrics of generated images by hand and against metrics.generative; collapse and copies; the chapter."""

import json

import numpy as np
import pytest

from medjax import atomic_files, restore
from medjax.errors import InputError
from medjax.metrics import generative
from medjax.report import run_files
from medjax.tasks.synthesis import summary
from medjax.tasks.synthesis.chapter import chapter
from tests.report.runs import write_table

CLASSES = ['well', 'ill']


def rows(fake=0.3, spread=1.0, network=False, count=40):
    """Real images about the origin, generated ones about `fake`; patients have two images each."""
    rng = np.random.default_rng(0)
    for split in ('val', 'test'):
        for kind in ('real', 'synthetic', 'train', 'blurred', 'noisy'):
            for number in range(count):
                label = number % 2
                centre, scale = (fake, spread) if kind == 'synthetic' else (0.5 * (kind == 'noisy'), 1.0)
                x = rng.normal(centre, scale, 4) + label
                named = {'real': f'{split}{number}', 'train': f'train{number}'}.get(kind, f'{kind}{number}')
                patient = f'p{split}{number // 2}' if kind == 'real' else named
                row = {'split': split, 'id': named, 'patient': patient, 'kind': kind, 'target': CLASSES[label]}
                if network:
                    row |= {'predicted': CLASSES[0 if kind == 'synthetic' and number % 4 == 1 else label], **{
                        f'network_{k:02d}': float(v) for k, v in enumerate(2 * x[:3])}}
                if kind in ('real', 'synthetic', 'train'):
                    row |= {'nearest': float(0.1 + 0.01 * number * (0.5 if kind == 'synthetic' else 1)),
                            'nearest_id': 'train3'}
                yield row | {f'pixels_{k:02d}': float(v) for k, v in enumerate(x)}


def features(table, kind, name='pixels', split='test'):
    return np.array([[value for key, value in row.items() if key.startswith(f'{name}_')] for row in table
                     if row['kind'] == kind and row['split'] == split])


def test_metrics_equal_the_module_generative_and_have_intervals():
    table = list(rows())
    found = summary.summarise(table, CLASSES)
    entries, real, fake = found['metrics']['test'], features(table, 'real'), features(table, 'synthetic')
    assert found['space'] == 'pixels' and 'fid_pixels' not in entries
    assert entries['fid']['value'] == pytest.approx(generative.fid(real, fake))
    assert entries['kid']['value'] == pytest.approx(generative.kid(real, fake))
    assert entries['kid_of_ill']['value'] == pytest.approx(generative.kid(real[1::2], fake[1::2]))
    precise, recalled = generative.precision_recall(real, fake)
    density, covered = generative.density_coverage(real, fake)
    for key, of in (('precision', precise), ('recall', recalled), ('density', density), ('coverage', covered)):
        assert entries[key]['value'] == pytest.approx(of.mean())
    for key, entry in entries.items():
        if key.startswith(('precision', 'recall', 'density', 'coverage')):
            assert entry['ci95'] is None and entry['why'] == 'fewer than 100 images: no confidence interval'
            continue
        low, high = entry['ci95']
        assert low <= entry['value'] <= high and low < high, key
    assert entries['fid']['n'] == 20 and entries['fid']['cases'] == entries['fid']['made'] == 40
    assert entries['precision']['n'] == 40 and entries['recall']['n'] == 20
    assert entries['fid_train']['value'] == pytest.approx(generative.fid(real, features(table, 'train')))
    assert entries['fid_noisy']['value'] > entries['fid_train']['value']


def test_metrics_of_neighbours_have_the_spread_of_random_halves():
    """Against new samples of both kinds of images, of which half of a sample is one with twice the variance."""
    table = list(rows(count=120))
    entries, rng, drawn = summary.summarise(table, CLASSES)['metrics']['test'], np.random.default_rng(1), []
    for _ in range(60):
        real, fake = (np.arange(120)[:, None] % 2 + rng.normal(centre, 1, (120, 4)) for centre in (0, 0.3))
        found = generative.image_distances(real, fake)
        drawn.append([part.mean() for part in (*found.precision_recall(), *found.density_coverage())])
    for key, error in zip(('precision', 'recall', 'density', 'coverage'), np.std(drawn, 0)):
        assert 0.8 * error < np.ptp(entries[key]['ci95']) / (2 * 1.96) < 2.5 * error, key
        assert entries[key]['method'] == 'random halves'


def test_nearest_and_copies_by_hand():
    table = list(rows())
    found = summary.summarise(table, CLASSES)
    far = 0.1 + 0.01 * np.arange(40)
    entries = found['metrics']['test']
    assert entries['nearest']['value'] == pytest.approx((0.1 + 0.005 * np.arange(40)).mean() / far.mean())
    assert found['threshold']['test'] == pytest.approx(np.quantile(far, 0.05))
    assert entries['copies']['value'] == pytest.approx((0.1 + 0.005 * np.arange(40) < np.quantile(far, 0.05)).mean())
    assert entries['copies_train']['value'] == pytest.approx(2 / 40) and 'copies_noisy' not in entries


def test_constant_or_copied_images_have_finite_metrics():
    table = [{**row, **dict.fromkeys(['pixels_00', 'pixels_01', 'pixels_02', 'pixels_03', 'nearest'], 0.0)}
             if row['kind'] == 'real' else {**row, 'nearest': 0.0} for row in rows()]
    entries = summary.summarise(table, CLASSES)['metrics']['test']
    assert np.isnan([entries['diversity']['value'], entries['nearest']['value']]).all()
    assert entries['diversity']['why'] == 'all real images are equal' and entries['copies']['value'] == 1


def test_mode_collapse_lowers_diversity():
    whole_, collapsed = (summary.summarise(list(rows(0.0, spread)), CLASSES)['metrics']['test']
                         for spread in (1.0, 0.01))
    assert whole_['diversity']['value'] == pytest.approx(1, abs=0.3)
    assert collapsed['diversity']['value'] < 0.6
    assert whole_['coverage']['value'] > collapsed['coverage']['value'] + 0.3
    assert whole_['recall']['value'] > collapsed['recall']['value'] + 0.3


def test_network_features_are_used_if_present():
    table = list(rows(network=True))
    found = summary.summarise(table, CLASSES)
    entries = found['metrics']['test']
    assert found['space'] == 'network'
    assert entries['fid']['value'] == pytest.approx(generative.fid(
        features(table, 'real', 'network'), features(table, 'synthetic', 'network')))
    assert entries['kid_pixels']['value'] == pytest.approx(generative.kid(
        features(table, 'real'), features(table, 'synthetic')))
    assert entries['label_kept']['value'] == 0.75 and entries['label_kept_real']['value'] == 1


def test_a_written_table_gives_the_same_metrics(tmp_path):
    table = list(rows(network=True))
    write_table(tmp_path / 'predictions.csv', table)
    (tmp_path / 'config.json').write_text('{}')
    again = run_files.read(tmp_path).predictions
    assert summary.summarise(again, CLASSES) == summary.summarise(table, CLASSES)


@pytest.mark.parametrize('change, message', [
    (lambda table: [row for row in table if row['kind'] != 'real'], r'split val: 0 real images; expected at least 2'),
    (lambda table: [{**row, 'pixels_01': ''} for row in table], r'image val0: a column pixels_… is empty'),
    (lambda table: [{k: v for k, v in row.items() if not k.startswith('pixels')} for row in table],
     r'no columns pixels_00'),
])
def test_invalid_input_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        summary.summarise(change(list(rows(count=6))), CLASSES)


def test_a_class_of_one_image_has_no_kid():
    table = [row for row in rows() if row['target'] == 'well' or row['id'].endswith('1')]
    some = [row for row in table if row['target'] == 'well' or row['id'].endswith('l1') or row['id'] == 'test1']
    entry = summary.summarise([row for row in some if row['split'] == 'test'], CLASSES)['metrics'][
        'test']['kid_of_ill']
    assert np.isnan(entry['value']) and entry['why'] == 'fewer than two images of the class'


def write(folder, network=False, size=(6, 6), steps=(5, 10)):
    table, rng = list(rows(network=network)), np.random.default_rng(0)
    write_table(folder / 'predictions.csv', table)
    found = summary.summarise(table, CLASSES)
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': {**found, 'features': 'the classifier of the run x, step 3' * network},
        'problem': 'synthesis', 'classes': CLASSES, 'step': 3, 'notice': '', 'conventions': summary.CONVENTIONS,
        'counts': {'train': 9, 'val': 40, 'test': 40}})
    (folder / 'config.json').write_text(json.dumps({
        'model': {'name': 'gan'}, 'data': {}, 'evaluate': {'name': 'synthesis'}}))

    def drawn(count):
        return rng.integers(0, 256, (count, *size, 1), np.uint8)
    kept = {f'{kind}_{k}': drawn(3) for kind in ('real', 'synthetic') for k in range(2)}
    for name in ('nearest', 'first'):
        kept |= {f'{name}_made': drawn(3), f'{name}_known': drawn(3), f'{name}_distance': np.array([0.1, 0.2, 0.3]),
                 f'{name}_id': np.array(['train3'] * 3)}
    (folder / 'cases' / 'test').mkdir(parents=True)
    np.savez(folder / 'cases' / 'test' / 'pictures.npz', **kept)
    (folder / 'course').mkdir()
    for step in steps:
        np.savez(folder / 'course' / f'{step:07d}.npz', sample=drawn(4), label=np.arange(4))


@pytest.mark.parametrize('network, size', [(False, (6, 6)), (True, (6, 5, 4))])
def test_the_chapter(tmp_path, network, size):
    write(tmp_path, network, size)
    made = chapter(run_files.read(tmp_path))
    (text, sure), = made.headlines
    assert text.startswith('FID ') and 'of 40 training images' in text
    assert ('the features of the classifier of the run x, step 3' if network else 'pixels') in sure
    assert [len(section.charts) for section in made.sections] == [4, 2, 2, 2]
    moving = made.sections[-1].charts[-1].light
    assert b'acTL' in moving and made.sections[-1].charts[0].caption == 'From top to bottom: steps 5, 10.'
    assert all(row['kind'] == 'synthetic' for row in made.cases) and len(made.cases) == 80
    assert not any(key.startswith(('pixels_', 'network_')) for row in made.cases for key in row)
    page = restore.write_report(tmp_path).read_text()
    assert 'KID of each class' in page and ('>By pixels<' in page) == network and 'Nearest training images' in page


def test_a_report_without_pictures_and_one_with_a_damaged_file(tmp_path):
    write(tmp_path)
    (tmp_path / 'cases' / 'test' / 'pictures.npz').unlink()
    assert [len(section.charts) for section in chapter(run_files.read(tmp_path)).sections][:2] == [0, 0]
    (tmp_path / 'course' / '0000005.npz').write_bytes(b'PK')
    with pytest.raises(InputError, match=r'0000005\.npz: not readable as pictures'):
        chapter(run_files.read(tmp_path))
