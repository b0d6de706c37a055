import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.report import chapter, probability_charts, run_files
from medjax.report import page as report_page
from medjax.report.style import short_name
from medjax.tasks.classification import chapter as classification_chapter
from medjax.tasks.classification import charts as classification_charts
from medjax.tasks.classification import pictures, summary
from medjax.tasks.classification import split as classification_split
from tests.report.test_page import Page
from tests.tasks.classification import diagnoses

ARROW = '\N{NO-BREAK SPACE}'


@pytest.fixture(scope='session')
def folders(tmp_path_factory):
    """A run of each problem, not drawn."""
    where = tmp_path_factory.mktemp('diagnoses')
    options = {'binary': dict(tests=True, count=80), 'multiclass': dict(channels=3, shape=(10, 12))}
    return {problem: diagnoses.make(where / problem, problem, **options.get(problem, {}))
            for problem in diagnoses.KINDS}


@pytest.fixture(scope='session')
def binary(folders):
    """The page of two classes."""
    report_page.write(folders['binary'])
    return folders['binary']


@pytest.fixture
def undrawn(monkeypatch):
    """Charts that are empty, where only words matter."""
    monkeypatch.setattr(classification_charts, 'both', lambda make, *words, **options: chapter.Chart(b'', b'', *words))


def shown(folder, split='test'):
    return classification_split.judge(run_files.read(folder), split)


def page(folder):
    return Page((folder / 'report.html').read_text())


def results(folder):
    return json.loads((folder / 'results.json').read_text())


def told(entry):
    low, high = entry['ci95']
    return f'{entry["value"]:.3f} ({low:.3f}–{high:.3f})'


def test_the_page_has_its_sections_and_needs_nothing_else(binary):
    source = (binary / 'report.html').read_text()
    got = Page(source)
    assert got.open == [] and got.headings == [
        'Results', 'What it tells apart', 'How sure it is, and how rightly', 'For whom it works', 'What it looks at',
        'All cases', 'Training history', 'Training samples', 'Conventions', 'How to reproduce']
    assert diagnoses.NOTICE in got.text and diagnoses.COMMAND in got.text
    assert summary.CONVENTIONS in got.text and 'Dice' not in got.text
    bare = re.sub(r'data:image/png;base64,[A-Za-z0-9+/=]+', 'data:', source)
    assert not re.search(r'https?:|@import|url\(|<script|<link|<iframe', bare)
    assert all(attrs.get('alt') for tag, attrs in got.tags if tag == 'img')
    assert report_page.render(run_files.read(binary)) == source


def test_the_headline_of_two_classes_has_the_operating_point(binary):
    test, at = results(binary)['test'], results(binary)['analysis']['operating']
    text, sure = classification_chapter.headline(shown(binary))
    assert text == (f'AUROC for pneumonia {told(test["auroc"])} on the test cases. At the operating point: sensitivity '
                    f'{told(test["sensitivity_operating"])}, specificity {told(test["specificity_operating"])}, '
                    f'accuracy {told(test["accuracy_operating"])}.')
    count = sum(row['target'] == 'pneumonia' for row in run_files.read(binary).rows('test'))
    assert sure == (f'In brackets 95 % intervals. n = 64 patients, 80 cases; {count} of 80 cases are pneumonia. The '
                    f'operating point is a probability of {at["threshold"]:.3f} or more, chosen on the validation '
                    'cases by Youden\'s index: the largest sum of sensitivity and specificity.')
    assert page(binary).text.count(text) == 1


@pytest.mark.parametrize('problem, start', [
    ('multiclass', 'Mean AUROC of the 9 classes'), ('ordinal', 'Mean AUROC of the 4 classes'),
    ('multilabel', 'Mean AUROC of the 3 labels')])
def test_the_headline_of_several_classes_names_the_one_told_apart_worst(folders, problem, start):
    text, sure = classification_chapter.headline(shown(folders[problem]))
    test = results(folders[problem])['test']
    assert text.startswith(f'{start} {told(test["auroc"])} on the test cases; ')
    assert ('weighted kappa' in text) == (problem == 'ordinal') and ('accuracy' in text) == (problem != 'multilabel')
    worst = min(diagnoses.KINDS[problem], key=lambda name: test[f'auroc_{name}']['value'])
    assert sure.endswith(f'The lowest AUROC is that of {worst} {told(test[f"auroc_{worst}"])}.')


