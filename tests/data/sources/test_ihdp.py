"""IHDP's simulation: Hill's surfaces as defined, who is left out, what is seeded; with econml's table where it is."""

import csv
import importlib.util

import numpy as np
import pytest

from medjax.data.datasets.tabular import dataset
from medjax.data.sources import ihdp
from medjax.errors import InputError

NAMES = ('treat', 'momwhite', *ihdp.CONTINUOUS, *ihdp.BINARY)


@pytest.fixture
def econml(tmp_path, monkeypatch):
    """A package of that name which must not be imported, with a table of 200 children."""
    rng, folder = np.random.default_rng(0), tmp_path / 'econml' / 'data' / 'ihdp'
    folder.mkdir(parents=True)
    (tmp_path / 'econml' / '__init__.py').write_text('raise ImportError')
    with (folder / 'sim.csv').open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        for _ in range(200):
            writer.writerow([*rng.integers(0, 2, 2), *rng.normal(100, 20, 6).round(1), *rng.integers(0, 2, 19)])
    monkeypatch.syspath_prepend(tmp_path)
    return folder / 'sim.csv'


def targets(source):
    return np.array([[c.target.treatment, c.target.outcome, c.target.mu0, c.target.mu1] for c in source.cases]).T


def test_the_surfaces_are_hills():
    rng, x = np.random.default_rng(1), np.random.default_rng(0).normal(size=(50, 25))
    treatment = np.arange(50) % 3 == 0
    mu0, mu1 = ihdp.surface(x, treatment, 'A', rng)
    beta = np.random.default_rng(1).choice(range(5), 25, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    np.testing.assert_allclose(mu0, x @ beta)
    np.testing.assert_allclose(mu1 - mu0, 4)
    mu0, mu1 = ihdp.surface(x, treatment, 'B', np.random.default_rng(1))
    beta = np.random.default_rng(1).choice([0, 0.1, 0.2, 0.3, 0.4], 25, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(mu0, np.exp(x @ beta + 0.5 * beta.sum()))
    assert np.ptp(mu1 - x @ beta) < 1e-9 and (mu1 - mu0)[treatment].mean() == pytest.approx(4)
    assert np.std(mu1 - mu0) > 0.5


def test_a_realisation(econml):
    source, again, other = (ihdp.source(realisation=number) for number in (3, 3, 4))
    with econml.open(newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['treat'] == '0' or row['momwhite'] == '1']
    treatment, outcome, mu0, mu1 = targets(source)
    assert treatment.tolist() == [int(row['treat']) for row in rows] and 0.2 < treatment.mean() < 0.45
    assert list(source.cases[0].record) == [*ihdp.CONTINUOUS, *ihdp.BINARY]  # the mother's race is not among them
    assert (mu1 - mu0)[treatment == 1].mean() == pytest.approx(4)
    noise = outcome - np.where(treatment == 1, mu1, mu0)
    assert 0.8 < noise.std() < 1.2 and abs(noise.mean()) < 0.3
    assert again == source and other.cases[0].target != source.cases[0].target
    splits = [[case.split for case in one.cases] for one in (source, other)]
    assert splits[0] != splits[1] and splits[0].count('test') == round(0.1 * len(rows))
    data = dataset(source)
    shares = [data.outcomes['treatment'][data.numbers(split)].mean() for split in ('train', 'val', 'test')]
    assert max(shares) - min(shares) < 0.05
    assert np.ptp(np.diff(targets(ihdp.source(response_surface='A'))[2:], axis=0)) < 1e-9


@pytest.mark.parametrize('options, said', [
    (dict(response_surface='C'), 'config.data.source.response_surface'),
    (dict(realisation=-1), 'config.data.source.realisation')])
def test_invalid_input_is_refused(econml, options, said):
    with pytest.raises(InputError, match=said):
        ihdp.source(**options)


def test_another_or_missing_table_is_refused(econml, monkeypatch):
    econml.write_text('treat,momwhite\n1,1\n')
    with pytest.raises(InputError, match='expected the table sim.csv of econml'):
        ihdp.source()
    econml.unlink()
    with pytest.raises(InputError, match='pip install econml --no-deps'):
        ihdp.source()


def test_the_children_of_econmls_table():
    if importlib.util.find_spec('econml') is None:
        pytest.skip('econml is not installed')
    x, treatment = ihdp._children(ihdp._path())
    assert x.shape == (747, 25) and treatment.sum() == 139
    assert set(np.unique(x[:, len(ihdp.CONTINUOUS):])) == {0, 1} and not np.isnan(x).any()
    effects = [np.subtract(*targets(ihdp.source(realisation=number))[:1:-1]) for number in range(5)]
    assert all(abs(effect[treatment == 1].mean() - 4) < 1e-9 and effect.std() > 0.1 for effect in effects)
