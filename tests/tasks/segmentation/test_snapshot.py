"""Damaged snapshots of segmentation."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.tasks.segmentation.snapshot import load


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut short', None])
def test_a_damaged_snapshot_is_named(tmp_path, content):
    path = tmp_path / 'head.npz'
    if content is None:
        three = np.zeros((2, 2, 2))
        np.savez(path, image=three, label=three[:1], pred=three, spacing=np.ones(3), kind='volume')
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match='head.npz'):
        load(path)