def test_the_splits_stand_side_by_side_with_their_intervals(binary):
    found, rows = results(binary), {row[0]: row[1:] for row in page(binary).rows[::-1] if row}
    assert rows[''] == ['Test', 'Test, operating point', 'Validation (used to select the weights)']
    assert [cell.split()[0] for cell in rows[f'Specificity{ARROW}↑']] == [
        f'{found[split][key]["value"]:.3f}' for split, key in (
            ('test', 'specificity'), ('test', 'specificity_operating'), ('val', 'specificity'))]
    assert rows[f'AUROC{ARROW}↑'][1] == '' and not any('pooled' in row for row in rows)
    assert rows['n (patients)'] == ['64', '64', '32']
    assert 'Intervals are of 95 %, by a percentile bootstrap over patients with 100 resamples.' in page(binary).text


def test_each_class_has_a_row_with_its_cases(folders):
    of = shown(folders['multiclass'])
    overall, each = classification_chapter.result_tables([of])
    assert overall.caption == 'All classes' and [head for head, *_ in overall.rows].count(f'Sensitivity{ARROW}↑') == 0
    assert [head for head, _ in each.headers] == [f'{name}{ARROW}↑' for name in (
        'AUROC', 'Sensitivity', 'Specificity', 'Precision')] + ['cases']
    counts = {head: int(cells[-1].text) for head, _, cells in each.rows}
    truth = [row['target'] for row in of.rows]
    assert counts == {name: truth.count(name) for name in diagnoses.KINDS['multiclass']}


def test_a_label_is_judged_where_it_is_known_and_at_its_operating_point(folders):
    of = shown(folders['multilabel'])
    overall, each = classification_chapter.result_tables([of])
    assert each.caption == 'Test, each label; sensitivity, specificity, precision at its operating point'
    rows = {head: cells for head, _, cells in each.rows}
    for column, name in enumerate(diagnoses.KINDS['multilabel']):
        value = of.entries[f'sensitivity_operating_{name}']['value']
        assert rows[f'Sensitivity{ARROW}↑'][column].text == f'{value:.3f}'
        assert rows['cases'][column].text == str(sum(row[f'target_{name}'] == '1.0' for row in of.rows))
    # Unknown labels are neither right nor wrong.
    unknown = next(i for i, row in enumerate(of.rows) if row['target_effusion'] == '')
    known = [k for k in range(3) if of.table.targets[unknown, k] >= 0]
    assert of.right[unknown] == all(of.table.targets[unknown, k] == (of.table.probs[unknown, k] > 0.5) for k in known)


def test_folds_have_the_mean_and_the_spread_of_their_runs(folders):
    of = shown(folders['binary'])
    entry = of.entries['auroc'] | {'runs': 5, 'run_mean': 0.91, 'run_sd': 0.02}
    merged = {**of.run.results, 'test': {'auroc': entry}}
    table = classification_chapter.result_tables([dataclasses.replace(of, run=dataclasses.replace(of.run, results=merged))])[0]
    assert [head for head, _ in table.headers] == ['Test', 'mean ± SD of 5 runs']
    assert table.rows[0][2][1][:2] == ('0.910', '± 0.020')


def capture(monkeypatch, name):
    """What a chart is drawn of, in place of the chart."""
    seen = []
    monkeypatch.setattr(probability_charts, name, lambda *args, **options: seen.append((args, options)) or b'')
    return seen


def test_two_classes_are_decided_at_the_operating_point(folders, monkeypatch):
    of, seen, drawn = shown(folders['binary']), capture(monkeypatch, 'confusion_chart'), capture(monkeypatch, 'discrimination_chart')
    monkeypatch.setattr(probability_charts, 'histogram_chart', lambda *args: b'')
    charts = classification_charts.separation(of)
    table = seen[0][0][0]
    value = {name: of.entries[f'{name}_operating']['value'] for name in ('sensitivity', 'specificity', 'precision')}
    assert table.sum() == 80 and table[1, 1] / table[1].sum() == pytest.approx(value['sensitivity'])
    assert table[0, 0] / table[0].sum() == pytest.approx(value['specificity'])
    assert 'decided at the operating point' in charts[2].caption
    roc, precision_recall = drawn[0][1], drawn[2][1]
    assert roc['point'][:2] == (pytest.approx(1 - value['specificity']), value['sensitivity']) and roc['level'] is None
    assert precision_recall['point'][:2] == (value['sensitivity'], pytest.approx(value['precision']))
    assert precision_recall['level'] == pytest.approx(table[1].sum() / 80)
    # The point lies on the curve.
    line = drawn[0][0][0][0]
    assert np.hypot(line.x - roc['point'].x, line.y - roc['point'].y).min() < 1e-9


