"""Folders of images: what is found, what is left out, and links that lead nowhere."""

import pathlib

import numpy as np
import pytest

from medjax.data.io import image_files
from medjax.data.io.image_folders import find_images, left_out
from medjax.errors import InputError
from tests.data.samples import picture, volume

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def names(paths, root):
    return [str(path.relative_to(root)) for path in paths]


@pytest.fixture
def root(tmp_path):
    """A folder with images on three levels, one in a folder that is a link, and other files."""
    folder = tmp_path / 'images'
    for name in ('a.PNG', 'b.png', 'p1/c.png', 'p1/deep/d.png', '.trash/e.png', '.hidden.png'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(folder / name.replace('PNG', 'png'), GREY).rename(folder / name)
    (tmp_path / 'elsewhere').mkdir()
    picture(tmp_path / 'elsewhere' / 'f.png', GREY)
    (folder / 'p2').symlink_to(tmp_path / 'elsewhere')
    (folder / 'notes.txt').write_text('')
    return folder


def test_images_and_what_is_left_out(root):
    images, others = find_images(root)
    assert names(images, root) == ['a.PNG', 'b.png'] and names(others, root) == ['notes.txt', 'p1', 'p2']
    images, others = find_images(root, depth=1)
    assert names(images, root) == ['a.PNG', 'b.png', 'p1/c.png', 'p2/f.png']
    assert names(others, root) == ['notes.txt', 'p1/deep']
    images, others = find_images(root, depth=-1)
    assert names(images, root) == ['a.PNG', 'b.png', 'p1/c.png', 'p1/deep/d.png', 'p2/f.png']
    assert names(others, root) == ['notes.txt']


def test_what_is_left_out_is_counted_and_named(root):
    line, = left_out(find_images(root)[1], root)
    assert line == 'Left out of images, not images: 3 (notes.txt, p1/, p2/).'
    assert left_out([], root) == ()


def test_the_voxels_of_a_header_are_part_of_it(tmp_path):
    volume(tmp_path / 'a.mhd')
    volume(tmp_path / 'b.hdr')
    (tmp_path / 'lone.img').write_bytes(b'')
    (tmp_path / 'c.raw').write_bytes(b'')
    images, others = find_images(tmp_path)
    assert names(images, tmp_path) == ['a.mhd', 'b.hdr'] and names(others, tmp_path) == ['c.raw', 'lone.img']


@pytest.mark.parametrize('name', ['g.png', 'G.NII.GZ', 'p3'])
def test_links_to_nothing_are_refused_with_their_number(root, name):
    for place in (root / name, root / 'p1' / name):
        place.symlink_to('../.git/annex/objects/xx/MD5E-s1--0')
    with pytest.raises(InputError, match='images: 2 links to files that do not exist') as error:
        find_images(root, depth=-1)
    assert f'p1/{name}' in str(error.value)
    (root / 'p1' / name).unlink()
    with pytest.raises(InputError, match='images: 1 link to a file that does not exist'):
        find_images(root)


def test_links_of_other_kinds_are_left_out(root):
    (root / 'README.md').symlink_to('nothing')
    assert names(find_images(root)[1], root) == ['README.md', 'notes.txt', 'p1', 'p2']


def test_a_folder_within_itself_is_refused(root):
    (root / 'p1' / 'deep' / 'again').symlink_to(root)
    with pytest.raises(InputError, match='again: a link to a folder that contains it'):
        find_images(root, depth=-1)


def test_a_folder_that_cannot_be_listed_is_refused(root, monkeypatch):
    whole = pathlib.Path.iterdir

    def deny(path):
        if path.name == 'deep':
            raise PermissionError(13, 'Permission denied')
        return whole(path)
    monkeypatch.setattr(pathlib.Path, 'iterdir', deny)
    with pytest.raises(InputError, match='deep: cannot be listed: Permission denied'):
        find_images(root, depth=-1)


def test_a_link_to_nothing_is_named_when_it_is_read(tmp_path):
    (tmp_path / 'a.png').symlink_to('gone/b.png')
    with pytest.raises(InputError, match=r'a\.png: no such file, but a link to gone/b\.png; expected an image'):
        image_files.read(tmp_path / 'a.png')
