"""Tables of the report on classification."""

import dataclasses

from medjax.report import run_files
from medjax.tasks.classification import chapter_tables
from medjax.tasks.classification.split import read_split
from tests.tasks.classification import diagnoses

ARROW = '\N{NO-BREAK SPACE}'


def shown(folder, split='test'):
    return read_split(run_files.read(folder), split)


def test_each_class_has_a_row_with_its_cases(folders):
    of = shown(folders['multiclass'])
    overall, each = chapter_tables.result_tables([of])
    assert overall.caption == 'All classes' and [head for head, *_ in overall.rows].count(f'Sensitivity{ARROW}↑') == 0
    assert [head for head, _ in each.headers] == [f'{name}{ARROW}↑' for name in (
        'AUROC', 'Sensitivity', 'Specificity', 'Precision')] + [
        f'Calibration slope{ARROW}→ 1', f'Calibration-in-the-large{ARROW}→ 0', 'cases']
    counts = {head: int(cells[-1].text) for head, _, cells in each.rows}
    truth = [row['target'] for row in of.rows]
    assert counts == {name: truth.count(name) for name in diagnoses.KINDS['multiclass']}


def test_a_label_is_evaluated_where_known_and_at_its_operating_point(folders):
    of = shown(folders['multilabel'])
    overall, each = chapter_tables.result_tables([of])
    assert each.caption == 'Test, each label; sensitivity, specificity, precision at its operating point'
    rows = {head: cells for head, _, cells in each.rows}
    for column, name in enumerate(diagnoses.KINDS['multilabel']):
        value = of.entries[f'sensitivity_operating_{name}']['value']
        assert rows[f'Sensitivity{ARROW}↑'][column].text == f'{value:.3f}'
        assert rows['cases'][column].text == str(sum(row[f'target_{name}'] == '1.0' for row in of.rows))
    # Unknown labels are neither right nor wrong.
    unknown = next(i for i, row in enumerate(of.rows) if row['target_effusion'] == '')
    known = [k for k in range(3) if of.table.targets[unknown, k] >= 0]
    assert of.correct[unknown] == all(of.table.targets[unknown, k] == (of.table.probs[unknown, k] > 0.5) for k in known)


def test_folds_have_the_mean_and_the_spread_of_their_runs(folders):
    of = shown(folders['binary'])
    entry = of.entries['auroc'] | {'runs': 5, 'run_mean': 0.91, 'run_sd': 0.02}
    merged = {**of.run.results, 'test': {'auroc': entry}}
    table = chapter_tables.result_tables([dataclasses.replace(of, run=dataclasses.replace(of.run, results=merged))])[0]
    assert [head for head, _ in table.headers] == ['Test', 'mean ± SD of 5 runs']
    assert table.rows[0][2][1][:2] == ('0.910', '± 0.020')


def test_groups_have_their_cases_their_gap_and_the_worst_of_them(folders):
    of = shown(folders['binary'])
    sex, gaps, scanner, _ = chapter_tables.subgroup_tables(of)
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


def test_predictive_values_and_net_benefit_by_threshold(folders):
    of = shown(folders['binary'])
    values, benefit = chapter_tables.decision_tables(of)
    found = of.analysis['probability']['pneumonia']
    assert values.caption == 'Predictive values at the operating point'
    (name, _, cells), = values.rows
    assert name == 'pneumonia' and cells[0].below == 'of these cases'
    assert cells[1].text == f'{of.entries["precision_operating"]["value"]:.3f}' and ' of ' in cells[2].below
    assert [head for head, *_ in benefit.rows][::9] == ['0.050', '0.500'] and len(benefit.rows) == 10
    assert benefit.rows[2][2][1].text == f'{found["decision"]["all"][20]:.3f}'
    values, gains = chapter_tables.decision_tables(shown(folders['multiclass']))
    assert len(values.rows) == 9 and len(gains.headers) == chapter_tables.MAX_DRAWN
    curves = chapter_tables.uncertainty_tables(shown(folders['multilabel']))
    assert [table.caption for table in curves] == ['Distance from the smooth calibration curve']
    assert [head for head, *_ in curves[0].rows] == list(diagnoses.KINDS['multilabel'])