def test_of_many_classes_those_told_apart_worst_are_named(folders, monkeypatch):
    of, drawn = shown(folders['multiclass']), capture(monkeypatch, 'discrimination_chart')
    seen = capture(monkeypatch, 'confusion_chart')
    charts = classification_charts.separation(of)
    lines = drawn[0][0][0]
    named = [line.name for line in lines if line.name]
    areas = {name: of.entries[f'auroc_{name}']['value'] for name in diagnoses.KINDS['multiclass']}
    assert len(lines) == 9 and {line.place for line in lines if not line.name} == {None}
    worst = sorted(areas, key=areas.get)[:4]
    assert sorted(named) == sorted(f'{short_name(name)} {areas[name]:.3f}' for name in worst)
    assert 'Only the 4 lowest areas of 9 are named.' in charts[0].caption and charts[2].wide
    assert np.trace(seen[0][0][0]) / 160 == pytest.approx(of.entries['accuracy']['value'])


def test_the_diagram_shows_calibration_that_was_not_chosen_on_test_cases(folders, monkeypatch):
    of, seen = shown(folders['binary']), capture(monkeypatch, 'reliability_chart')
    chart = classification_charts.sureness(of)[0]
    bins = seen[0][0][0]
    assert list(bins) == ['as predicted', 'after temperature scaling']
    assert bins['as predicted'] == of.run.results['analysis']['reliability']['test']['pneumonia']
    assert 'fitted on validation cases' in chart.caption
    before, *after = classification_chapter.sureness_tables(of)[0].rows
    assert before[2][0].text == f'{of.entries["ece"]["value"]:.3f}' and len(after) == 3


def test_groups_have_their_cases_their_gap_and_the_worst_of_them(folders):
    of = shown(folders['binary'])
    sex, gaps, scanner, _ = classification_chapter.group_tables(of)
    assert [cells[0].below for _, _, cells in scanner.rows] == ['', 'few cases', '']
    found = of.analysis['subgroups']['sex']
    assert [head for head, _, _ in sex.rows] == ['F', 'M', 'largest difference']
    assert [head for head, _ in sex.headers] == ['n', 'pneumonia', *(f'{name}{ARROW}↑' for name in (
        'AUROC', 'Accuracy', 'Sensitivity', 'Specificity')), f'ECE{ARROW}↓']
    women = [row for row in of.rows if row['sex'] == 'F']
    assert sex.rows[0][2][1][:3] == (str(sum(row['target'] == 'pneumonia' for row in women)), '', f'of {len(women)}')
    assert sex.rows[0][2][4].text == f'{found["groups"]["F"]["metrics"]["sensitivity_operating"]["value"]:.3f}'
    assert sex.rows[2][2][2].below.endswith(f'worst: {found["worst"]["auroc"]["group"]}')
    assert [head for head, _ in gaps.headers] == ['at 0.5', 'operating point']
    assert gaps.rows[1][2][1].text == f'{found["gaps"]["equalised_odds_difference_operating"]["value"]:.3f}'


def test_the_cases_drawn_are_right_and_sure_least_sure_and_wrong_and_sure(folders):
    of = shown(folders['binary'])
    chosen = {kind: (number, case) for kind, number, case in pictures.choose(of)}
    assert list(chosen) == ['Surest right', 'Least sure', 'Surest wrong']
    sure, right = of.table.probs.max(1), of.table.probs.argmax(1) == of.table.targets
    assert sure[chosen['Surest right'][0]] == sure[right].max()
    assert sure[chosen['Surest wrong'][0]] == sure[~right].max()
    assert sure[chosen['Least sure'][0]] == sure.min()
    assert all(case.name == of.table.ids[number] for number, case in chosen.values())
    section = pictures.pictures(of)
    number, case = chosen['Surest wrong']
    truth, said = (diagnoses.KINDS['binary'][k] for k in (of.table.targets[number], of.table.probs[number].argmax()))
    assert section.groups[2].heading == f'Surest wrong: {case.name}'
    assert section.groups[2].text == (
        f'Truth: {truth}. Predicted: {said}. Probabilities: {said} {sure[number]:.3f}, {truth} {1 - sure[number]:.3f}. '
        'Maps of pneumonia.')
    assert [tile.title for tile in section.groups[0].tiles] == [
        'Image', 'Grad-CAM', 'Integrated gradients', 'Occlusion']
    mean = np.mean([case.tests['similarity'] for _, case in chosen.values()], 0)
    assert [row[2][2].text for row in section.tables[0].rows] == [f'{value:.3f}' for value in mean]
    # A case that has one of the methods alone counts for that one.
    kind, number, case = pictures.choose(of)[0]
    fewer = dataclasses.replace(case, methods=case.methods[:1], maps=case.maps[:1],
                                tests={name: values[:1] for name, values in case.tests.items()})
    rows = pictures.tests([(kind, number, fewer), *pictures.choose(of)[1:]])[0].rows
    assert [cells[-1].text for _, _, cells in rows] == ['3', '2', '2']


