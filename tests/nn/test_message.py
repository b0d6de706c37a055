"""Message passing, compared with a loop over bonds, and invariance to the order of atoms and to padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.nn.message import MessagePassing, incidence, reverse_bonds

BONDS = np.array([[[0, 1], [1, 2], [2, 0], [2, 3], [-1, -1]], [[0, 1], [-1, -1], [-1, -1], [-1, -1], [-1, -1]]])
COUNT = (4, 2)


def graphs(seed=0, atoms=5):
    rng = np.random.default_rng(seed)
    mask = (np.arange(atoms) < np.array(COUNT)[:, None]).astype(np.float32)
    return (rng.normal(size=(2, atoms, 3)).astype(np.float32) * mask[..., None], mask, BONDS,
            rng.normal(size=(2, 5, 2)).astype(np.float32))


def build(directed):
    model = MessagePassing(width=6, depth=3, directed=directed)
    return model, jax.jit(lambda v, *of: model.apply(v, *of, False)), model.init(jax.random.key(1), *graphs(), False)


def by_loop(params, atoms, bonds, features, directed):
    """One graph without padding, bond by bond."""
    def dense(name, x):
        return x @ params[name]['kernel'] + params[name].get('bias', 0)

    def relu(x):
        return np.maximum(x, 0)

    index = {(a, b): k for k, (a, b) in enumerate(bonds)}
    index.update({(b, a): k for k, (a, b) in enumerate(bonds)})
    if directed:
        first = {(a, b): dense('enter', np.concatenate([atoms[a], features[k]])) for (a, b), k in index.items()}
        state = {e: relu(x) for e, x in first.items()}
        for _ in range(2):
            state = {(a, b): relu(first[a, b] + dense('message', sum(
                (state[u, w] for u, w in index if w == a and u != b), np.zeros(6)))) for a, b in index}
        incoming = [sum((state[u, w] for u, w in index if w == n), np.zeros(6)) for n in range(len(atoms))]
    else:
        first = dense('enter', atoms)
        state = relu(first)

        def incoming_messages(n):
            return sum((relu(dense('send', np.concatenate([state[u], features[k]]))) for (u, w), k in index.items()
                        if w == n), np.zeros(6))
        for _ in range(2):
            state = np.stack([relu(first[n] + dense('message', incoming_messages(n))) for n in range(len(atoms))])
        incoming = [incoming_messages(n) for n in range(len(atoms))]
    return np.stack([relu(dense('leave', np.concatenate([x, h]))) for x, h in zip(atoms, incoming)])


@pytest.mark.parametrize('directed', [True, False])
def test_equal_to_a_loop_with_any_padding(directed):
    _, apply, variables = build(directed)
    atoms, mask, bonds, features = graphs()
    got = np.asarray(apply(variables, atoms, mask, bonds, features))
    params = jax.tree.map(np.asarray, variables['params'])
    for n, (count, bond_count) in enumerate(zip(COUNT, (4, 1))):
        want = by_loop(params, atoms[n, :count], bonds[n, :bond_count], features[n, :bond_count], directed)
        np.testing.assert_allclose(got[n, :count], want, atol=1e-5)
        assert not got[n, count:].any()
    changed = np.where(bonds[..., :1] >= 0, features, 7.0)  # other content of the padding
    np.testing.assert_array_equal(apply(variables, atoms + 9 * (1 - mask[..., None]), mask, bonds, changed), got)


@pytest.mark.parametrize('directed', [True, False])
def test_invariance_to_the_order_of_atoms_and_the_direction_of_bonds(directed):
    _, apply, variables = build(directed)
    atoms, mask, bonds, features = graphs()
    got = np.asarray(apply(variables, atoms, mask, bonds, features))
    order = np.array([2, 0, 3, 1, 4])  # old indices in the new order
    new = np.argsort(order)
    other = np.where(bonds >= 0, new[bonds], -1)[:, ::-1, ::-1]
    again = apply(variables, atoms[:, order], mask[:, order], other, features[:, ::-1])
    np.testing.assert_allclose(again, got[:, order], atol=1e-5)


def test_incidence_by_hand():
    matrices = incidence(jnp.array([[[0, 2], [-1, -1]]]), 3)
    values = jnp.array([[[1.0], [2.0], [4.0]]])
    assert matrices.gather(values)[0, :, 0].tolist() == [1, 0, 4, 0]  # forward, padding, backward, padding
    assert matrices.sum_incoming(jnp.array([[[10.0], [99.0], [30.0], [99.0]]]))[0, :, 0].tolist() == [30, 0, 10]
    assert reverse_bonds(jnp.arange(4.0)[None, :, None])[0, :, 0].tolist() == [2, 3, 0, 1]
