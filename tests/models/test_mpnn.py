"""Message-passing networks: invariance to the order of atoms and to padding."""

import jax
import numpy as np
import pytest

from medjax.data.datasets import molecules
from medjax.errors import InputError
from medjax.models import mpnn

pytest.importorskip('rdkit')
SAME = ('CC(=O)Nc1ccc(O)cc1', 'Oc1ccc(NC(C)=O)cc1')  # the same molecule with atoms in another order
OTHER = 'CC(=O)Oc1ccccc1'


def graphs(lines, **limits):
    known = {'representation': 'graphs', 'max_atoms': 12, 'max_bonds': 12, 'descriptors': [], 'mean': [], 'std': [],
             **limits}
    return list(molecules.encode(lines, known, lines).values())


def compile_network(model, inputs):
    """Variables, and the compiled network."""
    variables = jax.jit(lambda *args: model.init(jax.random.key(0), *args, train=False))(*inputs)
    return variables, jax.jit(lambda v, *args: model.apply(v, *args, train=False))


@pytest.mark.parametrize('directed, readout', [(True, 'both'), (False, 'mean')])
def test_invariance_to_the_order_of_atoms_and_to_padding(directed, readout):
    model = mpnn.Model(outputs=2, width=8, depth=3, features=(8,), directed=directed, readout=readout)
    inputs = graphs([*SAME, OTHER])
    variables, apply = compile_network(model, inputs)
    out, feats = apply(variables, *inputs)
    np.testing.assert_allclose(out[0], out[1], rtol=1e-4, atol=1e-5)
    assert abs(out[0] - out[2]).max() > 1e-3 and feats['atoms'].shape == (3, 12, 8)
    padded, _ = apply(variables, *graphs([*SAME, OTHER], max_atoms=20, max_bonds=15))
    np.testing.assert_allclose(padded, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('fields, message', [(dict(readout='max'), 'readout'), (dict(depth=0), 'depth=0')])
def test_invalid_fields_raise(fields, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: mpnn.Model(**fields).init(jax.random.key(0), *graphs(['C']), train=False))
