import csv
import dataclasses
import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from medjax import restore
from medjax.errors import InputError
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.tasks.segmentation import mask_metrics
from medjax.tasks.segmentation.chapter import chapter
from medjax.tasks.segmentation.family import FAMILY
from tests.report import runs

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Page(html.parser.HTMLParser):
    """Tags with their attributes, headings, rows of table cells, and the text of a report."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.headings, self.rows, self.words, self.open = [], [], [], [], []
        self.feed(source)
        self.text = ' '.join(' '.join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ('meta', 'img', 'source'):
            self.open.append(tag)
        if tag == 'h2':
            self.headings.append('')
        elif tag == 'tr':
            self.rows.append([])
        elif tag in ('td', 'th'):
            self.rows[-1].append('')

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if 'style' not in self.open:
            self.words.append(data)
        if 'h2' in self.open:
            self.headings[-1] += data
        if {'td', 'th'} & set(self.open):
            self.rows[-1][-1] += data


def page(folder):
    return Page((folder / 'report.html').read_text())


SECTIONS = ['Results', 'Participants', 'Example cases', 'Performance by case and calibration', 'All cases',
            'Training history', 'Training samples', 'Conventions', 'Reporting checklist', 'How to reproduce']


@pytest.mark.parametrize('name', ['many', 'one', 'photographs'])
def test_every_section_is_there_and_the_page_is_well_formed(name, request):
    got = page(request.getfixturevalue(name))
    assert got.headings == SECTIONS and got.open == []
    assert runs.NOTICE in got.text and mask_metrics.CONVENTIONS in got.text and runs.COMMAND in got.text
    assert got.text.index('Mean Dice on the test cases') < got.text.index(runs.NOTICE) < got.text.index('Results')


@pytest.mark.parametrize('name', ['many', 'photographs'])
def test_the_page_is_self_contained(name, request):
    folder = request.getfixturevalue(name)
    source = (folder / 'report.html').read_text()
    bare = re.sub(r'data:image/png;base64,[A-Za-z0-9+/=]+', 'data:', source)
    assert not re.search(r'https?:|@import|url\(|<script|<link|<iframe', bare)
    links = [value for _, attrs in Page(bare).tags for key, value in attrs.items() if key in (
        'src', 'srcset', 'href', 'data', 'action', 'poster')]
    assert len(links) > 20 and set(links) == {'data:'}
    assert all(attrs.get('alt') for tag, attrs in Page(bare).tags if tag == 'img')


def test_two_drawings_are_the_same_bytes(many):
    drawn = report_page.render(run_files.read(many), chapter, reporting=FAMILY.reporting, metrics=FAMILY.metrics)
    assert drawn.encode() == (many / 'report.html').read_bytes()


def test_the_headline_has_its_interval_or_says_why_it_has_none(many, one):
    assert re.search(r'95 % CI 0\.\d{3}–0\.\d{3}, n = 6 patients, 7 cases\. '
                     r'Structures missed: 1; found where there is none: 1 \(together 1.7 to 79.2 %', page(many).text)
    assert 'fewer than 20 patients such an interval may be too narrow' in page(many).text
    assert re.search(r'Test: \d+ of \d+ intervals are of fewer than 20 patients', page(many).text)
    assert 'One patient: no confidence interval.' in page(one).text and '95 % CI' not in page(one).text


def test_validation_that_chose_the_weights_is_no_test(many, photographs):
    text = page(many).text
    assert 'step 40, which had the best dice_mean on the validation cases' in text
    assert 'validation results are therefore optimistic' in text and 'Validation (used to select the weights)' in text
    assert 'Mean Dice on the validation cases' not in text
    assert 'optimistic' not in page(photographs).text  # without validation the last weights are evaluated


def test_validation_alone_is_called_no_test(many):
    run = run_files.read(many)
    text = Page(report_page.render(dataclasses.replace(run, results={
        key: value for key, value in run.results.items() if key != 'test'}), chapter)).text
    assert 'Mean Dice on the validation cases' in text and 'No test results' in text
    assert 'The weights were selected on them' in text


def test_results_and_cases_are_tables(many):
    rows = {row[0]: row[1:] for row in page(many).rows[::-1] if row}  # of equal names the first table's stays
    assert rows['n (patients)'] == ['6', '6', '6'] and rows['Missed'] == ['0', '1', '1'] == rows['Spurious']
    assert re.fullmatch(r'0\.\d{3} ± 0\.\d{3}0\.\d{3}–0\.\d{3}', rows['Dice\N{NO-BREAK SPACE}↑'][0])
    cases = [row for row in page(many).rows if row and row[0] in ('split', 'test', 'val')]
    assert [row[1] for row in cases] == ['id', *(case.id for case in runs.MANY)]
    column = {name: number for number, name in enumerate(cases[0])}
    with (many / 'predictions.csv').open() as file:
        for row, want in zip(cases[1:], csv.DictReader(file), strict=True):
            assert row[column['dice_mean']] == f'{float(want["dice_mean"]):.3f}'
            assert row[column['missed_lesion']] == str(int(float(want['missed_lesion'])))
            assert (row[column['sensitivity_lesion']] == '') == (want['sensitivity_lesion'] == '')


def test_the_page_says_how_to_reproduce_the_run(many):
    facts = {row[0]: row[1] for row in page(many).rows if len(row) == 2}
    want = {'seed': '3', 'data hash': 'da7a', 'split hash': '5b117', 'devices': '4 × gpu:H', 'cores': '8',
            'train time': '62 min 5 s', 'wall time': '63 min 1 s', 'peak memory': '1575 MiB', 'jax': '0.10.2',
            'commit': 'c0ffee, with uncommitted changes: the commit alone does not reproduce this run'}
    assert want.items() <= facts.items()
    assert '"tolerance_mm": 2.0' in page(many).text


@pytest.mark.parametrize('seconds, want', [(99.94, '99.9 s'), (130.6, '2 min 11 s'), (3725, '62 min 5 s'),
                                           (90061, '25 h 1 min')])
def test_durations(seconds, want):
    assert dict(report_page._facts({'wall_time_s': seconds})) == {'wall time': want}


def test_text_from_data_is_escaped(many):
    run, evil = run_files.read(many), '<script>alert("&")</script>'
    evil_run = dataclasses.replace(
        run, config={**run.config, 'name': evil}, environment={**run.environment, 'command': evil, 'devices': [evil]},
        results={**run.results, 'notice': evil, 'conventions': evil, 'classes': ['background', 'organ', evil]})
    source = report_page.render(evil_run, chapter)
    got = Page(source)
    assert not {'script', 'b>p6&'} & {tag for tag, _ in got.tags} and '<b>p6' not in source
    assert got.text.count(evil) >= 5 and '<b>p6&' in got.text


def test_a_run_that_was_not_evaluated_yet_is_drawn(many, tmp_path):
    for name in ('config.json', 'metrics.jsonl'):
        shutil.copy(many / name, tmp_path)
    text = page(restore.write_report(tmp_path).parent).text
    assert 'No evaluation yet.' in text and page(tmp_path).headings == ['Training history', 'How to reproduce']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['config.json', 'metrics.jsonl', 'report.html']


@pytest.mark.parametrize('name, content', [
    ('config.json', '{"seed": '), ('environment.json', '[]'), ('results.json', 'null'),
    ('results.json', '{"test": {"dice_mean": 0.5}, "counts": {"test": 4}}'),
    ('metrics.jsonl', '{"step": 1}\n{"st\n{"step": 2}\n'), ('metrics.jsonl', '{"step": "two"}\n{"step": 3}\n'),
    ('predictions.csv', 'split,id,dice_mean\ntest,a,high\n'), ('predictions.csv', 'split,id,dice_mean\ntest,a\n'),
    ('predictions.csv', 'a,b\n1,2\n'), ('predictions.csv', b'\xff\xfe\x00\x01'),
    ('augmented.npz', 'PK'), ('cases/test/mole_0.npz', 'PK')])
def test_a_damaged_file_is_named(photographs, tmp_path, name, content):
    folder = shutil.copytree(photographs, tmp_path / 'run')
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = (folder / 'report.html').read_bytes()
    with pytest.raises(InputError) as caught:
        restore.write_report(folder)
    assert str(folder / name) in str(caught.value) and (folder / 'report.html').read_bytes() == before


def test_a_truncated_last_line_is_ignored(many, tmp_path):
    shutil.copy(many / 'config.json', tmp_path)
    (tmp_path / 'metrics.jsonl').write_text('{"step": 5, "lr": 1}\n{"step": 5, "val/dice": 0.5}\n{"step": 10, "l')
    assert run_files.read(tmp_path).history == [{'step': 5, 'lr': 1, 'val/dice': 0.5}]


def command(*arguments):
    return subprocess.run([sys.executable, '-m', 'medjax.report', *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_command_draws_again(photographs, tmp_path):
    folder = shutil.copytree(photographs, tmp_path / 'run')
    want = (folder / 'report.html').read_bytes()
    (folder / 'report.html').unlink()
    done = command(f'--workdir={folder}')
    assert done.returncode == 0 and done.stdout == f'report: {folder / "report.html"}\n', done.stderr
    assert (folder / 'report.html').read_bytes() == want


@pytest.mark.parametrize('folder', ['', 'nowhere'])
def test_the_command_refuses_a_folder_without_a_run(tmp_path, folder):
    (tmp_path / 'results.json').write_text(json.dumps({}))
    done = command(f'--workdir={tmp_path / folder}')
    assert done.returncode == 2 and done.stdout == ''
    assert done.stderr.count('\n') == 1 and str(tmp_path / folder) in done.stderr and 'config.json' in done.stderr
