"""The image files of a folder, and what else is in it, so that nothing is left out without a message."""

import os
import pathlib
from collections.abc import Collection, Sequence

from medjax.data.io import image_files
from medjax.errors import InputError, few


def find_images(folder: pathlib.Path, depth: int = 0) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The image files of a folder, and what else is in it; hidden files and folders are neither.

    Args:
      folder: the folder.
      depth: levels of subfolders that are searched as well; -1 for all. Links to folders are followed.

    Returns:
      The images; and other files, with the subfolders that are not searched. The file of voxels that belongs to a
      header is neither.

    Raises:
      InputError: the folder cannot be listed; links to files or folders that do not exist; a folder within itself.
    """
    images, others = _find_images(folder, depth, (os.path.realpath(folder),))
    image_files.check_links(sorted([*images, *(path for path in others if not path.suffix)]), folder)
    headers = {path.with_name(image_files.stem(path)) for path in images
               if image_files.suffix(path) in image_files.HEADER_SUFFIXES}
    named = {file for path in images if image_files.suffix(path) in image_files.ITK for file in image_files.files(path)}
    return sorted(images), sorted(path for path in others if str(path) not in named and not _has_header(path, headers))


def _find_images(folder: pathlib.Path, depth: int,
                 above: tuple[str, ...]) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith('.'))
    except OSError as error:
        raise InputError(f'{folder}: cannot be listed: {error.strerror}; expected a folder of images') from error
    images, others = [], []
    for path in entries:
        if depth and path.is_dir():
            target = os.path.realpath(path)
            if target in above:
                raise InputError(f'{path}: a link to a folder that contains it; expected images')
            inner_images, inner_others = _find_images(path, depth - 1, (*above, target))
            images, others = images + inner_images, others + inner_others
        else:
            (images if image_files.is_image(path) else others).append(path)
    return images, others


def _has_header(path: pathlib.Path, headers: Collection[pathlib.Path]) -> bool:
    """Whether the name of a file begins as that of a header without its suffix, as in a.raw.gz beside a.mhd."""
    name = path.name
    return any(path.with_name(name[:place]) in headers for place in range(1, len(name)) if name[place] == '.')


def left_out(paths: Sequence[pathlib.Path], folder: pathlib.Path, why: str = 'not images') -> tuple[str, ...]:
    """A line on files and subfolders of a folder that are left out; nothing where there are none."""
    if not paths:
        return ()
    names = few([str(path.relative_to(folder)) + ('/' if path.is_dir() else '') for path in paths])
    return (f'Left out of {folder.resolve().name}, {why}: {len(paths)} ({names}).',)
