"""Small predictions tables of every family, and the folders of runs that have them; without training."""

import json
import pathlib
from types import SimpleNamespace

import numpy as np

from medjax import atomic_files
from medjax.tasks import family
from medjax.tasks.signals.table import COLUMNS
from tests.report.runs import write_table
from tests.tasks.classification import diagnoses
from tests.tasks.detection import detections
from tests.tasks.forecasting import forecasts
from tests.tasks.growth.test_summary import row as growth_row
from tests.tasks.registration.test_summary import row as registration_row
from tests.tasks.regression import regressions
from tests.tasks.survival import survivals
from tests.tasks.treatment import treatments

SPLITS = ('val', 'test')
SEGMENTED = ('dice_mean', 'dice_liver', 'hd95_liver')
CLASSES = {'anomaly': ('well', 'ill'), 'classification': diagnoses.KINDS['binary'], 'detection': ('a', 'b'),
           'forecasting': forecasts.EVENTS, 'growth': ('background', 'tumour'), 'registration': ('grey',),
           'regression': ('logs',), 'segmentation': ('background', 'liver'), 'signals': ('rest', 'beat'),
           'survival': ('death',), 'translation': ('T1', 'T2'), 'treatment': treatments.GROUPS}


def _cases(patients, make):
    """Rows by `make(rng, split, number)` of a case of each patient, or more."""
    rng = np.random.default_rng(7)
    for split in SPLITS:
        for number in range(patients):
            yield {'split': split, 'id': f'{split}{number:03d}', 'patient': f'{split}{number:03d}',
                   **make(rng, split, number)}


def _anomaly(rng, split, number):
    ill = split == 'test' and number % 2 == 0
    return {'target': 'ill' if ill else 'well', 'score_distance': float(rng.normal() + 1.5 * ill),
            'voxel_dice': rng.random() if ill else ''}


def _segmentation(rng, split, number):
    dice = '' if number % 9 == 4 else rng.random()
    return {'dice_mean': dice, 'dice_liver': dice, 'hd95_liver': 10 * rng.random(), 'missed_liver': 0.0,
            'spurious_liver': 0.0}


def _detection(rng, split, number):
    truth, labels, found, found_labels, scores = detections.scene(rng, 2, most=4)
    return {'size': json.dumps(detections.SHAPE[2]), 'truth': detections.written('ab', labels % 2, truth),
            'found': detections.written('ab', found_labels % 2, found, scores)}


def _growth(rng, split, number):
    dice, errors, risk = rng.random(3), 100 * rng.random(3), rng.random(2)
    return growth_row(number, tuple(dice), tuple(errors), (number % 2, ''), tuple(risk), split)


def _registration(rng, split, number):
    return {**registration_row(number, rng.random(), 3 * rng.random()), 'split': split, 'id': f'{split}{number}'}


ROWS = {
    'anomaly': lambda n: _cases(n, _anomaly),
    'classification': lambda n: [row for split in SPLITS for row in diagnoses.rows_of(
        'binary', split, n, np.random.default_rng(len(split)))],
    'detection': lambda n: _cases(n, _detection),
    'forecasting': lambda n: [row for split in SPLITS for row in forecasts.rows_of(
        split, n, np.random.default_rng(len(split)))],
    'growth': lambda n: _cases(n, _growth),
    'registration': lambda n: _cases(n, _registration),
    'regression': lambda n: [row for split in SPLITS for row in regressions.rows_of(split, n)],
    'segmentation': lambda n: _cases(n, _segmentation),
    'signals': lambda n: _cases(n, lambda rng, split, number: {
        'beats': 9, 'found': 8, **{name: rng.random() for name in COLUMNS}}),
    'survival': lambda n: [row for split in SPLITS for row in survivals.rows_of(
        split, n, ('death',), np.random.default_rng(len(split)))],
    'translation': lambda n: _cases(n, lambda rng, split, number: {
        f'{name}{end}': rng.random() for end in ('', '_linear') for name in ('psnr', 'ssim', 'mae', 'sharpness')}),
    'treatment': lambda n: [row for split in SPLITS for row in treatments.rows_of(
        split, n, np.random.default_rng(len(split)))]}


def _noisy(row, rng, columns, scale, low=-np.inf, high=np.inf):
    return {name: float(np.clip(float(row[name]) + rng.normal(0, scale), low, high)) for name in columns
            if row.get(name) not in ('', None) and row[name] == row[name]}


