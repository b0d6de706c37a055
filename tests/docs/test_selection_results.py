"""The simulated annotation: its result file, its table, and the learner that made it."""

import json

import numpy as np
from results.selection import simulate

from medjax.statistics import selection
from tests.conftest import ROOT


def test_the_table_has_the_means_of_the_file():
    found = json.loads(simulate.PATH.read_text())
    assert set(found['auroc']) == set(selection.STRATEGIES) and found['labels'] == list(simulate.LABELS)
    text = simulate.markdown()
    for strategy, curves in found['auroc'].items():
        values = np.array(curves)
        assert values.shape == (simulate.SEEDS, len(simulate.LABELS)) and (values[:, 0] == [
            curve[0] for curve in found['auroc']['random']]).all()  # all strategies start alike
        assert f'| {strategy} | {values[:, 0].mean():.3f} ± {values[:, 0].std(ddof=1):.3f} |' in text
    assert '<!-- results: selection -->' in (ROOT / 'docs' / 'howto' / 'annotate.md').read_text()


def test_a_simulation_adds_the_labels_of_each_strategy(monkeypatch):
    monkeypatch.setattr(simulate, 'LABELS', (4, 6))
    monkeypatch.setattr(simulate, 'POOL', 20)
    monkeypatch.setattr(simulate, 'SEEDS', 1)
    monkeypatch.setattr(simulate, 'STEPS', 2)
    rng = np.random.default_rng(0)
    data = {f'{split}_images': rng.integers(0, 255, (24, 28, 28), np.uint8) for split in ('train', 'test')}
    data |= {f'{split}_labels': np.arange(24)[:, None] % 2 for split in ('train', 'test')}
    found = simulate.simulate(data)
    assert set(found) == set(selection.STRATEGIES)
    assert all(len(curves) == 1 and len(curves[0]) == 2 and min(curves[0]) >= 0 for curves in found.values())
    assert len({curves[0][0] for curves in found.values()}) == 1