def test_wrong_cases_come_first_and_the_surest_of_them_on_top(folders):
    of = shown(folders['binary'])
    rows = classification_chapter.listed(of)
    wrong = [row['predicted'] != row['target'] for row in rows]
    assert len(rows) == 80 and wrong == sorted(wrong, reverse=True) and 0 < sum(wrong) < 80
    sure, count = [float(row[f'prob_{row["predicted"]}']) for row in rows], sum(wrong)
    assert sure[:count] == sorted(sure[:count], reverse=True) and sure[count:] == sorted(sure[count:])
    assert re.fullmatch(r'[01]\.\d{3}', rows[0]['prob_normal']) and rows[0]['sex'] in 'FM'
    assert set(classification_chapter.words(of.run)) == {'split', 'id', 'patient', 'predicted', 'target', 'sex', 'scanner'}


def test_a_problem_of_one_label_has_its_page(tmp_path, undrawn, monkeypatch):
    monkeypatch.setitem(diagnoses.KINDS, 'multilabel', ('effusion',))
    truth = lambda count: (np.arange(count) % 3 == 0)[:, None].astype(float)
    monkeypatch.setattr(diagnoses, 'truth_and_probs', lambda problem, count, rng: (
        truth(count), 0.2 + 0.5 * truth(count) + 0.2 * rng.random((count, 1))))
    of = shown(diagnoses.make(tmp_path / 'one', 'multilabel', count=40))
    assert [head for head, _ in classification_chapter.group_tables(of)[0].headers][:2] == ['n', f'AUROC{ARROW}↑']
    assert 'Mean AUROC of the 1 label 1.000' in classification_chapter.chapter(of.run).headlines[0][0]


def evaluated(run, rows):
    """The run with other predictions, and what they come to."""
    found = summary.summarise(rows, 'binary', run.classes, resamples=20)
    splits = [row['split'] for row in rows]
    return dataclasses.replace(run, predictions=rows, results=json.loads(json.dumps({
        **run.results, 'val': None, **found.pop('metrics'), 'analysis': found,
        'counts': {split: splits.count(split) for split in dict.fromkeys(splits)}})))


def test_what_is_not_defined_says_why(folders):
    run = run_files.read(folders['binary'])
    rows = [row for row in run.predictions if row['split'] == 'test' and row['target'] == 'normal'][:12]
    one = evaluated(run, rows)
    got = Page(report_page.render(one))
    assert 'AUROC for pneumonia – (one class only in the truth: nothing to rank)' in got.text
    assert 'At a probability of 0.5: sensitivity – (no positive case), specificity' in got.text
    assert 'Warnings' in got.text and 'test: one class only, normal' in got.text
    assert 'no validation cases: no operating point' in got.text
    assert [cell for cell in got.rows if cell and cell[0] == f'AUROC{ARROW}↑'][0][1].startswith('–')
    assert 'What it tells apart' in got.headings  # what there is to draw is drawn


def test_validation_alone_is_called_no_test(folders, undrawn):
    run = run_files.read(folders['binary'])
    got = Page(report_page.render(evaluated(run, run.rows('val'))))
    assert 'AUROC for pneumonia' in got.text and 'on the validation cases' in got.text and 'No test results' in got.text
    assert 'no test cases: no figures on them' in got.text


def test_warnings_beyond_the_first_are_folded(folders):
    run = run_files.read(folders['multilabel'])
    many = {**run.results, 'analysis': {**run.results['analysis'], 'warnings': [f'<i>warning {n}' for n in range(11)]}}
    # Without cases nothing is drawn.
    source = report_page.render(dataclasses.replace(run, results={**many, 'counts': {}}, augmented={}, metrics=[]))
    assert '<summary>3 more</summary>' in source and '<i>' not in source
    assert source.index('warning 7') < source.index('3 more') < source.index('warning 8')


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
