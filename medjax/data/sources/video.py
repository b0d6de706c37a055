"""Videos with boxes in their frames: endoscopy and the like.

    polyps/a.mp4  polyps/a.txt         a line for each box: frame,x1,y1,x2,y2,label (or a.csv)
    polyps/b.avi  polyps/b/0012.xml    or a file for each frame, as PASCAL VOC has them

Frames count from 0; of an XML file's name the last digits are its frame. Corners are pixels measured from the outer
corner of the first one, and x2 and y2 are where the object ends: one of the columns 3, 4 and 5 has x1 3 and x2 6. A
frame without a line shows nothing; without a file, where there are files, nobody has looked at it.
"""

import csv
import dataclasses
import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from medjax import atomic_files
from medjax.data.io.geometry import Image
from medjax.data.io.video_frames import Sequential, frames, is_video
from medjax.data.source import Source, data_dir
from medjax.data.sources import voc
from medjax.data.sources.annotations import Marked, check_size, dealt
from medjax.errors import InputError, few

FIELDS = ('frame', 'x1', 'y1', 'x2', 'y2', 'label')
NOTICE = 'Each video counts as a patient of its own: config.data.source.patient would say whose it is.'
VERSION = 1  # of what is kept of a video; a higher one reads all anew


class Boxes(NamedTuple):
    """What a frame shows: where that is written, the frame's extents if told, boxes `[N, 4]`, and their classes."""

    where: str
    size: tuple[int, ...]
    boxes: np.ndarray
    names: list[str]


class Known(NamedTuple):
    """What a video is found to have: how many frames, and the time in s of each that can be read."""

    count: int
    times: dict[int, float]


def source(*, dir: str = '', every: int = 1, classes: Sequence[str] = (), patient: str = '', val: float = 0.2,
           test: float = 0.2, fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           splits: Mapping[str, str] | None = None, split_file: str = '', notice: str = '', cache: str = '') -> Source:
    """Makes frames of a folder's videos cases; a video is in one split.

    Frames that cannot be read are left out, and counted in the notice.

    Args:
      dir: the data set's folder; '' as `data_dir` says.
      every: takes each so many-th of the frames that somebody looked at.
      classes: names; by default those in the files, sorted.
      patient: a regular expression whose first group is the patient's name in a video's name; by default each video
        is a patient of its own, of its name.
      val: see `splits.split_by_patient`, as for test, fold, folds and split_seed.
      test: …
      fold: …
      folds: …
      split_seed: …
      splits: the split of some or all patients by name.
      split_file: a run's `splits.json`, within dir or absolute.
      notice: what the report must say of the data.
      cache: the folder that keeps which frames of a video can be read; by default in the user's cache folder.

    Raises:
      InputError: no video; one that cannot be read or has no boxes' file, or several; a line that is no box, of a
        frame that the video does not have, or of a class that is not one of `classes`.
    """
    if not isinstance(every, int) or every < 1:
        raise InputError(f'config.data.source.every: {every}; expected a whole number of at least 1')
    root = data_dir(dir)
    kept = pathlib.Path(cache).expanduser() if cache else pathlib.Path.home() / '.cache' / 'medjax' / 'videos'
    videos: dict[str, pathlib.Path] = {}
    for path in sorted(filter(is_video, root.iterdir())):
        if videos.setdefault(path.stem, path) != path:
            raise InputError(f'{path}: {videos[path.stem].name} has its name as well; expected different ones')
    if not videos:
        raise InputError(f'{root}: no video; expected some, such as NAME.mp4 with NAME.txt')
    marked, readers, skipped = [], [], {}
    for name, path in tqdm(videos.items(), desc='reading videos', unit='', leave=False, delay=2):
        table, looked = _marks(path)
        known = _known(path, kept)
        for number, of in table.items():
            if not number < known.count:
                raise InputError(f'{of.where}: expected frames 0 to {known.count - 1}, as {path} has {known.count}')
        lost = known.count - len(known.times)
        skipped |= {f'{name}: {lost}': lost} if lost else {}
        taken = [number for number in (sorted(table) if looked else range(known.count))[::every]
                 if number in known.times]
        frame = Sequential(path, taken)
        for number in taken:
            of = table.get(number, Boxes('', (), np.zeros((0, 4)), []))
            marked.append(Marked(
                id=f'{name}_{number:06d}', path=str(path), where=of.where, boxes=of.boxes, names=of.names,
                patient='' if patient else name,
                columns={'video': name, 'frame': str(number), 'time': f'{known.times[number]:.3f}'}))
            readers.append(functools.partial(_read, frame, number, path, of))
    told = f'Frames that cannot be read, left out: {sum(skipped.values())} ({few(list(skipped))}).' if skipped else ''
    made = dealt(marked, classes, root, patient=patient, val=val, test=test, fold=fold, folds=folds,
                 split_seed=split_seed, splits=splits, split_file=split_file,
                 notice=' '.join(filter(None, [notice, told, '' if patient else NOTICE])))
    return dataclasses.replace(made, cases=tuple(
        dataclasses.replace(case, read=read) for case, read in zip(made.cases, readers)))


