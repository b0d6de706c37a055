"""Survival cohorts from tables: times, events, covariates and splits, and what is refused."""

import math

import pytest

from medjax.data.covariates import CovariateOptions
from medjax.data.datasets.tabular import dataset
from medjax.data.sources import survival_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError

TABLE = """id,months,status,age,stage,sex,site,split
a,1.5,2,50,I,f,x,train
b,2,0,60,II,m,x,train
c,3,0,,III,f,y,train
d,0,1,70,,m,y,test
"""


def test_a_table_of_patients(tmp_path):
    (tmp_path / 'cases.csv').write_text(TABLE)
    options = dict(dir=str(tmp_path), table='cases.csv', time='months', event='status', events=('death', 'relapse'),
                   event_values=('1', '2'), extra_columns=('site',), unit='months')
    found = survival_csv.source(**options)
    assert [(c.id, c.split, c.target.time, c.target.event) for c in found.cases] == [
        ('a', 'train', 1.5, 2), ('b', 'train', 2, 0), ('c', 'train', 3, 0), ('d', 'test', 0, 1)]
    assert found.cases[1].record == {'age': 60, 'stage=I': 0, 'stage=II': 1, 'stage=III': 0, 'sex=m': 1}
    assert [math.isnan(value) for value in found.cases[3].record.values()] == [False, True, True, True, False]
    assert math.isnan(found.cases[2].record['age']) and found.cases[3].columns == {'site': 'y'}
    assert found.summary == ('cases.csv: numbers: age (missing 1); '
                             'categories: stage (I 1, II 1, III 1, missing 1), sex (f 2, m 2)')
    (tmp_path / 'cases.csv').write_text(TABLE.replace('2,0', '2,').replace('3,0', '3,'))
    blank = survival_csv.source(**options)
    assert [c.target for c in blank.cases][:3] == [c.target for c in found.cases][:3]
    assert blank.warnings == ('Rows without status, which count as censored: 2.',) and not found.warnings
    (tmp_path / 'cases.csv').write_text(TABLE)
    assert survival_csv.source(**options, covariates=('age',)).cases[0].record == {'age': 50}
    with pytest.raises(InputError, match="c: stage is 'III', which no training patient has; expected one of I, II"):
        (tmp_path / 'cases.csv').write_text(TABLE.replace('III,f,y,train', 'III,f,y,val'))
        dataset(survival_csv.source(**options))
    (tmp_path / 'cases.csv').write_text(TABLE)
    folds = [survival_csv.source(**options, splitting=Splitting(fold=fold, folds=3)) for fold in range(3)]
    assert [[c.id for c in made.cases if c.split == 'val'] for made in folds] != [['a']] * 3
    assert all(made.cases[3].split == 'test' for made in folds)


@pytest.mark.parametrize('text, options, said', [
    ('id,time,event\n', {}, 'no rows'), ('time,event,age\n1,1\n', {}, 'row 2 has too few fields'),
    ('time,event\nx,1\n', {}, "row 2: time is 'x'; expected a number"), ('time,event\n-1,1\n', {}, "time is '-1'"),
    ('time,event\ninf,1\n', {}, "time is 'inf'"), ('time,event\n1,3\n', {}, "row 2: event is '3'; expected one of: 1"),
    ('time,event\n1,1\n', dict(covariates=('age',)), "no column 'age'"),
    ('time,event\n1,1\n', dict(event_values=('1', '2')), 'config.data.source.event_values'),
    ('time,event\n1,1\n2,\n3,0\n', {}, "row 3: event is empty, as in 1 rows, and '0' in row 4"),
    ('time,event\n1,NA\n', {}, "row 2: event is 'NA'; expected one of: 1"),
    ('time,event,event\n1,1,0\n', {}, "2 columns 'event'"), ('time,event,Patient\n1,1,p\n', {}, "column 'Patient'"),
    ('time,event,patient_id\n1,1,p\n', {}, "column 'patient_id'; expected 'patient', if it is that"),
    ('time,event,split \n1,1,test\n', {}, "column 'split '; expected 'split', without blanks"),
    ('time,event,Split\n1,1,test\n', {}, "column 'Split'; expected 'split'"),
    ('id,time,event\na,1,1\na,2,0\n', {}, "row 3: id 'a' is that of row 2"),
    ('time,event\n20240129,1\n20240301,0\n', {}, 'time: dates such as 20240129'),
    ('time,event\n1700000000,1\n1700000009,0\n', {}, 'may be seconds since 1970'),
    ('time,event\n1_0,1\n', {}, "row 2: time is '1_0'"),
    ('time,event,name\n' + ''.join(f'1,1,n{n}\n' for n in range(30)), {}, "column 'name' has 30 categories")])
def test_tables_that_are_refused(text, options, said, tmp_path):
    (tmp_path / 'cases.csv').write_text(text)
    with pytest.raises(InputError, match=said):
        survival_csv.source(dir=str(tmp_path), table='cases.csv', **options)


def test_values_of_events_are_compared_as_codes(tmp_path):
    """1, 1.0 and a number in the config are one value; pandas writes a column with a missing cell as 1.0."""
    (tmp_path / 'cases.csv').write_text('time,event,age\n1,1.0,5\n2,0.0,6\n3,2,7\n')
    for values in (('1', '2'), (1, 2), ('1.0', 2.0)):
        found = survival_csv.source(dir=str(tmp_path), table='cases.csv', events=('a', 'b'), event_values=values)
        assert [case.target.event for case in found.cases] == [1, 0, 2]


def test_new_patients_are_read_as_those_of_training(tmp_path):
    lines = [f'{n},1,{40 + n},{"fm"[n % 2]},{n},{"ABC"[n % 3]}' for n in range(1, 10)]
    (tmp_path / 'cases.csv').write_text('\n'.join(['time,event,age,sex,Unnamed: 0,site', *lines]) + '\n')
    found = survival_csv.source(dir=str(tmp_path), table='cases.csv', splitting=Splitting(val=0, test=0),
                                options=CovariateOptions(missing=('unknown',)))
    assert list(found.cases[0].record) == ['age', 'sex=m', 'site=A', 'site=B', 'site=C']
    assert 'dropped: Unnamed: 0 (no name)' in found.summary
    names, new = ['age', 'sex=m'], tmp_path / 'new.csv'
    new.write_text('id,age,sex\na,50,f\nb,unknown,m\nc,.,\n')  # site is not needed where the network has none of it
    ids, records = survival_csv.read_covariates(new, names, found.encoding)
    assert ids == ['a', 'b', 'c'] and records[0] == {'age': 50, 'sex=m': 0} and records[1]['sex=m'] == 1
    assert all(map(math.isnan, (records[1]['age'], *records[2].values())))
    for text, said in (('age,sex\n50,male\n', "new.csv: row 2: sex is 'male', which no training patient has"),
                       ('age,sex\n<50,f\n', "new.csv: row 2: age is '<50'; expected a number"),
                       ('age,sex\ninf,f\n', "new.csv: row 2: age is 'inf'"), ('Age,sex\n5,f\n', "written 'Age'"),
                       ('age\n5\n', "no column 'sex'"), ('age,sex\n5\n', 'row 2 has too few fields'),
                       ('id,age,sex\na,5,f\na,6,f\n', "row 3: id 'a' is that of row 2"), ('age,sex\n', 'no rows')):
        new.write_text(text)
        with pytest.raises(InputError, match=said):
            survival_csv.read_covariates(new, names, found.encoding)
