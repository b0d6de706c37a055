import csv
import dataclasses
import json
import shutil

import pytest

from medjax import restore
from medjax.errors import InputError
from medjax.report import page as report_page
from medjax.report import participants, run_files
from medjax.report.chapter import Chapter
from medjax.report.checklist import checklists
from medjax.report.guidelines import GUIDELINES
from medjax.report.participants import MERGED, NOT_KEPT
from medjax.tasks.segmentation.family import FAMILY
from tests.report.test_page import Page

NUMBERS = {'n': 12, 'missing': 0}
KNOWN = {
    'patients_known': True, 'images': True, 'found': {'patients': 23, 'cases': 25},
    'left_out': [{'reason': 'with fewer than 3 visits', 'patients': 2, 'cases': 0},
                 {'reason': 'of other classes', 'patients': 1, 'cases': 2}],
    'notes': ['Boxes outside their image, left out: 3.'],
    'splits': {'train': {'patients': 12, 'cases': 12}, 'test': {'patients': 6, 'cases': 7},
               'val': {'patients': 2, 'cases': 2}},
    'shared': 0, 'compared': ['train', 'test'], 'not_shown': ['accession'],
    'characteristics': [
        {'name': 'age', 'level': '', 'of': 'patients', 'smd': -0.234, 'splits': {
            'train': {**NUMBERS, 'missing': 2, 'q1': 41.0, 'median': 55.5, 'q3': 63.25}, 'test': {
                'n': 0, 'missing': 6, 'q1': None, 'median': None, 'q3': None}}},
        {'name': 'sex', 'level': 'f', 'of': 'patients', 'smd': None, 'splits': {
            'train': {**NUMBERS, 'count': 3}, 'test': {'n': 6, 'missing': 0, 'count': 6}}},
        {'name': 'depth', 'level': '', 'of': 'cases', 'smd': 0.0, 'splits': {
            'train': {**NUMBERS, 'q1': -2.0, 'median': -1.0, 'q3': 4.0}}}]}


def chapter(run):
    """A chapter without pictures."""
    return Chapter([('Mean Dice 0.8.', '95 % CI 0.7–0.9.')], '95 % intervals are t intervals.', [], [], {}, [])


def with_known(run, **more):
    return dataclasses.replace(run, participants={**KNOWN, **more})


def drawn(run):
    return Page(report_page.render(run, chapter, reporting=FAMILY.reporting, metrics=FAMILY.metrics))


def test_the_flow_has_the_counts_of_its_file_and_of_the_predictions(many):
    found = participants.participants(with_known(run_files.read(many)))
    assert found.found.lines == ['23 patients with 25 cases']
    assert found.left_out.lines == ['2 patients with fewer than 3 visits', '1 patient with 2 cases of other classes']
    assert [(box.heading, *box.lines) for box in found.splits] == [
        ('Training', '12 patients', 'used for training'), ('Test', '6 patients with 7 cases', 'all evaluated'),
        ('Validation', '2 patients', 'all evaluated')]
    more = participants.participants(with_known(run_files.read(many), splits={'test': {'patients': 8, 'cases': 9}}))
    assert more.splits[0].lines == ['8 patients with 9 cases', 'evaluated: 6 patients with 7 cases']
    unknown = participants.participants(with_known(run_files.read(many), patients_known=False))
    assert unknown.found.lines == ['25 cases'] and any('not known which cases' in line for line in unknown.text)


def test_the_flow_counts_what_the_results_are_of(many):
    run = with_known(run_files.read(many))
    results = dict(run.results)
    for split in run.splits:
        results[split] = {name: {**entry, 'unit': 'molecule'} for name, entry in results[split].items()}
    found = participants.participants(dataclasses.replace(run, results=results))
    assert found.found.lines == ['23 molecules with 25 cases'] and found.splits[0].lines[0] == '12 molecules'
    assert not any('atient' in line for line in [*found.text, *(row[0] for row in found.tables[0].rows)])


def test_the_table_of_characteristics(many):
    got = drawn(with_known(run_files.read(many)))
    table = {row[0]: row[1:] for row in got.rows if row}
    assert table['Number of patients'] == ['12', '6', '2', ''] and table['Number of cases'] == ['12', '7', '2', '']
    assert table['age'] == ['55.5 [41–63.2]missing 2', '–missing 6', '', '−0.23']
    assert table['sex: f'] == ['3 (25.0 %)', '6 (100.0 %)', '', '']
    assert table['depth, cases'] == ['−1 [−2 to 4]', '', '', '0.00']
    for text in ('2 patients with fewer than 3 visits', 'Boxes outside their image, left out: 3.', 'accession'):
        assert text in got.text


