"""Messages: a line that a terminal prints, whatever a file's bytes are."""

from medjax.errors import InputError


def test_characters_that_cannot_be_printed_are_escaped():
    assert str(InputError('/a/b\x1b[2J\x07.raw: no\nsuch\tfile é 猫')) == '/a/b\\x1b[2J\\x07.raw: no such file é 猫'
    assert str(InputError('undecodable \udcff')) == 'undecodable \\udcff'