def _read(frame: Sequential, number: int, path: pathlib.Path, of: Boxes) -> tuple[Image, None]:
    array = frame(number).swapaxes(0, 1)[:, :, None]  # as pictures are: columns first
    check_size(of.size, array.shape, of.where, path)
    return Image(array, np.eye(4), f'{path}, frame {number}'), None


def _known(path: pathlib.Path, folder: pathlib.Path) -> Known:
    """Decodes a video once to see which frames can be read; what is found is kept."""
    stat = path.stat()
    key = json.dumps([VERSION, str(path.resolve()), stat.st_size, stat.st_mtime_ns])
    kept = folder / f'{hashlib.sha256(key.encode()).hexdigest()[:24]}.json'
    if not kept.is_file():
        video = frames(path)
        times = {number: time for number, time, _ in video}
        atomic_files.write_json(kept, {'count': len(times) + len(video.skipped), 'times': times})
    found = json.loads(kept.read_text())
    return Known(found['count'], {int(number): time for number, time in found['times'].items()})


def _marks(path: pathlib.Path) -> tuple[dict[int, Boxes], bool]:
    """What a video's frames show, by their numbers; and whether frames that are not there were not looked at."""
    places = [place for place in (path.with_suffix('.txt'), path.with_suffix('.csv'), path.with_suffix(''))
              if place.exists()]
    if len(places) != 1:
        raise InputError(f'{path}: boxes in {" and ".join(place.name for place in places) or "no file"}; expected them '
                         f'in one of {path.stem}.txt, {path.stem}.csv and the folder {path.stem}')
    return (_files(places[0]), True) if places[0].is_dir() else (_table(places[0]), False)


def _files(folder: pathlib.Path) -> dict[int, Boxes]:
    out: dict[int, Boxes] = {}
    for path in sorted(folder.glob('*.xml')):
        digits = re.search(r'(\d+)$', path.stem)
        if not digits or int(digits[1]) in out:
            raise InputError(f'{path}: expected a name that ends with the number of a frame, which no other has')
        out[int(digits[1])] = Boxes(str(path), *voc.read(path))
    if not out:
        raise InputError(f'{folder}: no XML file; expected one for each frame that somebody looked at')
    return out


def _table(path: pathlib.Path) -> dict[int, Boxes]:
    try:
        lines = list(csv.reader(path.read_text(encoding='utf-8-sig').splitlines(), skipinitialspace=True, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{path}: cannot be read: {error}; expected lines of {",".join(FIELDS)}') from error
    columns: Sequence[str] = FIELDS
    if lines and FIELDS[0] in lines[0]:  # a header may name them in another order, and more
        columns = lines.pop(0)
    out: dict[int, Boxes] = {}
    for row in filter(None, lines):
        try:
            frame, x1, y1, x2, y2, label = (dict(zip(columns, row, strict=True))[name] for name in FIELDS)
            number, box = int(frame), [float(value) for value in (y1, x1, y2, x2)]  # rows before columns
            if number < 0 or not label.strip():
                raise ValueError
        except (KeyError, ValueError) as error:
            raise InputError(f'{path}: {",".join(row)!r}; expected {",".join(FIELDS)}: a number from 0, four numbers '
                             'and a class') from error
        of = out.setdefault(number, Boxes(f'{path}, frame {number}', (), np.zeros((0, 4)), []))
        out[number] = of._replace(boxes=np.vstack([of.boxes, box]), names=[*of.names, label.strip()])
    return out
