"""Settings of a sweep and the arguments of its runs."""

import pytest

from medjax.errors import InputError
from medjax.sweep import command, settings
from tests.conftest import ROOT


def runs(tmp_path, *arguments):
    return settings.runs(command.parse(command.parser(''), [f'--workdir={tmp_path}', *arguments]), tmp_path)


def test_settings_are_all_combinations():
    found = settings.settings(['optim.lr=1e-3,3e-4', 'data.patch=(32,32),(64,64)', 'config=configs/a.py'])
    assert list(found) == [f'optim.lr={lr}_data.patch=({n},{n})_config=configs-a.py' for lr in ('1e-3', '3e-4')
                           for n in (32, 64)]
    assert found['optim.lr=3e-4_data.patch=(32,32)_config=configs-a.py'] == [
        '--config.optim.lr=3e-4', '--config.data.patch=(32,32)', '--config=configs/a.py']
    assert settings.settings([]) == {'': []}
    named = settings.settings(['seed=1,2'], ["all/real: --config.a='x y' --config.b=2", 'none:'])
    assert list(named) == ['all/real_seed=1', 'all/real_seed=2', 'none_seed=1', 'none_seed=2']
    assert named['all/real_seed=1'] == ['--config.a=x y', '--config.b=2', '--config.seed=1']


@pytest.mark.parametrize('grids', [['optim.lr'], ['=1'], ['a=1,'], ['a=1,1'], ['a=1', 'a=2']])
def test_a_grid_without_values_is_refused(grids):
    with pytest.raises(InputError, match='expected KEY=VALUE,VALUE with different values, and each key once'):
        settings.settings(grids)


@pytest.mark.parametrize('named', [['a: x', 'a: y'], [': x'], ['../a: x'], ['/a: x'], ['a//b: x'], ['a b: x']])
def test_a_setting_without_a_valid_name_is_refused(named):
    with pytest.raises(InputError, match='different names that are valid folders'):
        settings.settings([], named)


def test_runs_are_every_setting_with_every_seed_and_fold(tmp_path):
    found = runs(tmp_path, '--config=c.py', '--grid=optim.lr=1,2', '--seeds=2', '--folds=3', '--config.steps=5')
    assert len(found) == len({run.folder for run in found}) == 12
    assert found[-1].folder == tmp_path / 'optim.lr=2' / 'fold2_seed1' and found[-1].pair == (1, 2)
    # The config first: its keys are changed in the order of the arguments.
    assert found[-1].arguments == ('--config=c.py', '--config.optim.lr=2', '--config.steps=5', '--config.seed=1',
                                   '--config.data.folds=(3,4)', '--config.data.fold=(2,0)')


def test_arguments_may_name_seed_and_fold(tmp_path):
    found = runs(tmp_path, '--setting=a: --config=c.py --config.x=in/{fold}', '--seeds=2', '--folds=2',
                 '--config.data.subset_seed={seed}')
    assert found[-1].arguments[:3] == ('--config=c.py', '--config.x=in/1', '--config.data.subset_seed=1')
    assert [run.folder.name for run in runs(tmp_path, '--config=c.py', '--seeds=2')] == ['seed0', 'seed1']


@pytest.mark.parametrize('argument, message', [
    ('--grid=optim.lrr=1,2', "setting optim.lrr=1: config.optim.lrr: unknown key; did you mean 'lr'"),
    ('--grid=optim.lr=1e-3,-1', 'setting optim.lr=-1: config.optim.lr: -1.0; expected a number of at least 0'),
    ('--setting=b: --config.data.source.x=1', 'setting b: config.data.source.x: unknown key'),
    ('--config.nothing.x=1', "--config.nothing.x: the config has no section 'nothing'"),
    ('--grid=config=configs/none.py', 'none.py')])
def test_keys_that_no_config_has_are_refused_without_reading_data(tmp_path, argument, message):
    config = [] if 'grid=config' in argument else [f'--config={ROOT}/configs/survive_gbsg_deepsurv.py']
    with pytest.raises(InputError, match=message):
        settings.check(runs(tmp_path, *config, argument, '--folds=3'))
