"""Evaluation again after a training: with the run's own data alone."""

import json
import random

import pandas as pd
import pytest

import medjax
from tests import cli

pytestmark = pytest.mark.usefixtures('no_report')
HEADER = 'id,time,event,age,sex\n'


def patients(count, first=0):
    """Lines of patients without a split of their own; older ones have the event sooner."""
    rng = random.Random(first)
    lines = []
    for number in range(first, first + count):
        age = rng.randint(40, 79)
        time, event, sex = rng.expovariate(1) * (100 - age), rng.randint(0, 1), rng.choice('fm')
        lines.append(f'p{number:03d},{time:.3f},{event},{age},{sex}\n')
    return ''.join(lines)


def check_participants(found, table, cases):
    """Compares the characteristics that a run keeps with the raw table and the split of each patient."""
    rows = {(row['name'], row['level']): row['splits'] for row in found['characteristics']}
    for split, part in table.groupby(table['id'].map(lambda name: cases[name]['split'])):
        assert found['splits'][split] == {'patients': len(part), 'cases': len(part)}
        assert rows['age', ''][split]['median'] == part['age'].median()
        assert rows['sex', 'f'][split]['count'] == (part['sex'] == 'f').sum()
        assert rows['Event', 'event'][split]['count'] == part['event'].sum()


def test_a_table_that_has_grown_does_not_split_the_patients_again(tmp_path):
    """With new patients the random split is another one: patients that trained would be evaluated as test patients."""
    table, run = tmp_path / 'cohort.csv', tmp_path / 'run'
    table.write_text(HEADER + patients(60))
    done = medjax.train(dict(
        seed=0, steps=2, batch=8, model=dict(name='mlp', variant='linear', outputs=1, bias=False),
        task=dict(name='survival', loss='cox'), optim=dict(name='adam', lr=1e-2), evaluate=dict(name='survival'),
        data=dict(name='tabular', source=dict(name='survival_csv', dir=str(tmp_path), table='cohort.csv'))), run)
    before, kept = done.predictions, (run / 'participants.json').read_text()
    check_participants(json.loads(kept), pd.read_csv(table), json.loads((run / 'splits.json').read_text())['cases'])
    assert cli.run('evaluate', f'--workdir={run}').code == 0
    pd.testing.assert_frame_equal(medjax.load(run).predictions, before)
    files = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
    table.write_text(HEADER + patients(60) + patients(20, 60))
    ended = cli.run('evaluate', f'--workdir={run}')
    assert ended.code == 2 and ended.err.count('\n') == 1 and '20 new' in ended.err and 'in another split' in ended.err
    assert 'expected the same data, or another --workdir' in ended.err
    assert {path: path.read_bytes() for path in run.rglob('*') if path.is_file()} == files
    table.write_text(HEADER + patients(60).replace(',f\n', ',m\n', 1))  # one cell of one patient
    ended = cli.run('evaluate', f'--workdir={run}', '--split=train')
    assert ended.code == 2 and 'content or order' in ended.err
    table.write_text(HEADER + patients(60))
    (run / 'participants.json').unlink()  # as in a run of an earlier version
    assert cli.run('evaluate', f'--workdir={run}').code == 0
    assert (run / 'participants.json').read_text() == kept
    assert json.loads((run / 'splits.json').read_text())['cases'].keys() == {f'p{n:03d}' for n in range(60)}
