"""Addresses of object storage are refused by every command in one line, and never become a local folder."""

import os

import pytest

from medjax import __main__ as commands
from medjax import assemble
from medjax.errors import InputError
from medjax.sweep import command as sweep
from medjax.sweep import submit
from tests import cli
from tests.conftest import ROOT
from tests.test_bad_input import fails

CONFIG = f'--config={ROOT}/configs/survive_gbsg_deepsurv.py:smoke'
GS, S3 = 'gs://bucket/run', 's3://bucket/run'
# The options of each command that name a file or a folder, with the others that it needs; VALUE is an address.
PLACES = {
    'inspect': [['VALUE'], ['a.nii', '--table=VALUE']],
    'train': [[CONFIG, '--workdir=VALUE'], [CONFIG, '--workdir=a', '--config.data.cache=VALUE'],
              [CONFIG, '--workdir=a', "--config.init.path='VALUE'"], [CONFIG, '--workdir', 'VALUE']],
    'evaluate': [['--workdir=VALUE'], ['--compare', 'a', 'VALUE'], ['--merge', '--workdir=VALUE', 'a', 'b'],
                 ['--ensemble', '--workdir=a', 'VALUE', 'b']],
    'predict': [['--workdir=VALUE', '--input=a', '--output=b'], ['--workdir=a', '--input=VALUE', '--output=b'],
                ['--workdir=a', '--input=b', '--output=VALUE'], ['--nnunet=VALUE', '--input=a', '--output=b']],
    'synthesise': [['--workdir=VALUE', '--output=a.npz'], ['--workdir=a', '--output=VALUE']],
    'export': [['--workdir=VALUE', '--output=a.zip'], ['--workdir=a', '--output=VALUE']],
    'serve': [['--workdir=VALUE'], ['--workdir=a', '--tmp=VALUE'], ['--workdir=a', '--datastore=VALUE']],
    'view': [['--workdir=VALUE']],
    'select': [['--workdir=VALUE', '--pool=a'], ['--workdir=a', '--pool=VALUE'],
               ['--workdir=a', '--pool=b', '--output=VALUE']],
    'listen': [['--workdir=VALUE', '--folder=a'], ['--workdir=a', '--folder=VALUE']],
    'plan': [['--data=VALUE', '--output=a.py'], ['--data=a', '--output=VALUE']],
    'convert': [['--nnunet=VALUE', '--output=a'], ['--splits=VALUE', '--output=a'], ['--nnunet=a', '--output=VALUE']],
    'report': [['--workdir=VALUE']],
    'response': [['--table=VALUE', '--output=a'], ['--table=a.csv', '--output=VALUE']],
    'bench': [['--json=VALUE']],
}


def test_the_table_of_places_has_every_command():
    assert PLACES.keys() == commands.COMMANDS.keys()


@pytest.mark.parametrize('address', [GS, S3])
@pytest.mark.parametrize('command', PLACES)
def test_every_command_refuses_addresses_of_object_storage(tmp_path, monkeypatch, command, address):
    monkeypatch.chdir(tmp_path)
    module = command if (ROOT / 'medjax' / f'{command}.py').exists() else f'{command}.__main__'
    for arguments in PLACES[command]:
        ended = cli.run(module, *(text.replace('VALUE', address) for text in arguments))
        fails(ended, f'an address that begins with {address[:5]}; expected a local path: mount the bucket')
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('main', [sweep.main, submit.main], ids=['sweep', 'submit'])
@pytest.mark.parametrize('arguments', [
    [CONFIG, f'--workdir={GS}'], [CONFIG, '--workdir=a', f'--config.data.cache={S3}'],
    [CONFIG, '--workdir=a', f"--setting=one: --config.init.path='{GS}'"], [f'--config={GS}', '--workdir=a']])
def test_sweeps_refuse_addresses_of_object_storage(tmp_path, monkeypatch, main, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match='an address that begins with (gs|s3)://; expected a local path'):
        main(arguments, '')
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('section, key, value', [
    ('data', 'cache', GS), ('data', 'cache', 'abfss://container@account/x'), ('init', 'path', S3),
    ('data', 'files', ('GS://bucket/a.npz',))])
def test_a_config_with_an_address_of_object_storage_is_refused(section, key, value):
    with pytest.raises(InputError, match=f'config.{section}.{key}=.*; expected a local path: mount the bucket'):
        assemble.check_keys({section: {key: value}})


def test_addresses_of_services_and_text_with_an_address_are_not_refused(tmp_path):
    ended = cli.run('listen.__main__', f'--workdir={tmp_path}', f'--folder={tmp_path}/f', '--pacs=https://localhost/a',
                    '--poll=1', '--query=StudyDate=20260101-')
    fails(ended, 'no config.json there')
    with pytest.raises(InputError, match='missing'):
        assemble.check_keys({'data': {'source': {'notice': 'From s3://bucket'}}})


def test_a_quotation_mark_without_the_other_one_is_refused(tmp_path):
    with pytest.raises(InputError, match='--setting: .*No closing quotation; expected words as in a shell'):
        sweep.main([CONFIG, f'--workdir={tmp_path}', "--setting=a: --config.steps='5"], '')
