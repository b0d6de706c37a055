"""A detection's table summed up: COCO's library, intervals, operating point, sizes, empty cases; and its report."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.metrics import box_matching
from medjax.metrics import detection as figures
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.tasks.detection import chapter, charts, coco_ap, summary
from medjax.tasks.detection import pictures as detection_pictures
from medjax.tasks.detection import split as detection_split
from medjax.tasks.detection import table as detection_table
from tests.report.runs import write_table
from tests.report.test_page import Page
from tests.tasks.detection import detections
from tests.tasks.detection.detections import written

LEAST = figures.iou_thresholds(2)


def row(number, truth=(), found=(), split='test', patient='', classes='ab', size=(200, 300), **more):
    """Objects `(class, box)` and found ones `(class, score, box)`."""
    lists = [[classes.index(name) for name, *_ in some] for some in (truth, found)]
    return {'split': split, 'id': f'{split}{number}', 'patient': patient, 'size': json.dumps(size),
            'truth': written(classes, lists[0], [box for _, box in truth]),
            'found': written(classes, lists[1], [box for *_, box in found], [score for _, score, _ in found]), **more}


def square(place, side=10, dims=2):
    return [place] * dims + [place + side] * dims


def drawn(seed, dims=2, count=12, whole=False):
    """Images of made-up scenes; with `whole` in coarse boxes and scores, of which many are equal."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        truth, labels, found, found_labels, scores = detections.scene(rng, dims)
        step = 8 if whole else 0.01
        made.append(box_matching.ImageBoxes(np.rint(truth / step) * step, labels, np.rint(found / step) * step, found_labels,
                              scores.round(1 if whole else 6)))
    return made


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('whole', [False, True])
def test_average_precision_is_the_librarys(seed, whole):
    images = drawn(seed, whole=whole)
    precision, recall = coco_ap.average_precision(images, 4, LEAST)  # there is no fourth class
    for label, of in enumerate(box_matching.match_classes(images, 4, LEAST)):
        mine = figures.average_precision(of, np.ones((1, len(images))))
        np.testing.assert_allclose(mine[0][0], precision[:, label], atol=1e-9, rtol=0)
        np.testing.assert_allclose(mine[1][0], recall[:, label], atol=1e-9, rtol=0)
    assert np.isnan(precision[:, 3]).all() and 0 < precision[0, 0] < 1


def test_average_precision_of_a_resample_is_the_librarys_of_the_images_drawn():
    images, weights = drawn(3), np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), 5)
    for weight in weights:
        precision, recall = coco_ap.average_precision(
            [one for one, times in zip(images, weight) for _ in range(times)], 3, LEAST)
        for label, of in enumerate(box_matching.match_classes(images, 3, LEAST)):
            mine = figures.average_precision(of, weight[None])
            np.testing.assert_allclose(mine[0][0], precision[:, label], atol=1e-9, rtol=0)
            np.testing.assert_allclose(mine[1][0], recall[:, label], atol=1e-9, rtol=0)


@pytest.mark.parametrize('images', [[], [box_matching.ImageBoxes(*[np.zeros((0, 4)), np.zeros(0, int)] * 2, np.zeros(0))]])
def test_the_library_finds_nothing_in_nothing(images):
    assert np.isnan(coco_ap.average_precision(images, 2, LEAST)).all()


ROWS = [
    row(0, [('a', square(0)), ('b', square(50))], [('a', 0.9, square(0)), ('b', 0.6, square(0))], 'val'),
    row(1, [('a', square(0))], [('a', 0.6, square(0)), ('a', 0.3, square(90))], 'val'),
    row(0, [('a', square(0)), ('a', square(100, 40))], [('a', 0.95, square(0)), ('b', 0.6, square(100, 40))]),
    row(1, [('b', square(0, 120))], [('b', 0.7, square(0, 120)), ('a', 0.59, square(0))]),
    row(2)]


