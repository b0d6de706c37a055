"""Two processes with two devices each are started once, and do all that is checked here; see worker.py."""

import json
import socket

import jax
import numpy as np
import pytest

from medjax.core import distributed, loop
from medjax.core.sharding import Jit
from medjax.errors import InputError
from tests import several
from tests.core import worker

HOST = socket.gethostname()


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """The folder of the two processes, what they found, and how they ended."""
    output = tmp_path_factory.mktemp('two')
    for name in ('straight', 'stopped'):
        (output / name).mkdir()
    ended = several.run('tests.core.worker', 2, output)
    files = [output / f'{number}.json' for number in range(2)]
    assert all(file.exists() for file in files), ended
    return output, [json.loads(file.read_text()) for file in files], ended


def test_what_processes_exchange_is_the_same_in_all(two):
    _, found, _ = two
    for own, result in enumerate(found):
        assert result['gathered'] == [0, 1] and result['first'] == 'from 0' and result['agreed'] == own
        assert result['failed'] == ['of 1', 'of 0']
        assert result['split'] == [[item, item % 2, [item % 2] * item] for item in range(5)]
        assert result['alone'] == [own, own]


def test_what_differs_between_processes_is_named_in_all(two):
    _, found, _ = two
    for result in found:
        assert result['equal'] == (f'devices: 3 in process 1 on {HOST}, 2 in process 0 on {HOST}; expected the same in '
                                   'all processes of a run')
        assert result['lacking'].startswith(f'more: nothing in process 1 on {HOST}, 2 in process 0 on {HOST}; ')
        assert result['equal again'] is None
        shared, apart = result['shared']
        assert shared is None and f'process 1 on {HOST} cannot see what process 0 on {HOST} writes there' in apart


def test_each_process_reads_the_rows_of_its_devices(two):
    _, found, _ = two
    first, second = (result['placed'] for result in found)
    assert first == {'data': [0, 4, True, [[2, 4]] * 2], 'fsdp': [0, 4, True, [[2, 4]] * 2],
                     'space': [0, 8, True, [[8, 1]] * 2], 'half': [0, 4, True, [[4, 2]] * 2]}
    assert {name: place[:3] for name, place in second.items()} == {
        'data': [4, 8, True], 'fsdp': [4, 8, True], 'space': [0, 8, True], 'half': [4, 8, True]}


def weights(made, folder, step):
    """All numbers of a checkpoint."""
    state = made.checkpoints(folder).restore(step, made.plan.abstract_state(made.abstract_state()))
    return jax.device_get(state)


def history(folder):
    lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != 'images_per_s'} for line in lines]


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """The same training by one process with four devices."""
    folder = tmp_path_factory.mktemp('alone')
    made = worker.experiment(Jit(data=2, fsdp=2, devices=jax.devices()[:4]))
    loop.train(made, folder, say=lambda line: None)
    return made, folder


def test_two_processes_train_as_one_does(two, alone):
    output, _, _ = two
    made, folder = alone
    ours, one = history(output / 'straight'), history(folder)
    assert [line.keys() for line in ours] == [line.keys() for line in one] and len(one) == worker.STEPS + 2
    for line, other in zip(ours, one):
        np.testing.assert_allclose(list(line.values()), list(other.values()), rtol=1e-5)
    assert one[0]['train/loss'] > one[-2]['train/loss']
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                 weights(made, output / 'straight', worker.STEPS), weights(made, folder, worker.STEPS))
    assert len(list((output / 'straight' / 'tensorboard').iterdir())) == 1  # process 0 alone writes


def test_all_processes_pass_over_a_damaged_checkpoint(two, alone):
    output, found, _ = two
    for result in found:
        said = [line for line in result['damaged'] if 'damaged checkpoint' in line]
        assert len(said) == 1 and 'set_aside/6; resuming from step 4' in said[0]
    assert (output / 'damaged' / 'checkpoints' / 'set_aside' / '6').is_dir()
    jax.tree.map(np.testing.assert_array_equal, weights(alone[0], output / 'damaged', worker.STEPS),
                 weights(alone[0], output / 'straight', worker.STEPS))


def test_a_signal_to_one_process_stops_all_at_the_same_step(two):
    output, (first, second), _ = two
    assert first['finished'] is second['finished'] is False
    assert first['at'] == second['at'] and 2 < first['at'] < worker.LONG
    assert first['lines'][-1].startswith(f'SIGTERM: saved step {first["at"]} of {worker.LONG}')
    # One process resumes what two have begun.
    made = worker.experiment(Jit(devices=jax.devices()[:4]), steps=first['at'] + 1)
    said = []
    assert loop.train(made, output / 'stopped', say=said.append)
    assert f'resuming from step {first["at"]} of {first["at"] + 1}' in said


def test_an_error_in_one_process_ends_all_with_its_cause(two):
    output, _, (first, second) = two
    cause = f'{output}/gone: no such file or folder; expected it to stay there while the command runs'
    assert first.code == second.code == 2
    assert first.err.splitlines()[-1] == f'medjax: process 1 on {HOST}: {cause}'
    assert second.err.splitlines()[-1] == f'medjax: {cause}'
    assert 'Traceback' not in first.err + second.err


@pytest.mark.parametrize('where, message', [
    ('machine', '--distributed=machine; expected'), ('a:1,2', 'NUMBER is 0 to COUNT - 1'),
    ('a:1,2,2', 'NUMBER is 0 to COUNT - 1'), ('a:x,1,0', 'port x: '),
    ('auto', r'no launcher was found \(no coordinator\)')])
def test_what_is_no_way_to_start_is_refused(monkeypatch, where, message):
    def initialize(**_):
        raise ValueError('no coordinator')  # as JAX does where it finds no launcher

    monkeypatch.setattr(jax.distributed, 'initialize', initialize)
    with pytest.raises(InputError, match=message), distributed.started(where):
        raise AssertionError


def test_a_port_in_use_is_refused():
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        with pytest.raises(InputError, match='Address already in use; expected a free one'), distributed.started(
                f'localhost:{other.getsockname()[1]},2,0'):
            raise AssertionError


@pytest.mark.parametrize('name', distributed.TASKS)
def test_several_tasks_of_a_launcher_need_the_option(monkeypatch, name):
    monkeypatch.setenv(name, '2')
    with pytest.raises(InputError, match=f'{name}: 2 processes, without --distributed; expected'), \
            distributed.started(''):
        raise AssertionError
    with distributed.started('none'):
        assert distributed.is_first() and not distributed.several()
    monkeypatch.setenv(name, '1')
    with distributed.started(''):
        assert distributed.gathered('a') == ['a'] and distributed.on_first(lambda: 1) == 1
