"""StarDist's image of nuclei: strips of a distribution made by hand."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image as Picture

from medjax.data.datasets.detection import dataset
from medjax.data.sources import stardist_nuclei
from medjax.errors import InputError


def packed(path, **arrays):
    """A source distribution with the arrays as its pictures."""
    with tarfile.open(path, 'w:gz') as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            Picture.fromarray(array).save(content, 'tiff')
            entry = tarfile.TarInfo(f'stardist-0.9.2/stardist/data/images/{name}2d.tif')
            entry.size = len(content.getvalue())
            file.addfile(entry, io.BytesIO(content.getvalue()))


@pytest.fixture
def folder(tmp_path):
    mask = np.zeros((20, 48), np.uint16)
    mask[2:6, 1:5] = 3
    mask[6:8, 5:9] = 1  # touches number 3 at a corner
    mask[10:14, 10:14] = 7  # half in the first strip, half in the second
    mask[1:5, 23:29] = 4  # a sixth in the second, the rest in the third
    mask[15:19, 40:47] = 300
    packed(tmp_path / 'stardist-0.9.2.tar.gz', img=mask * 50 + np.arange(48, dtype=np.uint16), mask=mask)
    return tmp_path


def test_each_strip_has_its_nuclei(folder, tmp_path):
    found = stardist_nuclei.source(dir=str(folder))
    assert [(case.id, case.split) for case in found.cases] == [
        ('strip0', 'train'), ('strip1', 'train'), ('strip2', 'val'), ('strip3', 'test')]
    assert [case.target.boxes.tolist() for case in found.cases] == [
        [[6, 5, 8, 9], [2, 1, 6, 5], [10, 10, 14, 12]], [[10, 0, 14, 2]], [[1, 0, 5, 5]], [[15, 4, 19, 11]]]
    data = dataset(found, size=(20, 12), intensity={'name': 'zscore'}, cache=str(tmp_path / 'cache'))
    image = data.images([3])[0, ..., 0]
    assert image[15:19, 4:11].min() > 2 * image[:15].max()
    assert 'one image' in data.notice


def test_other_archives_are_refused(folder):
    with pytest.raises(InputError, match='none.tar.gz: .*pip download stardist'):
        stardist_nuclei.source(dir=str(folder), file='none.tar.gz')
    packed(folder / 'other.tar.gz', img=np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match='other.tar.gz: .*mask2d.tif.*pip download stardist'):
        stardist_nuclei.source(dir=str(folder), file='other.tar.gz')
    whole = (folder / 'stardist-0.9.2.tar.gz').read_bytes()
    (folder / 'cut.tar.gz').write_bytes(whole[:len(whole) // 2])
    with pytest.raises(InputError, match='cut.tar.gz: .*pip download stardist'):
        stardist_nuclei.source(dir=str(folder), file='cut.tar.gz')
    packed(folder / 'odd.tar.gz', img=np.zeros((8, 9), np.uint8), mask=np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match='odd.tar.gz: .*multiple of 4'):
        stardist_nuclei.source(dir=str(folder), file='odd.tar.gz')
