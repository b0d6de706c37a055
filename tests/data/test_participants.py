"""Numbers of participants and their characteristics, against pandas and SciPy on the raw data."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from medjax.data import participants
from medjax.data.datasets import images, tabular, volumes
from medjax.data.source import UNKNOWN_PATIENTS, Case, LeftOut, Objects, Source
from medjax.data.sources import survival_csv, treatment_csv, visits_csv
from medjax.data.splits import Splitting
from tests.data.datasets.test_volumes import SPACING
from tests.data.datasets.test_volumes import read as read_volume
from tests.data.datasets.test_volumes import source as volume_source


def rows(found):
    return {(row['name'], row['level']): row for row in found['characteristics']}


@pytest.fixture(scope='module')
def cohort(tmp_path_factory):
    """A raw table with missing cells and repeated patients, and what is found of it."""
    rng, count = np.random.default_rng(0), 90
    table = pd.DataFrame({
        'id': [f'visit-{number}' for number in range(count)],
        'patient': [f'MRN{number // 2}' for number in range(count)],
        'time': rng.integers(1, 900, count) / 100, 'event': rng.integers(0, 2, count),
        'sex': np.repeat(rng.choice(['f', 'm'], count // 2), 2), 'site': rng.choice(['north', 'south', 'west'], count),
        'weight': rng.normal(70, 12, count).round(1), 'treated': rng.integers(0, 2, count),
        'name': [f'Smith {number}' for number in range(count)], 'case_number': np.arange(count) // 2 + 10**6,
        'note': [f'text {number}' for number in range(count)]})
    table.loc[rng.choice(count, 17, replace=False), 'weight'] = math.nan
    table.loc[rng.choice(count, 9, replace=False), 'site'] = None
    folder = tmp_path_factory.mktemp('cohort')
    table.to_csv(folder / 't.csv', index=False)
    source = survival_csv.source(table='t.csv', dir=str(folder), covariates=('sex', 'site', 'weight', 'treated'),
                                 extra_columns=('name', 'case_number', 'note'), unit='years', splitting=Splitting())
    table['split'] = table['id'].map({case.id: case.split for case in source.cases})
    return table, participants.describe(tabular.dataset(source))


def test_numbers_of_patients_and_cases(cohort):
    table, found = cohort
    assert found['splits'] == {split: {'patients': part.patient.nunique(), 'cases': len(part)}
                               for split, part in table.groupby('split')}
    assert found['found'] == {'patients': 45, 'cases': 90} and found['left_out'] == [] and found['shared'] == 0
    assert found['patients_known'] and not found['images'] and found['compared'] == ['train', 'test']


def test_numbers_have_the_quartiles_of_pandas(cohort):
    table, found = cohort
    for name, column in (('weight', 'weight'), ('Time to event or censoring (years)', 'time')):
        row = rows(found)[name, '']
        assert row['of'] == 'cases'  # it differs between the cases of a patient
        for split, part in table.groupby('split')[column]:
            want = part.quantile([0.25, 0.5, 0.75]).tolist()
            entry = row['splits'][split]
            assert [entry[key] for key in ('q1', 'median', 'q3')] == pytest.approx(want)
            assert entry['n'] == part.notna().sum() and entry['missing'] == part.isna().sum()


def test_categories_have_the_counts_of_pandas(cohort):
    table, found = cohort
    firsts = table.drop_duplicates('patient')
    for column, part, of in (('site', table, 'cases'), ('sex', firsts, 'patients'), ('treated', table, 'cases')):
        for level in part[column].dropna().unique():
            row = rows(found)[column, '' if column == 'treated' else level]
            for split, own in part.groupby('split')[column]:
                want = (own == (1 if column == 'treated' else level)).sum()
                assert row['of'] == of and row['splits'][split] == {
                    'n': own.notna().sum(), 'missing': own.isna().sum(), 'count': want}
    events = table.assign(name=table.event.map({0: 'censored', 1: 'event'})).groupby(['split', 'name']).size()
    for (split, name), want in events.items():
        assert rows(found)['Event', name]['splits'][split]['count'] == want


def test_differences_of_means_and_the_median_follow_up(cohort):
    table, found = cohort
    train, test = (table[table.split == split].weight.dropna() for split in ('train', 'test'))
    want = (test.mean() - train.mean()) / math.sqrt((train.var() + test.var()) / 2)
    assert rows(found)['weight', '']['smd'] == pytest.approx(want)
    part, left = table[table.split == 'train'], 1.0
    for time in np.unique(part.time):  # the product-limit estimate of being under observation
        left *= 1 - ((part.time == time) & (part.event == 0)).sum() / (part.time >= time).sum()
        if left <= 0.5:
            break
    assert rows(found)['Follow-up, reversed Kaplan–Meier (years)', '']['splits']['train']['median'] == time


def test_no_identifier_is_kept(cohort):
    table, found = cohort
    assert found['not_shown'] == ['name', 'case_number', 'note']
    text = json.dumps(found)
    for column in ('id', 'patient', 'name', 'note', 'case_number'):
        assert not any(str(value) in text for value in table[column])


def test_images_of_unknown_patients_are_cases():
    def case(number, target, split):
        return Case(f'c{number}', f'c{number}', split, None, target=target)
    cases = (case(0, 0, 'train'), case(1, 1, 'train'), case(2, 1, 'train'), case(3, 1, 'val'), case(4, 0, 'test'))
    source = Source(cases, ('healthy', 'ill'), problem='binary', notice=f'A set. {UNKNOWN_PATIENTS}',
                    analysis_unit='image')
    kept = images._only_classes(source, ('healthy',))
    assert [(item.cases, item.patients) for item in kept.left_out] == [(3, 3)] and 'healthy' in kept.left_out[0].reason
    half = images._subset(source, 0.5, 0)  # one of each class, of which there are 1 and 2
    assert [(item.cases, item.patients) for item in half.left_out] == [(1, 1)]
    with_counts = type('Set', (), {'source': source, 'warnings': (), 'case_values': {},
                                   'counts': {'train': 3, 'val': 1, 'test': 1}})
    found = participants.describe(with_counts)
    assert not found['patients_known'] and {row['of'] for row in found['characteristics']} == {'cases'}
    assert rows(found)['Class', 'ill']['splits']['train'] == {'n': 3, 'missing': 0, 'count': 2}


def test_objects_and_multilabel_classes_are_counted():
    def describe(targets, classes, problem):
        cases = tuple(Case(f'c{n}', f'p{n}', 'train', None, target=target) for n, target in enumerate(targets))
        source = Source(cases, classes, problem=problem, least_classes=1)
        return rows(participants.describe(type('Set', (), {
            'source': source, 'warnings': (), 'case_values': {}, 'counts': {'train': len(cases)}})))
    boxes = np.array([[0, 0, 2, 2]])
    found = describe([Objects(np.repeat(boxes, n, 0), np.zeros(n)) for n in (0, 1, 4)], ('nodule',), 'detection')
    assert found['With an object', 'yes']['splits']['train'] == {'n': 3, 'missing': 0, 'count': 2}
    assert found['Objects of nodule', '']['splits']['train']['median'] == 1
    found = describe([(1, -1), (1, 0), (0, 1)], ('mass', 'oedema'), 'multilabel')
    assert found['oedema', 'yes']['splits']['train'] == {'n': 2, 'missing': 1, 'count': 1}
    assert found['mass', 'yes']['splits']['train']['count'] == 2


def test_volumes_and_connected_parts_are_those_of_scipy(tmp_path):
    shapes = ((10, 12, 6), (14, 8, 6), (9, 9, 5))
    found = rows(participants.describe(volumes.dataset(volume_source(shapes), patch=(4, 4, 2), cache=str(tmp_path))))
    for number, name in enumerate(('organ', 'lesion'), 1):
        masks = [read_volume(shape, seed, 1)[1].array == number for seed, shape in enumerate(shapes)]
        ml = [mask.sum() * math.prod(SPACING) / 1000 for mask in masks]
        parts = [ndimage.label(mask, np.ones((3, 3, 3)))[1] for mask in masks]
        for split, own in (('train', slice(2)), ('val', slice(2, 3))):
            assert found[f'Volume of {name} (ml)', '']['splits'][split]['median'] == pytest.approx(np.median(ml[own]))
            assert found[f'Connected parts of {name}', '']['splits'][split]['median'] == np.median(parts[own])
            assert found[f'With {name}', 'yes']['splits'][split]['count'] == sum(map(bool, parts[own]))


def test_patients_without_a_group_or_a_landmark_are_counted(tmp_path):
    (tmp_path / 't.csv').write_text('who,arm,y,age\na,0,1,30\nb,1,2,40\nc,3,3,50\nd,,3,50\n')
    source = treatment_csv.source(table='t.csv', dir=str(tmp_path), patient='who', treatment='arm', outcome='y',
                                  covariates=('age',), splitting=Splitting(val=0.0, test=0.0))
    assert source.left_out == (LeftOut('of neither group by arm', 2, 2, source.warnings[0]),)
    (tmp_path / 'v.csv').write_text('id,year,x,end,dead,split\na,0,1,3,0,train\nb,0,1,0.5,1,test\nc,0,1,4,1,test\n')
    source = visits_csv.source(table='v.csv', dir=str(tmp_path), time='year', event='dead', events=('death',),
                               measurements=('x',), static=(), landmarks=(1.0,))
    assert [(item.patients, item.cases) for item in source.left_out] == [(1, 0)]  # b has died before the landmark
