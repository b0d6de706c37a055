"""Networks on molecules: neither the order of atoms nor padding changes what comes out."""

import jax
import numpy as np
import pytest

from medjax.data.datasets import molecules
from medjax.errors import InputError
from medjax.models import mpnn, smiles_encoder

pytest.importorskip('rdkit')
SAME = ('CC(=O)Nc1ccc(O)cc1', 'Oc1ccc(NC(C)=O)cc1')  # one molecule, its atoms in another order
OTHER = 'CC(=O)Oc1ccccc1'


def graphs(lines, **limits):
    known = {'form': 'graphs', 'atoms': 12, 'bonds': 12, 'descriptors': [], 'mean': [], 'std': [], **limits}
    return list(molecules.arrays(lines, known, lines).values())


def tokens(lines, length=24):
    known = {'form': 'tokens', 'length': length, 'vocabulary': list('CNOc()=1'), 'descriptors': [], 'mean': [],
             'std': []}
    return list(molecules.arrays(lines, known, lines).values())


def run(model, given):
    """Variables, and the network as one compiled function."""
    variables = jax.jit(lambda *of: model.init(jax.random.key(0), *of, train=False))(*given)
    return variables, jax.jit(lambda v, *of: model.apply(v, *of, train=False))


@pytest.mark.parametrize('directed, readout', [(True, 'both'), (False, 'mean')])
def test_a_graph_is_the_same_however_it_is_written_and_padded(directed, readout):
    model = mpnn.Model(outputs=2, width=8, depth=3, features=(8,), directed=directed, readout=readout)
    given = graphs([*SAME, OTHER])
    variables, apply = run(model, given)
    out, feats = apply(variables, *given)
    np.testing.assert_allclose(out[0], out[1], rtol=1e-4, atol=1e-5)
    assert abs(out[0] - out[2]).max() > 1e-3 and feats['atoms'].shape == (3, 12, 8)
    wider, _ = apply(variables, *graphs([*SAME, OTHER], atoms=20, bonds=15))
    np.testing.assert_allclose(wider, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('variant, pool', [('gru', 'sum'), ('transformer', 'attention')])
def test_padding_behind_a_smiles_does_not_count(variant, pool):
    model = smiles_encoder.Model(**{**smiles_encoder.VARIANTS[variant], 'outputs': 2, 'width': 8, 'tokens': 16, 'depth': 1, 'heads': 2,
                            'pool': pool, 'features': (8,)})
    given = tokens([SAME[0], OTHER])
    variables, apply = run(model, given)
    out, _ = apply(variables, *given)
    wider, _ = apply(variables, *tokens([SAME[0], OTHER], 30))
    np.testing.assert_allclose(wider, out, rtol=1e-4, atol=1e-5)
    assert abs(out[0] - out[1]).max() > 1e-4


def test_what_is_refused():
    for model, given, said in ((mpnn.Model(readout='max'), graphs(['C']), 'readout'),
                               (mpnn.Model(depth=0), graphs(['C']), 'depth=0'),
                               (smiles_encoder.Model(pool='max'), tokens(['C']), 'pool')):
        with pytest.raises(InputError, match=said):
            jax.eval_shape(lambda model=model, given=given: model.init(jax.random.key(0), *given, train=False))
