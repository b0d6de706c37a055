"""Images whose channels are files of their own, `CASE_0000.nii.gz`, `CASE_0001.nii.gz` …, as nnU-Net has them."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medjax.data.io import image_files, raster
from medjax.data.io.geometry import Image, describe, same_grid
from medjax.data.io.label_codes import without_copies
from medjax.errors import InputError, few

FIRST = '_0000'
SUFFIXES = tuple(FIRST + suffix for suffix in image_files.SUFFIXES)  # of the files that stand for a case
CHANNEL = re.compile(r'(.+)_(\d{4})')


def name_and_channel(path: pathlib.Path) -> tuple[str, int]:
    """The case and the number of the channel in a file's name.

    Raises:
      InputError: the name does not end in four digits.
    """
    found = CHANNEL.fullmatch(image_files.stem(path))
    if not found:
        raise InputError(f'{path}: its name has no channel; expected CASE_0000{image_files.suffix(path)} for the first '
                         'channel of a case, CASE_0001 for the second, and so on')
    return found[1], int(found[2])


def by_case(paths: Iterable[pathlib.Path]) -> dict[str, dict[int, pathlib.Path]]:
    """The files of each case, by their channels."""
    out: dict[str, dict[int, pathlib.Path]] = {}
    for path in paths:
        name, channel = name_and_channel(path)
        other = out.setdefault(name, {}).setdefault(channel, path)
        if other != path:
            raise InputError(f'{path}: channel {channel} of case {name!r} is also {other.name}; expected one file')
    return out


def check_channels(cases: Mapping[str, Mapping[int, pathlib.Path]], channels: Sequence[str], where: str) -> None:
    """Checks that each case has a file for each channel; a single 2D picture may hold several, such as colours.

    Args:
      cases: the files of each case, by their channels.
      channels: names.
      where: the folder, for the message.

    Raises:
      InputError: with the first channel that is missing or too many, and the cases by their number of channels.
    """
    def complete(found: Mapping[int, pathlib.Path]) -> bool:
        picture = set(found) == {0} and image_files.suffix(found[0]) in raster.SUFFIXES
        return picture or set(found) == set(range(len(channels)))

    wrong = next((name for name, found in cases.items() if not complete(found)), None)
    if wrong is None:
        return
    missing = [number for number in range(len(channels)) if number not in cases[wrong]]
    what = (f'case {wrong!r} has no channel {missing[0]} ({channels[missing[0]]}), {wrong}_{missing[0]:04d}' if missing
            else f'case {wrong!r} has channel {max(cases[wrong])}')
    counts: dict[int, list[str]] = {}
    for name, found in cases.items():
        counts.setdefault(len(found), []).append(name)
    table = '; '.join(f'{count} in {len(names)} ({few(names)})' for count, names in sorted(counts.items()))
    raise InputError(f'{where}: {what}; expected {len(channels)} ({", ".join(channels)}) in every case. Channels by '
                     f'number of cases: {table}')


def files(path: pathlib.Path) -> tuple[str, ...]:
    """All channels' files of the case that the first channel's file stands for."""
    name, _ = name_and_channel(path)
    ending = path.name[len(name) + len(FIRST):]
    beside = path.parent.glob('*') if path.parent.is_dir() else ()
    found = [other for other in beside if re.fullmatch(re.escape(name) + r'_\d{4}' + re.escape(ending), other.name)]
    return tuple(str(other) for other in sorted(found) or [path])


def output_name(path: pathlib.Path) -> str:
    """The file name of the labels that are predicted for a case: without the channel, as nnU-Net writes them."""
    name, _ = name_and_channel(path)
    return image_files.output_name(path.with_name(name + path.name[len(name) + len(FIRST):]))


def read(paths: Sequence[str | pathlib.Path], channels: Sequence[str]) -> Image:
    """The channels of a case as one image.

    Args:
      paths: a file for each channel, in order; or one file with all channels.
      channels: names.

    Returns:
      `[X, Y, Z]` for one channel, `[X, Y, Z, C]` for more.

    Raises:
      InputError: another number of channels; files on different grids; NaN or infinite voxels.
    """
    images = [image_files.read(path) for path in paths]
    if len(channels) == 1:
        images = [dataclasses.replace(image, array=without_copies(image.array)) for image in images]
    for image in images:
        image_files.check_finite(image)
        if not same_grid(images[0], image):
            raise InputError(f'{image.path}: not on the grid of {images[0].path}: {describe(image)}; expected '
                             f'{describe(images[0])}')
    array = np.concatenate([image.array if image.array.ndim == 4 else image.array[..., None] for image in images], -1)
    if array.shape[-1] != len(channels):
        raise InputError(f'{images[0].path}: {array.shape[-1]} channels in {len(images)} files; expected '
                         f'{len(channels)} ({", ".join(channels)})')
    return dataclasses.replace(images[0], array=array[..., 0] if len(channels) == 1 else array)


def read_case(path: str | pathlib.Path, channels: Sequence[str]) -> Image:
    """A case by the file of its first channel; see `read`.

    Raises:
      InputError: a channel is missing or too many.
    """
    path = pathlib.Path(path)
    name, _ = name_and_channel(path)
    found = by_case(map(pathlib.Path, files(path)))
    check_channels(found, channels, str(path.parent))
    return read([found[name][number] for number in sorted(found[name])], channels)
