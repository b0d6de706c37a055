"""The report of detection: its sections, headline and tables."""

import csv
import json
import re
import shutil

from medjax import restore
from medjax.report import run_files
from medjax.tasks.detection import chapter, charts, summary
from medjax.tasks.detection import table as detection_table
from medjax.tasks.detection.split import DetectionSplit, read_split
from tests.report.runs import write_table
from tests.report.test_page import Page
from tests.tasks.detection import detections
from tests.tasks.detection.detections import row


def shown(folder, split='test'):
    return read_split(run_files.read(folder), split)


def formatted(entry):
    return f'{entry["value"]:.3f} ({entry["ci95"][0]:.3f}–{entry["ci95"][1]:.3f})'


def test_the_page_has_its_sections_and_is_self_contained(flat):
    source = (flat / 'report.html').read_text()
    page = Page(source)
    assert page.open == [] and page.headings == [
        'Results', 'Participants', 'Detection performance', 'Example images', 'All cases', 'Training history',
        'Conventions', 'Reporting checklist', 'How to reproduce']
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
    assert text == (f'Mean AP50 {formatted(test["ap50"])}, AP {formatted(test["ap"])} on the test images; CPM '
                    f'{formatted(test["cpm"])}.')
    assert f'n = 16 patients, 20 images, {test["ap"]["objects"]} objects. At a score of 0.' in sure
    assert (f'chosen on the validation images by the largest F1: sensitivity {formatted(test["sensitivity"])}, '
            'precision '
            f'{formatted(test["precision"])}, {formatted(test["false_positives"])} false positives per image.') in sure
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


def test_images_without_objects_have_no_charts(deep, monkeypatch):
    monkeypatch.setattr(charts, 'themed_chart', lambda make, *words: words)
    of = shown(deep)
    assert len(charts.detection_charts(of)) == 4
    none = [row(0, classes=('nodule',), size=(9, 9, 9), spacing='[1, 1, 1]')]
    assert charts.detection_charts(DetectionSplit(of.run, 'test', none, detection_table.read(none, ('nodule',)))) == []


def test_a_network_that_finds_nothing_has_a_report(deep, tmp_path):
    folder = shutil.copytree(deep, tmp_path / 'run')
    with (folder / 'predictions.csv').open(newline='') as file:
        rows = [{**row, 'found': '[]'} for row in csv.DictReader(file)]
    results = json.loads((folder / 'results.json').read_text())
    found = summary.summarise(rows, detections.KINDS[3])
    write_table(folder / 'predictions.csv', summary.add_counts(rows, detections.KINDS[3]))
    (folder / 'results.json').write_text(json.dumps(results | found.pop('metrics') | {'analysis': found}))
    assert 'AP10 0.000' in restore.write_report(folder).read_text()
