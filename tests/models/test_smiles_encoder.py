"""SMILES encoders: invariance to padding."""

import jax
import numpy as np
import pytest

from medjax.data.datasets import molecules
from medjax.errors import InputError
from medjax.models import smiles_encoder

pytest.importorskip('rdkit')
LINES = ['CC(=O)Nc1ccc(O)cc1', 'CC(=O)Oc1ccccc1']


def tokens(lines, length=24):
    known = {'representation': 'tokens', 'max_length': length, 'vocabulary': list('CNOc()=1'), 'descriptors': [],
             'mean': [], 'std': []}
    return list(molecules.encode(lines, known, lines).values())


@pytest.mark.parametrize('variant, pool', [('gru', 'sum'), ('transformer', 'attention')])
def test_invariance_to_padding(variant, pool):
    fields = {**smiles_encoder.VARIANTS[variant], 'outputs': 2, 'width': 8, 'tokens': 16, 'depth': 1, 'heads': 2,
              'pool': pool, 'features': (8,)}
    model, inputs = smiles_encoder.Model(**fields), tokens(LINES)
    variables = jax.jit(lambda *args: model.init(jax.random.key(0), *args, train=False))(*inputs)
    apply = jax.jit(lambda v, *args: model.apply(v, *args, train=False))
    out, _ = apply(variables, *inputs)
    padded, _ = apply(variables, *tokens(LINES, 30))
    np.testing.assert_allclose(padded, out, rtol=1e-4, atol=1e-5)
    assert abs(out[0] - out[1]).max() > 1e-4


def test_an_unknown_pooling_raises():
    with pytest.raises(InputError, match='pool'):
        jax.eval_shape(lambda: smiles_encoder.Model(pool='max').init(jax.random.key(0), *tokens(['C']), train=False))
