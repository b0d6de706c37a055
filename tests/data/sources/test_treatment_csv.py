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
            group_values=(('0',), ('1', '2')), splitting=Splitting(val=0.0, test=0.0))


def read(folder, text=TABLE, **options):
    (folder / 't.csv').write_text(text)
    return treatment_csv.source(**{**KEYS, 'dir': str(folder), **options})


def test_groups_of_several_arms(tmp_path):
    source = read(tmp_path, extra_columns=('sex',))
    assert [(case.id, case.target.treatment, case.target.outcome) for case in source.cases] == [
        ('a', 0, 100.0), ('b', 1, 250.0), ('d', 1, 180.0)]  # c is of neither group
    assert source.cases[1].record == {'age': 40.0, 'sex=m': 1.0} and source.cases[1].columns == {'sex': 'm'}
    assert source.cases[0].target.effect is None
    assert source.warnings == ('Rows that are left out, of neither group by arm: 1 (3 1).',)
    assert source.summary == 't.csv: numbers: age; categories: sex (f 1, m 2)'
    assert dataset(source).counts == {'train': 3}
    assert [case.target.outcome for case in read(tmp_path, outcome_sign=-1).cases] == [-100.0, -250.0, -180.0]


@pytest.mark.parametrize('old, new, options, message', [
    ('b,1', 'a,1', {}, r"t\.csv: row 3: who is 'a'; expected a name that no row before has"),
    ('m,250', 'm,high', {}, r"t\.csv: row 3: cd4 is 'high'; expected a number"),
    ('m,250', 'm,inf', {}, r"t\.csv: row 3: cd4 is 'inf'; expected a number"),
    ('age', 'years', {}, r"t\.csv: no column 'age'; expected some of: who, arm, years"),
    ('', '', dict(group_values=(('0',), ('0', '1'))),
     r'source\.group_values: .*; expected different ones for each of two groups'),
    ('', '', dict(outcome_sign=2), r'outcome_sign: 2; expected different ones'),
    ('', '', dict(group_values=(('7',), ('8',))), r't\.csv: no row with arm among'),
    ('', '', dict(covariates=('age', 'cd4')), r'source\.covariates: .*; expected neither the outcome nor the'),
])
def test_invalid_tables_are_refused(tmp_path, old, new, options, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, TABLE.replace(old, new), **options)


def test_treatments_are_compared_as_codes_and_others_are_counted(tmp_path):
    text = TABLE.replace('b,1,', 'b,1.0,').replace('c,3,', 'c,,').replace('d,2,', 'd,yes,')
    for values in ((('0',), ('1',)), ((0,), (1,)), (('0.0',), (1.0,))):
        source = read(tmp_path, text, group_values=values)
        assert [(case.id, case.target.treatment) for case in source.cases] == [('a', 0), ('b', 1)]
        assert source.warnings == ('Rows that are left out, of neither group by arm: 2 (nothing 1, yes 1).',)


def test_the_splits_of_the_table_are_kept(tmp_path):
    lines = TABLE.splitlines()
    text = '\n'.join([f'{lines[0]},split', *(f'{line},{split}' for line, split in zip(
        lines[1:], ('test', 'train', 'val', '')))])
    source = read(tmp_path, text, group_values=(('0',), ('1', '2', '3')), covariates=('age',))
    assert [case.split for case in source.cases] == ['test', 'train', 'val', 'train']
    with pytest.raises(InputError, match="column 'Split'; expected 'split'"):
        read(tmp_path, text.replace('split', 'Split'))


def test_one_group_alone_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no patient of the group 'control' among the 2 training patients"):
        dataset(read(tmp_path, TABLE.replace('a,0', 'a,9')))
