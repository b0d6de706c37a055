"""The report of classification: sections, headlines, the table of cases, warnings and damaged files."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.report import page as report_page
from medjax.report import run_files
from medjax.tasks.classification import chapter as classification_chapter
from medjax.tasks.classification import chapter_tables, summary
from medjax.tasks.classification.family import FAMILY
from medjax.tasks.classification.split import read_split
from tests.report.test_page import Page
from tests.tasks.classification import diagnoses

ARROW = '\N{NO-BREAK SPACE}'


def shown(folder, split='test'):
    return read_split(run_files.read(folder), split)


def page(folder):
    return Page((folder / 'report.html').read_text())


def results(folder):
    return json.loads((folder / 'results.json').read_text())


def formatted(entry):
    low, high = entry['ci95']
    return f'{entry["value"]:.3f} ({low:.3f}–{high:.3f})'


def test_the_page_has_its_sections_and_is_self_contained(binary):
    source = (binary / 'report.html').read_text()
    got = Page(source)
    assert got.open == [] and got.headings == [
        'Results', 'Participants', 'Discrimination', 'Calibration and uncertainty', 'Decisions', 'Subgroup performance',
        'Saliency maps', 'All cases', 'Training history', 'Training samples', 'Conventions', 'Reporting checklist',
        'How to reproduce']
    assert diagnoses.NOTICE in got.text and diagnoses.COMMAND in got.text
    assert summary.CONVENTIONS in got.text and 'Dice' not in got.text
    bare = re.sub(r'data:image/png;base64,[A-Za-z0-9+/=]+', 'data:', source)
    assert not re.search(r'https?:|@import|url\(|<script|<link|<iframe', bare)
    assert all(attrs.get('alt') for tag, attrs in got.tags if tag == 'img')
    assert report_page.render(run_files.read(binary), classification_chapter.chapter, reporting=FAMILY.reporting,
                              metrics=FAMILY.metrics) == source


def test_the_headline_of_two_classes_has_the_operating_point(binary):
    test, at = results(binary)['test'], results(binary)['analysis']['operating']
    text, sure = classification_chapter.headline(shown(binary))
    assert text == (f'AUROC for pneumonia {formatted(test["auroc"])} on the test cases. At the operating point: '
                    f'sensitivity {formatted(test["sensitivity_operating"])}, '
                    f'specificity {formatted(test["specificity_operating"])}, '
                    f'accuracy {formatted(test["accuracy_operating"])}.')
    count = sum(row['target'] == 'pneumonia' for row in run_files.read(binary).rows('test'))
    assert sure == (f'95 % intervals in brackets. n = 64 patients, 80 cases; {count} of 80 cases are pneumonia. The '
                    f'operating point is a probability of {at["threshold"]:.3f} or more, chosen on the validation '
                    'cases by Youden\'s index, the largest sum of sensitivity and specificity.')
    assert page(binary).text.count(text) == 1


@pytest.mark.parametrize('problem, start', [
    ('multiclass', 'Mean AUROC of the 9 classes'), ('ordinal', 'Mean AUROC of the 4 classes'),
    ('multilabel', 'Mean AUROC of the 3 labels')])
def test_the_headline_of_several_classes_names_the_worst_separated_one(folders, problem, start):
    text, sure = classification_chapter.headline(shown(folders[problem]))
    test = results(folders[problem])['test']
    assert text.startswith(f'{start} {formatted(test["auroc"])} on the test cases; ')
    assert ('weighted kappa' in text) == (problem == 'ordinal') and ('accuracy' in text) == (problem != 'multilabel')
    worst = min(diagnoses.KINDS[problem], key=lambda name: test[f'auroc_{name}']['value'])
    assert sure.endswith(f'The lowest AUROC is that of {worst} {formatted(test[f"auroc_{worst}"])}.')


def test_the_splits_are_columns_with_intervals(binary):
    found, rows = results(binary), {row[0]: row[1:] for row in page(binary).rows[::-1] if row}
    assert rows[''] == ['Test', 'Test, operating point', 'Validation (used to select the weights)']
    assert [cell.split()[0] for cell in rows[f'Specificity{ARROW}↑']] == [
        f'{found[split][key]["value"]:.3f}' for split, key in (
            ('test', 'specificity'), ('test', 'specificity_operating'), ('val', 'specificity'))]
    assert rows[f'AUROC{ARROW}↑'][1] == '' and not any('pooled' in row for row in rows)
    assert rows['n (patients)'] == ['64', '64', '32']
    assert '95 % intervals are t intervals over patients.' in page(binary).text


def test_wrong_cases_come_first_sorted_by_confidence(folders):
    of = shown(folders['binary'])
    rows = classification_chapter.case_rows(of)
    wrong = [row['predicted'] != row['target'] for row in rows]
    assert len(rows) == 80 and wrong == sorted(wrong, reverse=True) and 0 < sum(wrong) < 80
    sure, count = [float(row[f'prob_{row["predicted"]}']) for row in rows], sum(wrong)
    assert sure[:count] == sorted(sure[:count], reverse=True) and sure[count:] == sorted(sure[count:])
    assert re.fullmatch(r'[01]\.\d{3}', rows[0]['prob_normal']) and rows[0]['sex'] in 'FM'
    assert set(classification_chapter.chapter(of.run).text_columns) == {
        'split', 'id', 'patient', 'predicted', 'target', 'sex', 'scanner'}


def test_a_problem_of_one_label_has_its_page(tmp_path, undrawn, monkeypatch):
    monkeypatch.setitem(diagnoses.KINDS, 'multilabel', ('effusion',))
    truth = lambda count: (np.arange(count) % 3 == 0)[:, None].astype(float)
    monkeypatch.setattr(diagnoses, 'truth_and_probs', lambda problem, count, rng: (
        truth(count), 0.2 + 0.5 * truth(count) + 0.2 * rng.random((count, 1))))
    of = shown(diagnoses.make(tmp_path / 'one', 'multilabel', count=40))
    assert [head for head, _ in chapter_tables.subgroup_tables(of)[0].headers][:2] == ['n', f'AUROC{ARROW}↑']
    assert 'Mean AUROC of the 1 label 1.000' in classification_chapter.chapter(of.run).headlines[0][0]


def evaluated(run, rows):
    """The run with other predictions, and what they come to."""
    found = summary.summarise(rows, 'binary', run.classes)
    splits = [row['split'] for row in rows]
    return dataclasses.replace(run, predictions=rows, results=json.loads(json.dumps({
        **run.results, 'val': None, **found.pop('metrics'), 'analysis': found,
        'counts': {split: splits.count(split) for split in dict.fromkeys(splits)}})))


def test_undefined_metrics_have_a_reason(folders):
    run = run_files.read(folders['binary'])
    rows = [row for row in run.predictions if row['split'] == 'test' and row['target'] == 'normal'][:12]
    one = evaluated(run, rows)
    got = Page(report_page.render(one, classification_chapter.chapter))
    assert 'AUROC for pneumonia – (one class only in the truth: nothing to rank)' in got.text
    assert 'At a probability of 0.5: sensitivity – (no positive case), specificity' in got.text
    assert 'Warnings' in got.text and 'Test: one class only, normal' in got.text
    assert 'no validation cases: no operating point' in got.text
    assert [cell for cell in got.rows if cell and cell[0] == f'AUROC{ARROW}↑'][0][1].startswith('–')
    assert 'Discrimination' in got.headings  # what there is to draw is drawn


def test_validation_alone_is_called_no_test(folders, undrawn):
    run = run_files.read(folders['binary'])
    got = Page(report_page.render(evaluated(run, run.rows('val')), classification_chapter.chapter))
    assert 'AUROC for pneumonia' in got.text and 'on the validation cases' in got.text and 'No test results' in got.text
    assert 'no test cases: no test metrics' in got.text


def test_warnings_beyond_the_first_are_folded(folders):
    run = run_files.read(folders['multilabel'])
    many = {**run.results, 'analysis': {**run.results['analysis'], 'warnings': [f'<i>warning {n}' for n in range(11)]}}
    # Without cases nothing is drawn.
    bare = dataclasses.replace(run, results={**many, 'counts': {}}, augmented={}, history=[])
    source = report_page.render(bare, classification_chapter.chapter)
    # The twelfth is that validation cases also selected the weights.
    assert '<summary>4 more</summary>' in source and '<i>' not in source
    assert source.index('warning 7') < source.index('4 more') < source.index('warning 8')
    assert source.index('warning 10') < source.index('The validation cases also selected the weights (by auroc)')


@pytest.mark.parametrize('name, content, message', [
    ('predictions.csv', 'split,id,patient,target,prob_normal\ntest,a,a,normal,0.5\n', 'prob_pneumonia'),
    ('predictions.csv', 'split,id,target,prob_normal,prob_pneumonia\ntest,a,flu,0.5,0.5\n', 'target: flu'),
    ('predictions.csv', 'split,id,target,prob_normal,prob_pneumonia\ntest,a,normal,high,0.5\n', 'not readable'),
    ('cases', 'PK', 'not readable as a snapshot')])
def test_a_damaged_file_is_named(binary, tmp_path, undrawn, name, content, message):
    folder = shutil.copytree(binary, tmp_path / 'run')
    path = next((folder / 'cases' / 'test').iterdir()) if name == 'cases' else folder / name
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        classification_chapter.chapter(run_files.read(folder))
    assert str(path) in str(caught.value)
