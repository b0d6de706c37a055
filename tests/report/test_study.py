import pytest

from medjax import assemble, load_config
from medjax.errors import InputError
from medjax.report import study
from medjax.report.guidelines import GUIDELINES
from tests.conftest import ROOT


@pytest.mark.parametrize('section, message', [
    ({'reference_standart': 'CT'}, r"study\.reference_standart: unknown key; did you mean 'reference_standard'\?"),
    ({'ethics': 3}, r'config\.study\.ethics: 3; expected')])
def test_statements_are_checked_as_other_keys(section, message):
    config = load_config(ROOT / 'configs/segment_tumour_unet3d.py:smoke')
    config.study = section
    with pytest.raises(InputError, match=message):
        assemble.experiment(config)


def test_every_other_statement_answers_an_item():
    keys = {item.key for _, items in GUIDELINES.values() for item in items}
    assert keys == {'', *study.KEYS} - {'licence'}  # which the model card has


def test_statements_in_their_order():
    assert study.statements({'study': {'funding': 'None', 'objective': 'A test', 'ethics': ''}}) == {
        'objective': 'A test', 'funding': 'None'}
    assert study.statements({}) == {} and study.label('de_identification') == 'De-identification'
