"""Trials as tables: groups, outcomes and what is refused."""

import pytest

from medjax.data.datasets.tabular import dataset
from medjax.data.sources import treatment_csv
from medjax.data.splits import Splitting
from medjax.errors import InputError

TABLE = '''who,arm,age,sex,cd4
a,0,30,f,100
b,1,40,m,250
c,3,50,f,300
d,2,60,m,180
'''
KEYS = dict(table='t.csv', patient='who', treatment='arm', outcome='cd4', covariates=('age', 'sex'),
            values=(('0',), ('1', '2')), splitting=Splitting(val=0.0, test=0.0))


def read(folder, text=TABLE, **options):
    (folder / 't.csv').write_text(text)
    return treatment_csv.source(**{**KEYS, 'dir': str(folder), **options})


def test_groups_of_several_arms(tmp_path):
    source = read(tmp_path, columns=('sex',))
    assert [(case.id, case.target.treatment, case.target.outcome) for case in source.cases] == [
        ('a', 0, 100.0), ('b', 1, 250.0), ('d', 1, 180.0)]  # c is of neither group
    assert source.cases[1].record == {'age': 40.0, 'sex=m': 1.0} and source.cases[1].columns == {'sex': 'm'}
    assert source.cases[0].target.effect is None
    assert dataset(source).counts == {'train': 3}
    assert [case.target.outcome for case in read(tmp_path, sign=-1).cases] == [-100.0, -250.0, -180.0]


@pytest.mark.parametrize('old, new, options, message', [
    ('b,1', 'a,1', {}, r"t\.csv: row 3: who is 'a'; expected a name that no row before has"),
    ('m,250', 'm,high', {}, r"t\.csv: row 3: cd4 is 'high'; expected a number"),
    ('m,250', 'm,inf', {}, r"t\.csv: row 3: cd4 is 'inf'; expected a number"),
    ('age', 'years', {}, r"t\.csv: no column 'age'; expected some of: who, arm, years"),
    ('', '', dict(values=(('0',), ('0', '1'))), r'source\.values: .*; expected different ones for each of two groups'),
    ('', '', dict(sign=2), r'sign: 2; expected different ones'),
    ('', '', dict(values=(('7',), ('8',))), r't\.csv: no row with arm among'),
    ('', '', dict(covariates=('age', 'cd4')), r'source\.covariates: .*; expected neither the outcome nor the'),
])
def test_tables_that_are_none(tmp_path, old, new, options, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, TABLE.replace(old, new), **options)


def test_one_group_alone_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no patient of the group 'control' among the 2 training patients"):
        dataset(read(tmp_path, TABLE.replace('a,0', 'a,9')))
