"""CSV tables: equal to what pandas reads, whatever the line ends, and what is refused, by file and row."""

import pandas as pd
import pytest

from medjax.data.io import tables
from medjax.errors import InputError

TEXT = 'id,note,age\np1,"a ""b"",\nc",63\np2,,\n\np3,NA,4e1\n'


def write(folder, content, name='t.csv'):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize('content', [
    TEXT.encode(), TEXT.encode('utf-8-sig'), TEXT.replace('\n', '\r\n').encode(), TEXT.replace('\n', '\r').encode(),
    TEXT.replace('\n\n', '\n').encode(), TEXT.rstrip().encode()],
    ids=['plain', 'bom', 'crlf', 'cr', 'no_blank_line', 'no_last_newline'])
def test_cells_are_those_of_pandas(content, tmp_path):
    rows, columns = tables.read_table(write(tmp_path, content))
    plain = write(tmp_path, TEXT, 'plain.csv')
    want = pd.read_csv(plain, dtype=str, keep_default_na=False)
    assert columns == list(want.columns) and rows == want.to_dict('records')
    missing = pd.read_csv(plain, dtype=str)
    assert [[tables.filled(cell) == '' for cell in row.values()] for row in rows] == missing.isna().to_numpy().tolist()


def test_tabs_and_columns_without_name_and_content(tmp_path):
    assert tables.read_table(write(tmp_path, 'a\tb\n1,5\t2\n', 't.tsv')) == ([{'a': '1,5', 'b': '2'}], ['a', 'b'])
    assert tables.read_table(write(tmp_path, 'a,b,,\n1,2,,\n')) == ([{'a': '1', 'b': '2'}], ['a', 'b'])
    assert tables.read_table(write(tmp_path, ',a\n0,5\n')) == ([{'': '0', 'a': '5'}], ['', 'a'])
    assert tables.read_table(write(tmp_path, 'a,b\n')) == ([], ['a', 'b'])
    assert tables.read_table(write(tmp_path, '')) == tables.read_table(write(tmp_path, '\n\n')) == ([], [])


@pytest.mark.parametrize('content, said', [
    ('a,b\n1,2\n1\n', 'row 3 has too few fields; expected 2'), ('a,b\n1,2,3\n', 'row 2 has too many fields; expected'),
    ('a,b,a\n1,2,3\n', "2 columns 'a'; expected different names"),
    ('a, b\n1,2\n', "column ' b'; expected 'b', without blanks"), ('a,"b\n1,2', 'not a CSV table in UTF-8'),
    ('a;b\n1,5;2\n', 'semicolons between the columns; expected commas'),
    ('a\tb\n1\t2\n', 'tabs between the columns; expected commas'), (b'a\n\xe4\n', 'not a CSV table in UTF-8'),
    ('a\nx\0\n', 'byte 3 is 0; expected text'), ('a\n1\n'.encode('utf-16'), 'UTF-16; expected a CSV table in UTF-8'),
    (b'PK\x03\x04...', 'an Excel workbook; expected a CSV table'), (b'\x1f\x8b.', 'compressed; expected a CSV table')])
def test_files_that_are_refused(content, said, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as error:
        tables.read_table(path)
    assert str(error.value).startswith(f'{path}: ') and said in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match='none.csv: cannot be read: No such file'):
        tables.read_table(tmp_path / 'none.csv')


def test_missing_values_are_those_of_pandas_and_the_point(tmp_path):
    for cell in ('', 'NA', 'N/A', 'n/a', 'NaN', 'nan', 'NULL', 'null', 'None', '<NA>', '#N/A', 'none', 'unknown', '-',
                 '0', 'na'):
        read = pd.read_csv(write(tmp_path, f'a,b\n"{cell}",x\n'), dtype=str).isna().loc[0, 'a']
        assert (tables.filled(f' {cell} ') == '') == read, cell
    assert tables.filled('.') == tables.filled(None) == tables.filled('unknown', ('unknown',)) == ''


@pytest.mark.parametrize('cell, value', [
    ('1', 1), (' -2.5 ', -2.5), ('+.5', 0.5), ('7.', 7), ('1e-3', 0.001), ('1E2', 100), ('inf', None), ('nan', None),
    ('1_0', None), ('1,5', None), ('<0.5', None), ('61 y', None), ('0x1', None), ('', None), ('1e999', None),
    ('3.4e38', 3.4e38), ('3.5e38', None), ('٣', None)])
def test_numbers(cell, value):
    assert tables.parse_number(cell) == value


def test_codes_are_equal_as_numbers():
    assert [tables.code(cell) for cell in ('1', '1.0', ' 01 ', '1e0', '1.5', 'II ', '')] == [
        '1', '1', '1', '1', '1.5', 'II', '']
    assert tables.code('9' * 30) == '9' * 30 and tables.code('000') == '0'


def test_spellings_of_one_name_are_refused():
    for first, second in (('007', '7'), ('7', '7.0'), ('Ill', 'ill')):
        with pytest.raises(InputError, match=rf"t\.csv: classes '{first}' and '{second}'; expected one spelling"):
            tables.check_spellings('t.csv', 'classes', {second, first})
    tables.check_spellings('t.csv', 'patients', ['aB3', 'ab3', '12345678901234567', '12345678901234568'], case=False)


def test_near_names_are_refused_unless_the_config_names_them(tmp_path):
    known = ('id', 'patient', 'split')
    for column, name in (('Patient', 'patient'), ('patient_id', 'patient'), ('Subject ID', 'patient'),
                         ('MRN', 'patient'), ('Split', 'split'), ('I.D.', 'id')):
        with pytest.raises(InputError) as error:
            tables.check_near_names(tmp_path / 't.csv', ['time', column], known)
        assert f"t.csv: column {column!r}; expected {name!r}" in str(error.value)
        tables.check_near_names(tmp_path / 't.csv', ['time', column], known, used=[column])
    tables.check_near_names(tmp_path / 't.csv', ['patient', 'splits2', 'age'], known)
    with pytest.raises(InputError, match="no column 'age', which is written 'Age' there; expected some of: Age"):
        tables.check_columns(tmp_path / 't.csv', ['Age'], ['age'])


def test_names_twice_are_refused(tmp_path):
    tables.check_unique(tmp_path / 't.csv', ['a', 'b'])
    with pytest.raises(InputError, match="t.csv: row 4: id 'a' is that of row 2; expected unique names"):
        tables.check_unique(tmp_path / 't.csv', ['a', 'b', 'a'])