def test_a_run_without_the_file_says_so(many):
    run = run_files.read(many)
    assert run.participants == {} and NOT_KEPT in drawn(run).text
    assert MERGED in drawn(dataclasses.replace(run, results={**run.results, 'of': ['a', 'b']})).text


def test_a_damaged_file_is_named(many, tmp_path):
    folder = shutil.copytree(many, tmp_path / 'run')
    (folder / 'participants.json').write_text(json.dumps({key: KNOWN[key] for key in KNOWN if key != 'splits'}))
    with pytest.raises(InputError, match=r'participants\.json: not readable: KeyError'):
        restore.write_report(folder)


def test_simulated_data_are_called_so_at_the_top(many):
    run = run_files.read(many)
    got = drawn(run)
    assert got.text.index('Simulated data') < got.text.index('Results') and 'simulated_images' in got.text
    nested = {**run.config, 'data': {'source': {'name': 'boxes_from_masks', 'source': {'name': 'simulated_lesions'}}}}
    assert participants.simulated(dataclasses.replace(run, config=nested)) == 'simulated_lesions'
    assert participants.simulated(dataclasses.replace(run, config={'data': {'source': {'name': 'voc'}}})) == ''


EVIL = '<script>alert("&")</script>'


def test_statements_of_the_config_are_shown_and_escaped(many):
    run = with_known(run_files.read(many), left_out=[{'reason': EVIL, 'patients': 1, 'cases': 1}], notes=[EVIL])
    run = dataclasses.replace(run, config={**run.config, 'study': {'reference_standard': EVIL, 'funding': 'None.'}})
    source = report_page.render(run, chapter, reporting=FAMILY.reporting, metrics=FAMILY.metrics)
    got = Page(source)
    assert '<script' not in source and got.text.count(EVIL) >= 4
    facts = {row[0]: row[1] for row in got.rows if len(row) == 2}
    assert facts['Reference standard'] == EVIL and facts['Funding'] == 'None.'


def test_items_are_reported_partly_reported_or_not_stated(many):
    run = with_known(run_files.read(many))
    run = dataclasses.replace(run, config={**run.config, 'study': {'reference_standard': 'two readers, ' + 200 * 'x'}})
    claim, metrics = checklists(run, chapter(run), FAMILY.reporting, FAMILY.metrics)
    rows = {row.item: row for row in claim.rows}
    assert rows['14'].status == 'reported' and rows['14'].where.startswith('Statement "Reference standard": two')
    assert len(rows['14'].where) < 220
    assert rows['44'].status == 'not stated' and rows['44'].where == 'Add config.study.funding.'
    assert rows['8'].status == 'partly' and rows['8'].where.startswith('"Participants": 23 patients found, 3 left out')
    assert rows['20'].where == 'By patient: none is in training and in another split.'
    assert rows['26'].where == 'Best dice_mean on the validation cases, step 40.'
    assert rows['29'].status == 'reported' and rows['33'].status == 'not stated'
    assert {row.status for row in metrics.rows} == {'reported'} and 'semantic segmentation' in metrics.summary
    dice = {key: entry for key, entry in run.results['test'].items() if key.startswith('dice')}
    only_dice = dataclasses.replace(run, results={**run.results, 'test': dice})
    metrics = checklists(only_dice, chapter(run), FAMILY.reporting, FAMILY.metrics)[1]
    border = next(row for row in metrics.rows if row.topic == 'distance of borders')
    assert border.status == 'not stated' and border.where == 'Missing; one of: HD95, ASSD, NSD.'


def test_the_checklist_is_a_table_beside_the_report(many, tmp_path):
    for name in ('config.json', 'results.json'):
        shutil.copy(many / name, tmp_path)
    (tmp_path / 'participants.json').write_text(json.dumps(KNOWN))
    restore.write_report(tmp_path)
    with (tmp_path / 'checklist.csv').open() as file:
        found = list(csv.DictReader(file))
    assert {row['guideline'] for row in found} == {'CLAIM', 'Metrics Reloaded'}
    assert {row['status'] for row in found} == {'reported', 'partly', 'not stated'}


@pytest.mark.parametrize('name, last', [('CLAIM', 44), ('TRIPOD+AI', 27)])
def test_every_item_of_a_guideline_is_there_once(name, last):
    numbers = [item.number for item in GUIDELINES[name][1]]
    assert len(set(numbers)) == len(numbers) and {int(number.rstrip('abcdefg')) for number in numbers} == set(
        range(1, last + 1))