def test_the_operating_point_and_what_is_counted_at_it_by_hand():
    """F1 on validation is 2·1/4 at .9, and at .6, where a hit and a false positive come at once, 2·2/6."""
    rows = summary.counted(ROWS, 'ab')
    counted = [[row[name] for name in ('objects', 'found_operating', 'hits', 'false_positives')] for row in rows]
    assert counted == [[2, 2, 1, 1], [1, 1, 1, 0], [2, 2, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert all(new.items() >= old.items() for new, old in zip(rows, ROWS))
    found = summary.summarise(rows, 'ab')
    assert found['operating'] == {'score': 0.6, 'rule': 'largest F1', 'split': 'val'}
    got = {name: entry['value'] for name, entry in found['metrics']['test'].items()}
    want = {'sensitivity': 2 / 3, 'precision': 2 / 3, 'f1': 2 / 3, 'false_positives': 1 / 3, 'sensitivity_small': 1,
            'sensitivity_medium': 0, 'sensitivity_large': 1}
    assert {name: got[name] for name in want} == pytest.approx(want)
    assert found['counts']['test'] == {
        'a': {'objects': 2, 'found_operating': 1, 'hits': 1, 'false_positives': 0, 'missed': 1},
        'b': {'objects': 1, 'found_operating': 2, 'hits': 1, 'false_positives': 1, 'missed': 0}}
    assert found['sizes'] == {'limits': {'val': [1024, 9216], 'test': [1024, 9216]}, 'unit': 'pixels'}
    assert {name: found['metrics']['test'][name]['objects'] for name in (
        'ap50', 'ap_a', 'ap50_b', 'cpm', 'sensitivity_small')} == {
        'ap50': 3, 'ap_a': 2, 'ap50_b': 1, 'cpm': 3, 'sensitivity_small': 1}
    assert json.dumps(json.loads(json.dumps(found))) == json.dumps(found)  # plain numbers


def test_without_validation_the_operating_point_is_a_half():
    at = summary.summarise([one for one in ROWS if one['split'] == 'test'], 'ab')['operating']
    assert at == {'score': 0.5, 'rule': 'no validation case with a hit', 'split': None}
    assert summary.summarise([*ROWS[2:], row(0, [('a', square(0))], split='val')], 'ab')['operating'] == at


def test_sizes_of_volumes_are_thirds_by_mm():
    sides = [(2, 2, 2), (3, 3, 2), (2, 2, 8), (4, 4, 4), (5, 5, 5), (6, 6, 6)]
    boxes_of = [('a', [0, 20 * k, 0, side[0], 20 * k + side[1], side[2]]) for k, side in enumerate(sides)]
    rows = [row(0, boxes_of, [('a', 0.9, box) for _, box in boxes_of[:5]], size=(50, 200, 40),
                spacing='[1, 1, 0.5]')]
    found = summary.summarise(rows, 'ab')
    volumes = [np.prod(side) / 2 for side in sides]
    assert found['sizes'] == {'unit': 'mm³', 'limits': {'test': np.quantile(volumes, [1 / 3, 2 / 3]).tolist()}}
    entries = found['metrics']['test']
    assert [entries[f'sensitivity_{size}']['value'] for size in summary.SIZES] == [1, 1, 0.5]
    assert [entries[f'sensitivity_{size}']['objects'] for size in summary.SIZES] == [2, 2, 2]
    assert {'ap10', 'ap20', 'ap30', 'ap40', 'ap50', 'ap10_a'} <= set(entries) and 'ap50_a' in entries


def test_intervals_draw_whole_patients():
    """Each patient's second image is empty of findings: drawn by images the sensitivity would vary, so it does not."""
    truth = [('a', square(0))]
    rows = [row(2 * k + half, truth, [('a', 0.9, square(0))] * (1 - half), patient=f'p{k}') for k in range(6)
            for half in (0, 1)]
    entries = summary.summarise(rows, 'ab')['metrics']['test']
    assert entries['sensitivity']['ci95'] == [0.5, 0.5] and entries['ap50']['ci95'][0] == entries['ap50']['value']
    assert entries['ap50']['n'] == 6 and entries['ap50']['cases'] == 12 and entries['ap50']['resamples'] == 200
    alone = summary.summarise([{**one, 'patient': ''} for one in rows], 'ab')['metrics']['test']
    assert alone['sensitivity']['n'] == 12 and alone['sensitivity']['ci95'][0] < 0.5 < alone['sensitivity']['ci95'][1]
    again = summary.summarise(rows, 'ab')['metrics']['test']
    assert json.dumps(again) == json.dumps(entries)


def test_figures_are_the_same_for_text_from_a_file_and_for_shuffled_classes():
    rows = [{key: str(value) for key, value in one.items()} for one in ROWS]
    first, second = (summary.summarise(rows, names)['metrics']['test'] for names in ('ab', 'ba'))
    assert {name: entry['value'] for name, entry in first.items()} == pytest.approx(
        {name: entry['value'] for name, entry in second.items()}, nan_ok=True)


@pytest.mark.parametrize('rows, want, why', [
    ([row(0), row(1)], dict(ap50=None, ap=None, ap_a=None, ar=None, cpm=None, sensitivity=None, precision=None, f1=None,
                            false_positives=0), {'ap': 'no object', 'precision': 'nothing found',
                                                 'ap_a': 'no object of a'}),
    ([row(0, found=[('a', 0.9, square(0))]), row(1)], dict(ap50=None, cpm=None, sensitivity=None, precision=0, f1=0,
                                                           false_positives=0.5), {'sensitivity': 'no object'}),
    ([row(0, [('a', square(0))]), row(1)], dict(ap50=0, ap_a=0, ap_b=None, ar=0, cpm=0, sensitivity=0, precision=None,
                                                f1=0, false_positives=0), {'ap_b': 'no object of b'}),
    ([row(0, [('a', square(0))], [('a', 0.9, square(0)), ('b', 0.8, square(0))]), row(1)],
     dict(ap50=1, ap_a=1, ap_b=None, cpm=1, sensitivity=1, precision=0.5, false_positives=0.5), {})])
@pytest.mark.parametrize('dims', [2, 3])
def test_empty_cases(rows, want, why, dims):
    if dims == 3:
        def deep(cell, first):
            return json.dumps([[*one[:first], *one[first:first + 2], 0, *one[first + 2:], 10]
                               for one in json.loads(cell)])
        rows = [{**one, 'size': '[200, 300, 20]', 'spacing': '[1, 1, 1]', 'truth': deep(one['truth'], 1),
                 'found': deep(one['found'], 2)} for one in rows]
    entries = summary.summarise(rows, 'ab')['metrics']['test']
    got = {name: entries[name]['value'] for name in want}
    assert got == pytest.approx({name: np.nan if value is None else value for name, value in want.items()}, nan_ok=True)
    assert {name: entries[name]['why'] for name in why} == why


def test_what_a_split_lacks_is_told():
    assert summary.summarise(ROWS[2:4] + [row(0, [('a', square(0))], split='val')], 'ab')['warnings'] == [
        'b: no object in the split val: no AP.']


@pytest.mark.parametrize('change, message', [
    ({'truth': ''}, r'case test0: truth: ; expected \[\[class, 4 corners\], …\], as JSON'),
    ({'found': '[["a", 0.5, 1, 2]]'}, r'found: .*; expected \[\[class, score, 4 corners\], …\], with the classes a, b'),
    ({'truth': '[["c", 1, 2, 3, 4]]'}, r'truth: \[\["c", 1, 2, 3, 4\]\]; expected .* with the classes a, b'),
    ({'size': '[3]'}, r'size: \[3\]; expected two extents or three'), ({'size': None}, 'size: None; expected'),
    ({'size': '[9, 9, 9]', 'truth': '[]', 'found': '[]'}, 'spacing: None; expected mm for each axis')])
def test_rows_that_are_none(change, message):
    with pytest.raises(InputError, match=message):
        detection_table.read([{**row(0), **change}], 'ab')
    with pytest.raises(InputError, match='two extents or three, the same for all'):
        detection_table.read([row(0), row(1, size=(4, 4, 4), spacing='[1, 1, 1]')], 'ab')
    with pytest.raises(InputError, match='no case'):
        summary.summarise([], 'ab')


@pytest.fixture(scope='session')
def flat(tmp_path_factory):
    """Pictures, drawn."""
    folder = detections.make(tmp_path_factory.mktemp('detections') / 'flat', 2, count=20)
    report_page.write(folder)
    return folder


@pytest.fixture(scope='session')
def deep(tmp_path_factory):
    """Volumes, not drawn."""
    return detections.make(tmp_path_factory.mktemp('detections') / 'deep', 3, count=12)


def shown(folder, split='test'):
    return detection_split.detect(run_files.read(folder), split)


def told(entry):
    return f'{entry["value"]:.3f} ({entry["ci95"][0]:.3f}–{entry["ci95"][1]:.3f})'


def test_the_page_has_its_sections_and_needs_nothing_else(flat):
    source = (flat / 'report.html').read_text()
    page = Page(source)
    assert page.open == [] and page.headings == [
        'Results', 'What it finds, and at which cost', 'Images', 'All cases', 'Training history', 'Conventions',
        'How to reproduce']
    assert summary.CONVENTIONS in page.text and detections.NOTICE in page.text and 'Dice' not in page.text
    bare = re.sub(r'data:image/png;base64,[A-Za-z0-9+/=]+', 'data:', source)
    assert not re.search(r'https?:|@import|url\(|<script|<link|<iframe', bare)
    pictures = [attrs.get('alt', '') for tag, attrs in page.tags if tag == 'img']
    assert all(pictures) and sum(': errors' in alt for alt in pictures) == 6
    cells = {cells[0]: cells[1:] for cells in page.rows[::-1] if cells}
    test = json.loads((flat / 'results.json').read_text())['test']
    assert cells['Average recall\N{NO-BREAK SPACE}↑'][0].startswith(f'{test["ar"]["value"]:.3f}')
    assert cells['objects'] == [str(test[f'ap_{name}']['objects']) for name in detections.KINDS[2]]
    assert cells['⅛'][0].startswith(f'{test["froc_0.125"]["value"]:.3f}')
    assert '[[' not in source  # boxes stay in predictions.csv


def test_the_headline(flat, deep):
    test = json.loads((flat / 'results.json').read_text())['test']
    text, sure = chapter.headline(shown(flat))
    assert text == (f'Mean AP50 {told(test["ap50"])}, AP {told(test["ap"])} on the test images; CPM '
                    f'{told(test["cpm"])}.')
    assert f'n = 16 patients, 20 images, {test["ap"]["objects"]} objects. At a score of 0.' in sure
    assert (f'chosen on the validation images by the largest F1: sensitivity {told(test["sensitivity"])}, precision '
            f'{told(test["precision"])}, {told(test["false_positives"])} false positives an image.') in sure
    assert chapter.headline(shown(deep))[0].startswith('AP10 0.')


def test_tables_of_counts_and_sizes_add_up(flat, deep):
    for folder in (flat, deep):
        of = shown(folder)
        table = chapter.counts_table(of)
        rows = {name: [cell.text for cell in cells] for name, _, cells in table.rows}
        objects, hit, missed, false = (sum(int(row[name]) for row in of.rows) for name in (
            'objects', 'hits', 'objects', 'false_positives'))
        assert rows.get('all', rows.get('nodule'))[:4] == [str(objects), str(hit), str(missed - hit), str(false)]
        sizes = chapter.sizes_table(of).rows
        assert sum(int(cells[0].text) for _, _, cells in sizes) == objects
    assert sizes[0][0].endswith('mm³') and len(rows) == 1


def test_images_that_are_drawn_are_the_best_the_median_and_the_worst(flat, monkeypatch):
    of = shown(flat)
    monkeypatch.setattr(detection_pictures, 'tiles', lambda *case: [])  # what they show the page has
    chosen = detection_pictures.choose(of)
    assert [kind for kind, *_ in chosen] == ['best'] * 2 + ['median'] * 2 + ['worst'] * 2
    quality = [figures.image_average_precision(of.table.images[number], 3, 2) for _, number, _ in chosen]
    every = [figures.image_average_precision(seen, 3, 2) for seen in of.table.images if len(seen.true_boxes)]
    assert quality[0] == max(every) and quality[4] == min(every)
    assert len({number for _, number, _ in chosen}) == 6
    groups = detection_pictures.pictures(of).groups
    assert [group.heading.split(':')[0] for group in groups] == ['Best'] * 2 + ['Median'] * 2 + ['Worst'] * 2
    kind, number, case = chosen[-1]
    row = of.rows[number]
    assert (f'hits {row["hits"]}, false positives {row["false_positives"]}, missed '
            f'{int(row["objects"]) - int(row["hits"])}. AP of this image {quality[-1]:.3f}.') in groups[-1].text


def test_hits_of_a_snapshot_by_hand():
    seen = box_matching.ImageBoxes(np.array([square(0), square(50), square(100)], float), np.array([0, 1, 0]),
                     np.array([square(50), square(0), square(1)], float), np.array([1, 0, 0]),
                     np.array([0.9, 0.5, 0.8]))
    met, hit = detection_pictures.right(seen)
    assert met.tolist() == [True, True, False] and hit.tolist() == [True, False, True]  # the surer one of two
    assert [len(part) for part in detection_pictures.sure_of(seen, 0.8)] == [3, 3, 2, 2, 2]


def test_planes_of_a_volume_cut_the_most_boxes_and_are_turned_as_radiologists_read_them(deep):
    def case(truth):
        seen = box_matching.ImageBoxes(np.array(truth, float).reshape(-1, 6), np.zeros(len(truth), int), np.zeros((0, 6)),
                         np.zeros(0, int), np.zeros(0))
        return detection_pictures.Snapshot('x', np.zeros((30, 20, 12, 1), np.float32), seen, (1, 1, 2), (0, 1)), seen
    assert detection_pictures.cuts(*case([[0, 0, 1, 4, 4, 5], [9, 9, 2, 12, 12, 4], [9, 9, 8, 12, 12, 11]])) == [3, 9]
    assert detection_pictures.cuts(*case([])) == [6]
    # x from 2 to 5 of 30 is column 25 to 28, y from 15 to 20 of 20 row 0 to 5.
    turned = detection_pictures._turned(np.array([[2, 15, 3, 5, 20, 4.0]]), (30, 20, 12))
    assert turned.tolist() == [[0, 25, 5, 28]]
    _, number, snapshot = detection_pictures.choose(shown(deep))[0]
    tiles = detection_pictures.tiles(snapshot, snapshot.seen, 3)
    assert len(tiles) == 4 and tiles[1].alt == f'Axial slice 4 of case {snapshot.name}: truth'


def test_a_damaged_snapshot_and_a_damaged_table_are_named(tmp_path, deep):
    path = tmp_path / 'a.npz'
    path.write_bytes(b'no')
    with pytest.raises(InputError, match='a.npz: not readable as a snapshot'):
        detection_pictures.load(path)
    np.savez(path, image=np.zeros((4, 4, 1)), truth=np.zeros((1, 6)), truth_labels=[0], found=np.zeros((0, 4)),
             found_labels=[], scores=[], spacing=[1, 1])
    with pytest.raises(InputError, match=r'a.npz: image \(4, 4, 1\), boxes \(1, 6\) and \(0, 4\)'):
        detection_pictures.load(path)
    run = run_files.read(deep)
    run.predictions[-1]['found'] = '[[1'
    with pytest.raises(InputError, match=r'predictions.csv: predictions, case test011: found: \[\[1;'):
        detection_split.detect(run, 'test')


def test_scores_are_mended_by_validation_boxes_and_judged_on_others():
    """Of boxes with a score of .9 every second one is a hit, of those with .3 one in ten: the network is too sure."""
    def some(split, count):
        rows = []
        for number in range(count):
            truth, found = [], []
            for score, place, every in ((0.9, 0, 2), (0.3, 40, 10)):
                found.append(('a', score, square(place)))
                if number % every == 0:
                    truth.append(('a', square(place)))
            rows.append(row(number, truth, found, split))
        return rows
    known = summary.summarise(some('val', 60) + some('test', 40), 'ab', resamples=2)['calibration']
    for split in ('val', 'test'):
        assert known[split]['error'] == pytest.approx((0.4 + 0.2) / 2)
        assert [(one['said'], one['came']) for one in known[split]['bins']] == [
            (pytest.approx(0.3), pytest.approx(0.1)), (pytest.approx(0.9), pytest.approx(0.5))]
    assert 'mended' not in known['val'] and known['test']['mended']['error'] < 0.02
    assert set(known['parameters']) == {'a', 'b'}
    alone = summary.summarise(some('test', 20), 'ab', resamples=2)['calibration']
    assert alone['test']['error'] == pytest.approx(0.3) and set(alone) == {'test'} and 'mended' not in alone['test']


def test_nothing_is_charted_of_images_without_objects(deep, monkeypatch):
    monkeypatch.setattr(charts, 'both', lambda make, *words: words)
    of = shown(deep)
    assert len(charts.drawn(of)) == 4
    none = [row(0, classes=('nodule',), size=(9, 9, 9), spacing='[1, 1, 1]')]
    assert charts.drawn(detection_split.Detected(of.run, 'test', none, detection_table.read(none, ('nodule',)))) == []


def test_a_network_that_finds_nothing_has_a_report(deep, tmp_path):
    folder = shutil.copytree(deep, tmp_path / 'run')
    with (folder / 'predictions.csv').open(newline='') as file:
        rows = [{**row, 'found': '[]'} for row in csv.DictReader(file)]
    results = json.loads((folder / 'results.json').read_text())
    found = summary.summarise(rows, detections.KINDS[3])
    write_table(folder / 'predictions.csv', summary.counted(rows, detections.KINDS[3]))
    (folder / 'results.json').write_text(json.dumps(results | found.pop('metrics') | {'analysis': found}))
    assert 'AP10 0.000' in report_page.write(folder).read_text()


def test_training_samples_show_the_boxes_that_were_moved_with_the_image(flat, tmp_path):
    run = run_files.read(flat)
    assert chapter.samples(run) == []
    image, placed = np.random.default_rng(0).random((2, 20, 30)), np.array([[[2, 3, 9, 12], [0, 0, 0, 0]]] * 2)
    run.augmented.update(original=image, image=image[:, ::-1], original_boxes=placed, boxes=placed[..., [2, 1, 0, 3]],
                         box_mask=np.array([[1, 0]] * 2))
    pairs = chapter.samples(run)
    assert [(one.title, other.title) for one, other in pairs] == [('As read', 'As trained on')] * 2
    run.augmented['box_mask'] = np.zeros((2, 2))
    assert all(one.png != bare.png for pair, without in zip(pairs, chapter.samples(run))
               for one, bare in zip(pair, without))
