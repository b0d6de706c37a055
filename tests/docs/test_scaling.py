"""The pages on exactness and scaling: their result files, and predictions computed by hand."""

import dataclasses

import pytest
from results.processes import equality
from results.scaling import predict

from medjax.bench import collectives
from tests import test_several

H100 = next(machine for machine in predict.MACHINES if machine.name == 'H100')
TPU = next(machine for machine in predict.MACHINES if machine.name == 'TPU v5e')
IDEAL = dataclasses.replace(H100, near=0.0, far=0.0)


def row(kind, devices, size, distance=1, number=1):
    return {'kind': kind, 'devices': devices, 'bytes': size, 'distance': distance, 'number': number}


@pytest.mark.parametrize('found, expected', [
    (row('all-reduce', 8, 450e9), 2 * 7 / 8),  # within a node, over NVLink
    (row('all-gather', 8, 450e9), 7 / 8),
    (row('all-reduce', 64, 50e9), 2 * (7 / 8 * 50 / 450 + 7 / 8 / 8)),  # then each GPU with an eighth over its adapter
    (row('all-reduce', 8, 50e9, distance=8), 2 * 7 / 8),  # one GPU of each of 8 nodes
    (row('collective-permute', 2, 45e9), 0.1), (row('collective-permute', 2, 5e9, distance=8), 0.1)])
def test_the_time_of_an_operation(found, expected):
    assert predict.seconds(found, IDEAL) == pytest.approx(expected)
    assert predict.seconds(found, dataclasses.replace(IDEAL, near=1.0, far=1.0)) == pytest.approx(expected + 1)


def test_a_pod_is_one_group_and_two_are_not():
    inside, beyond = (predict.seconds(row('all-reduce', count, 1e9), TPU) for count in (256, 512))
    assert inside == pytest.approx(2 * 255 / 256 * 1e9 / 200e9 + 10e-6)
    assert beyond == pytest.approx(2 * (255 / 256 / 200 + 1 / 2 / 256 / 3.125) + 40e-6)


def test_efficiency_is_the_share_of_the_computation():
    work = IDEAL.peak * IDEAL.used  # operations in a second
    points = {'a:data:8': {'batch': 8, 'flops': work, 'collectives': [row('all-reduce', 8, 450e9 * 4 / 7)]},
              'a:data:64': {'batch': 64, 'flops': work, 'collectives': []}}
    assert predict.efficiency(points, 'a:data:8', IDEAL) == pytest.approx((0.5, 1.0))
    assert predict.efficiency(points, 'a:data:64', IDEAL) == pytest.approx((1.0, 1.0))
    assert predict.efficiency(points, 'a:data:64', IDEAL, strong=True) is None  # 8 examples for 64 devices


def test_the_exchange_of_data_parallelism_is_that_of_the_gradients():
    points = predict.read()['points']
    assert {name.split(':')[0] for name in points} <= set(collectives.MODELS)
    for name, point in points.items():
        assert point['in_loops'] == 0, name
        if ':data:' in name:
            reduced = sum(found['bytes'] for found in point['collectives'] if found['kind'] == 'all-reduce')
            assert 4 * point['parameters'] <= reduced <= 4.1 * point['parameters'], name


def test_tables_have_a_row_for_each_entry():
    points = predict.read()['points']
    for text in (predict.bytes_table(), predict.efficiency_table()):
        assert len(text.splitlines()) == len(points) + 2
    found = equality.read()
    assert set(found['families']) == {*test_several.FAMILIES, *test_several.OTHERS}
    assert all(set(layouts) == {'2x2', '4x1'} for layouts in found['families'].values())
    text = equality.markdown(found)
    assert text.count('| equal |') == 2 * len(found['families']) and 'not equal' not in text
    assert all(entry['share'] <= 5e-3 for layouts in found['families'].values() for entry in layouts.values())
