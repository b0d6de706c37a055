"""Messages: a line that a terminal prints, whatever a file's bytes are."""

import pytest

from medjax.errors import InputError, as_line


def test_characters_that_cannot_be_printed_are_escaped():
    assert str(InputError('/a/b\x1b[2J\x07.raw: no\nsuch\tfile é 猫')) == '/a/b\\x1b[2J\\x07.raw: no such file é 猫'
    assert str(InputError('undecodable \udcff')) == 'undecodable \\udcff'


@pytest.mark.parametrize('error, line', [
    (InputError('a.csv: 3;\n expected 2'), 'a.csv: 3; expected 2'),
    (FileNotFoundError(2, 'No such file or directory', 'a'),
     'a: no such file or folder; expected it to stay there while the command runs'),
    (OSError(28, 'No space left on device', 'a'), 'a: no space left'),
    (PermissionError(13, 'Permission denied'), 'a file of the run: no permission'),
    (FileNotFoundError(2, 'No such file or directory'), None), (OSError(9, 'Bad file descriptor', 'a'), None),
    (ValueError('a'), None)])
def test_errors_that_a_user_can_mend_are_one_line(error, line):
    assert as_line(error) == line