def _fewer_boxes(row, rng):
    boxes = json.loads(row['found'])
    return {'found': json.dumps([[name, rng.random(), *box] for name, _, *box in boxes if rng.random() < 0.7])}


def _flatter(row, rng):
    curve = [name for name in row if name.startswith('incidence_')]
    return {**_noisy(row, rng, ['risk_death'], 0.5), **{name: 0.8 * row[name] for name in curve}}


def _other_probs(row, rng):
    prob = float(np.clip(row['prob_pneumonia'] + rng.normal(0, 0.3), 0, 1))
    return {'prob_pneumonia': prob, 'prob_normal': 1 - prob}


# The predicted cells of another run, of a row and a generator of random numbers.
OTHER = {
    'anomaly': lambda row, rng: _noisy(row, rng, ['score_distance'], 1),
    'classification': _other_probs,
    'detection': _fewer_boxes,
    'forecasting': lambda row, rng: {**_noisy(row, rng, [f'forecast_{name}' for name in forecasts.NAMES], 0.5),
                                     **_noisy(row, rng, ['chance_death'], 0.2, 0, 1)},
    'growth': lambda row, rng: {**_noisy(row, rng, ['dice', 'risk_left'], 0.2, 0, 1),
                                **_noisy(row, rng, ['volume_error'], 5, 0)},
    'registration': lambda row, rng: {**_noisy(row, rng, ['dice'], 0.2, 0, 1), **_noisy(row, rng, ['tre'], 0.5, 0)},
    'regression': lambda row, rng: _noisy(row, rng, ['predicted_logs'], 0.3),
    'segmentation': lambda row, rng: {'dice_liver': '' if rng.random() < 0.1 else rng.random(),
                                      **_noisy(row, rng, ['dice_mean', 'hd95_liver'], 0.2, 0)},
    'signals': lambda row, rng: _noisy(row, rng, ['f1', 'sensitivity', 'precision', 'timing_ms'], 0.2, 0),
    'survival': _flatter,
    'translation': lambda row, rng: _noisy(row, rng, ['psnr', 'ssim', 'mae', 'sharpness'], 0.2, 0),
    'treatment': lambda row, rng: _noisy(row, rng, ['outcome_if_0', 'outcome_if_1'], 0.5)}

EVALUATORS = {
    'anomaly': dict(normal='well', score='distance'),
    'classification': dict(subgroups=(), sensitivity=None, coverage=0.9, decision_thresholds=(0.1, 0.5),
                           prevalence=None),
    'forecasting': dict(lead_times=forecasts.LEADS),
    'segmentation': dict(metrics=SEGMENTED, conventions='', grid=SimpleNamespace(length='mm')),
    'signals': dict(metrics=COLUMNS, conventions=''),
    'survival': dict(horizons=(8.0, 16.0, 30.0)),
    'treatment': dict(groups=treatments.TRAINING)}


def rows(name, patients=24, copies=1, other=None):
    """The predictions table of a family.

    Args:
      name: of the family.
      patients: number of patients of each split.
      copies: how often each case occurs, always of the same patient.
      other: seed of another run on the same cases.
    """
    rng = np.random.default_rng(other)
    base = [row if other is None else {**row, **OTHER[name](row, rng)} for row in ROWS[name](patients)]
    return [{**row, 'id': f'{row["id"]}_{copy}'} for row in base for copy in range(copies)]


def results(name, table):
    """The results of a predictions table, by the family's own summary."""
    source = SimpleNamespace(classes=CLASSES[name], problem='binary', unit='months', measured=forecasts.NAMES,
                             length_unit='mm')
    data = SimpleNamespace(source=source, horizon=forecasts.WITHIN, case_name='molecule', descriptor_names=())
    evaluator = SimpleNamespace(data=data, **EVALUATORS.get(name, {}))
    return family.find(name).function('summary', 'results')(table, evaluator)


def write(folder, name, table):
    """Writes the folder of a run with a predictions table, and gives its path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    write_table(folder / 'predictions.csv', table)
    counts = {split: sum(row['split'] == split for row in table) for split in SPLITS}
    atomic_files.write_json(folder / 'results.json', {**results(name, table), 'classes': CLASSES[name],
                                                      'counts': counts, 'step': 1})
    atomic_files.write_json(folder / 'config.json', {'seed': 0, 'evaluate': {'name': name}})
    return str(folder)
