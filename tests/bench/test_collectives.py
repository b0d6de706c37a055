"""What devices exchange, read from the text of programs: of some whose exchange is known, and of compiled ones."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from medjax.bench.collectives import Collective, collectives, summary

TEXT = '''
  %all-reduce.1 = (f32[3,4]{1,0}, /*index=1*/pred[]) all-reduce(%a, %b), replica_groups={{0,2},{1,3}}, to_apply=%add
  ROOT %all-gather.2 = bf16[8,4]{1,0} all-gather(%c), replica_groups=[2,4]<=[4,2]T(1,0), dimensions={0}
  %reduce-scatter.3 = f32[2]{0} reduce-scatter(%d), replica_groups=[1,8]<=[8], dimensions={0}
  %collective-permute.4 = f32[5]{0} collective-permute(%e), source_target_pairs={{0,1},{1,2}}
  %all-to-all.5 = s8[7]{0} all-to-all(%f), replica_groups=mesh['data'=4,'space'=2] {'space'}
  %all-gather.8 = f32[9]{0} all-gather(%i), replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}
  %all-reduce-start.6 = f32[6]{0} all-reduce-start(%g), replica_groups={}, to_apply=%add
  %all-reduce-done.6 = f32[6]{0} all-reduce-done(%all-reduce-start.6)
  %all-gather-start.7 = (f32[2]{0}, f32[16]{0}) all-gather-start(%h), replica_groups=[1,8]<=[8], dimensions={0}
  %all-gather-done.7 = f32[16]{0} all-gather-done(%all-gather-start.7)
'''


def test_kinds_groups_and_bytes_are_read():
    assert collectives(TEXT, 8) == [
        Collective('all-reduce', (0, 2), 3 * 4 * 4 + 1), Collective('all-gather', (0, 2, 4, 6), 8 * 4 * 2),
        Collective('reduce-scatter', tuple(range(8)), 2 * 4 * 8), Collective('collective-permute', (0, 1), 5 * 4),
        Collective('all-to-all', (0, 1), 7), Collective('all-gather', (0, 1), 9 * 4),
        Collective('all-reduce', tuple(range(8)), 6 * 4),
        Collective('all-gather', tuple(range(8)), 16 * 4)]
    rows = summary(collectives(TEXT, 8) * 2)
    assert rows[0] == {'kind': 'all-gather', 'devices': 4, 'distance': 2, 'number': 2, 'bytes': 128}
    assert sum(row['number'] for row in rows) == 16


def test_a_group_that_is_not_understood_is_an_error():
    with pytest.raises(ValueError, match='written in an unknown way'):
        collectives('  %a = f32[3] all-reduce(%b), replica_groups=new', 8)


@pytest.mark.parametrize('sharded, expected', [
    ('sum', [Collective('all-reduce', tuple(range(0, 8, 2)), 16 * 4)]),  # over the rows, which `data` divides
    ('whole', [Collective('all-gather', tuple(range(0, 8, 2)), 8 * 16 * 4)])])
def test_a_compiled_program_exchanges_what_it_must(sharded, expected):
    mesh = Mesh(np.array(jax.devices()[:8]).reshape(4, 2), ('data', 'space'), axis_types=(AxisType.Auto,) * 2)
    rows = jax.ShapeDtypeStruct((8, 16), np.float32, sharding=NamedSharding(mesh, PartitionSpec('data')))
    program = jax.jit(lambda x: x.sum(0) if sharded == 'sum' else x * 2,
                      out_shardings=NamedSharding(mesh, PartitionSpec()))
    assert collectives(program.lower(rows).compile().as_text(), 8) == expected
