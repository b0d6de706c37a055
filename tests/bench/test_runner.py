"""Comparisons against hand calculations, and one comparison through real processes."""

import json

import pytest

from medjax.bench import runner
from medjax.bench.jobs import JOBS
from medjax.bench.side import Job
from medjax.errors import InputError
from tests import cli


def one(*times, memory=100.0, first=5.0, parameters=1000, flops=0.0):
    return {'times': list(times), 'memory_mb': memory, 'first_s': first, 'parameters': parameters, 'flops': flops,
            'settings': ''}


def job(value='ratio', goal=1.0, own=('medjax',), peers=('torch', 'other')):
    return Job('a job', dict.fromkeys(own), dict.fromkeys(peers), goal, value)


def test_the_ratio_is_of_medians_against_the_fastest_peer():
    found = runner.summarise(job(), {'medjax': [one(1, 2, 9, flops=4e9), one(3, 3, 3)],
                                     'torch': [one(5, 5), one(6, 6)], 'other': [one(9), one(9)]}, {})
    assert found['medjax_s'] == 2.5 and found['peer'] == 'torch' and found['peer_s'] == 5.5
    assert found['ratio'] == pytest.approx(2.2) and found['met']
    assert found['ratio_range'] == [pytest.approx(5 / 3), pytest.approx(6 / 2)]
    assert found['gflops'] == pytest.approx(4 / 2.5) and found['peer_gflops'] == pytest.approx(4 / 5.5)


def test_ratios_of_memory_and_first_steps():
    sides = {'medjax': [one(1, memory=200, first=8)], 'torch': [one(1, memory=300, first=4)]}
    assert runner.summarise(job('memory', 2.0), sides, {})['ratio'] == 1.5
    assert not runner.summarise(job('memory', 2.0), sides, {})['met']
    assert runner.summarise(job('first', 0.5), sides, {})['ratio'] == 0.5


def test_a_share_is_of_the_first_side():
    found = runner.summarise(job('share', 0.1, own=('step', 'part'), peers=()),
                             {'step': [one(10)], 'part': [one(2)]}, {})
    assert found['share'] == pytest.approx(0.2) and not found['met']


def test_own_time_in_milliseconds():
    found = runner.summarise(job('ms', 1.0, peers=()), {'medjax': [one(0.0004, 0.0006)]}, {})
    assert found['ms'] == pytest.approx(0.5) and found['met']


def test_medjax_itself_is_not_skipped():
    with pytest.raises(InputError, match='not measured: no space'):
        runner.summarise(job(), {'torch': [one(1)]}, {'medjax': 'no space'})


def test_networks_of_other_sizes_are_refused():
    with pytest.raises(InputError, match='expected a difference of at most 1 %'):
        runner.summarise(job(), {'medjax': [one(1)], 'torch': [one(1, parameters=1020)]}, {})


def test_an_absent_peer_is_named_and_the_others_count():
    found = runner.summarise(job(), {'medjax': [one(1)], 'other': [one(3)]}, {'torch': 'no torch'})
    assert found['peer'] == 'other' and found['skipped'] == {'torch': 'no torch'}
    found = runner.summarise(job(), {'medjax': [one(1)]}, {'torch': 'no torch', 'other': 'slow'})
    assert 'ratio' not in found and found['met'] is None


def test_a_job_through_the_command(tmp_path):
    out, picture = tmp_path / 'out.json', tmp_path / 'out.png'
    ended = cli.process('bench', 'matmul', '--rounds=1', '--seconds=0', f'--json={out}', f'--plot={picture}')
    assert ended.code == 0, ended.err
    found = json.loads(out.read_text())
    assert found['machine']['cores'] and 0 < found['matmul']['medjax_s'] < 60
    assert 'medjax' in ended.out and picture.read_bytes()[:4] == b'\x89PNG'
    assert found['matmul'].get('ratio', 1) > 0 and ('ratio' in found['matmul']) != ('skipped' in found['matmul'])


def test_an_unknown_name_is_refused():
    ended = cli.process('bench', 'train_unet4d')
    assert ended.code == 2 and 'train_unet4d' in ended.err and 'train_unet3d' in ended.err


def test_an_unknown_peer_format_or_device_is_refused():
    for option in ('--against=troch', '--plot=out.xyz', '--device=gpu'):
        ended = cli.process('bench', 'matmul', option)
        assert ended.code == 2 and option.split('=')[0] in ended.err


def test_all_documented_jobs_exist():
    assert set(JOBS) >= {'train_unet2d', 'train_unet3d', 'train_resnet18', 'train_densenet121', 'window_unet2d',
                         'window_unet3d', 'augment_2d', 'augment_3d', 'augment_share', 'metrics', 'read', 'start',
                         'host'}
