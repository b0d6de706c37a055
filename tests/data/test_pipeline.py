import itertools

import numpy as np
import pytest

from medjax.data import pipeline
from medjax.errors import InputError

SIZE, BATCH = 10, 4  # no multiple of each other: batches cross the ends of epochs


class Items:
    """Ten items, each its number and a random draw."""

    def __len__(self):
        return SIZE

    def item(self, number, rng):
        return {'image': np.array([number, rng.random()], np.float64), 'id': f'item{number}'}


def batches(seed=3, batch=BATCH, **rows):
    return pipeline.Streamed(Items(), seed=seed, batch=batch, **rows)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def order(data, epoch):
    """The items of an epoch in the order in which they come."""
    steps = range(epoch * SIZE // BATCH, -(-(epoch + 1) * SIZE // BATCH))
    rows = [(index, item) for step in steps for index, item in zip(data[step]['index'], data[step]['image'][:, 0])]
    return [int(item) for index, item in rows if epoch * SIZE <= index < (epoch + 1) * SIZE]


def test_a_batch_has_the_entries_that_the_loop_needs():
    batch = batches()[7]
    assert {k: (v.shape, v.dtype.kind) for k, v in batch.items()} == {
        'image': ((4, 2), 'f'), 'id': ((4,), 'U'), 'index': ((4,), 'u'), 'mask': ((4,), 'f')}
    np.testing.assert_array_equal(batch['index'], [28, 29, 30, 31])
    assert batch['index'].dtype == np.uint32 and (batch['mask'] == 1).all()
    assert [f'item{int(n)}' for n in batch['image'][:, 0]] == list(batch['id'])


def test_a_batch_is_a_pure_function_of_the_step():
    one, other = batches(), batches()
    expected = {step: one[step] for step in (0, 1, 5, 40)}
    for step in (40, 1, 5, 0, 1):
        assert_same(one[step], expected[step])
        assert_same(other[step], expected[step])


@pytest.mark.parametrize('start, stop', [(0, 9), (1, 4), (3, 9), (8, 9), (5, 5), (1000, 1003)])
def test_the_stream_resumes_from_any_step(start, stop):
    data = batches()
    streamed = list(data.stream(start, stop))
    assert len(streamed) == stop - start
    for step, batch in enumerate(streamed, start):
        assert_same(batch, data[step])


def test_a_closed_stream_does_not_affect_the_next_one():
    data = batches()
    list(itertools.islice(data.stream(0, 100), 2))
    assert_same(next(data.stream(2, 100)), data[2])


@pytest.mark.parametrize('parts', [1, 2, 4])
def test_the_rows_of_all_processes_are_the_global_batch_in_its_order(parts):
    size = BATCH // parts
    streams = [batches(rows=range(part * size, (part + 1) * size)).stream(2, 9) for part in range(parts)]
    for step, shares in enumerate(zip(*streams, strict=True), 2):
        assert all(len(share['index']) == size for share in shares)
        assert_same({k: np.concatenate([share[k] for share in shares]) for k in shares[0]}, batches()[step])


def test_each_epoch_has_every_item_once_in_a_new_order():
    epochs = [order(batches(), epoch) for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(SIZE))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_random_choices_are_keyed_by_the_examples_number():
    data = batches()
    for step in (0, 3, 6):
        batch = data[step]
        drawn = [np.random.default_rng((3, int(index))).random() for index in batch['index']]
        np.testing.assert_array_equal(batch['image'][:, 1], drawn)
    # However examples are grouped, each is the same.
    assert_same(batches(batch=12)[1], {k: np.concatenate([data[s][k] for s in (3, 4, 5)]) for k in data[0]})


def test_another_seed_gives_other_batches():
    assert order(batches(seed=4), 0) != order(batches(seed=3), 0)
    assert not np.isin(batches(seed=4)[0]['image'][:, 1], batches(seed=3)[0]['image'][:, 1]).any()


def test_a_batch_larger_than_the_data_shows_items_again():
    batch = batches(batch=25)[0]
    assert np.bincount(batch['image'][:, 0].astype(int)).tolist().count(3) == 5
    assert len(set(batch['image'][:, 1])) == 25


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(InputError, match='config.seed: -1; expected 0..4294967295'):
        batches(seed=-1)
