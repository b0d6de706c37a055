"""Survival cohorts from tables: times, events, covariates and splits, and what is refused."""

import math

import pytest

from medjax.data.sources import survival_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError

TABLE = """id,months,status,age,stage,sex,site,split
a,1.5,2,50,I,f,x,train
b,2,0,60,II,m,x,train
c,3,,,III,f,y,train
d,0,1,70,,m,y,test
"""


def test_a_table_of_patients(tmp_path):
    (tmp_path / 'cases.csv').write_text(TABLE)
    options = dict(dir=str(tmp_path), table='cases.csv', time='months', event='status', events=('death', 'relapse'),
                   values=('1', '2'), columns=('site',), unit='months')
    found = survival_csv.source(**options)
    assert [(c.id, c.split, c.target.time, c.target.event) for c in found.cases] == [
        ('a', 'train', 1.5, 2), ('b', 'train', 2, 0), ('c', 'train', 3, 0), ('d', 'test', 0, 1)]
    assert found.cases[1].record == {'age': 60, 'stage=I': 0, 'stage=II': 1, 'stage=III': 0, 'sex=m': 1}
    assert [math.isnan(value) for value in found.cases[3].record.values()] == [False, True, True, True, False]
    assert math.isnan(found.cases[2].record['age']) and found.cases[3].columns == {'site': 'y'}
    assert survival_csv.source(**options, covariates=('age',)).cases[0].record == {'age': 50}
    folds = [survival_csv.source(**options, splitting=Splitting(fold=fold, folds=3)) for fold in range(3)]
    assert [[c.id for c in made.cases if c.split == 'val'] for made in folds] != [['a']] * 3
    assert all(made.cases[3].split == 'test' for made in folds)


@pytest.mark.parametrize('text, options, said', [
    ('id,time,event\n', {}, 'no rows'), ('time,event,age\n1,1\n', {}, 'row 2 has too few fields'),
    ('time,event\nx,1\n', {}, "row 2: time is 'x'; expected a number"), ('time,event\n-1,1\n', {}, "time is '-1'"),
    ('time,event\ninf,1\n', {}, "time is 'inf'"), ('time,event\n1,3\n', {}, "row 2: event is '3'; expected one of: 1"),
    ('time,event\n1,1\n', dict(covariates=('age',)), "no column 'age'"),
    ('time,event\n1,1\n', dict(values=('1', '2')), 'config.data.source.values'),
    ('time,event,name\n' + ''.join(f'1,1,n{n}\n' for n in range(30)), {}, "column 'name' has 30 categories")])
def test_tables_that_are_refused(text, options, said, tmp_path):
    (tmp_path / 'cases.csv').write_text(text)
    with pytest.raises(InputError, match=said):
        survival_csv.source(dir=str(tmp_path), table='cases.csv', **options)
