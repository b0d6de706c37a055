"""Videos with boxes in their frames, such as endoscopy.

    polyps/a.mp4  polyps/a.txt         a line for each box: frame,x1,y1,x2,y2,label (or a.csv)
    polyps/b.avi  polyps/b/0012.xml    or a file for each frame, as PASCAL VOC has them

Frames count from 0; the frame of an XML file is the number at the end of its name. Corners are pixels measured from the
outer corner of the first one, and x2 and y2 are where the object ends: an object in the columns 3, 4 and 5 has x1 = 3
and x2 = 6. With a table, a frame without a line shows no object. With XML files, a frame without a file was not
annotated.
"""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from medjax.data.datasets import prepared_cache
from medjax.data.io.geometry import Image
from medjax.data.io.image_files import check_links
from medjax.data.io.image_folders import find_images, left_out
from medjax.data.io.tables import check_columns, filled, parse_number, read_table
from medjax.data.io.video_frames import SequentialReader, frames, is_video
from medjax.data.source import Source, data_dir
from medjax.data.sources import voc
from medjax.data.sources.annotations import (
    AnnotatedImage,
    annotations_by_name,
    check_size,
    detection_source,
    unique_stems,
)
from medjax.data.splits import Splitting
from medjax.errors import InputError, few
from medjax.options import Count

FIELDS = ('frame', 'x1', 'y1', 'x2', 'y2', 'label')
NOTICE = ('Each video counts as a patient of its own: config.data.source.patient_regex can derive the patient from its '
          'name.')
VERSION = 2  # of the cached index of a video; a higher number ignores older ones
INDEX = 'index.json'


class Boxes(NamedTuple):
    """Objects of a frame: annotation file, the frame's extents (empty if unknown), boxes `[N, 4]` and class names.

    `ignored` is that of `annotations.AnnotatedImage`.
    """

    where: str
    size: tuple[int, ...]
    boxes: np.ndarray
    names: list[str]
    ignored: Sequence[str] = ()


class VideoIndex(NamedTuple):
    """Number of frames of a video, and the time in s of each frame that can be decoded."""

    count: int
    times: dict[int, float]


def source(*, dir: str = '', frame_step: Count = 1, classes: Sequence[str] = (), patient_regex: str = '',
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '', cache: str = '') -> Source:
    """A detection source whose cases are frames of a folder's videos; all frames of a video are in one split.

    Frames that cannot be decoded are left out, and counted in the notice.

    Args:
      dir: the data set's folder; see `data_dir`.
      frame_step: step between the annotated frames that are taken.
      classes: names; by default those in the files, sorted.
      patient_regex: a regular expression whose first group is the patient's name in a video's name. By default each
        video counts as a patient of its own, with the video's name.
      splitting: how patients are assigned to splits.
      notice: text on the data for the report.
      cache: the folder that stores which frames of a video can be decoded; by default in the user's cache folder.

    Raises:
      InputError: no video; one that cannot be read or has no annotation file, or several; an invalid line; a frame or a
        class that does not exist.
    """
    if not isinstance(frame_step, int) or frame_step < 1:
        raise InputError(f'config.data.source.frame_step: {frame_step}; expected a whole number of at least 1')
    root = data_dir(dir)
    cache_dir = pathlib.Path(cache).expanduser() if cache else pathlib.Path.home() / '.cache' / 'medjax' / 'videos'
    annotated: list[AnnotatedImage] = []
    readers: list[functools.partial] = []
    skipped: dict[str, int] = {}
    videos, warnings = _videos(root)
    for name, path in tqdm(videos.items(), desc='reading videos', unit='', leave=False, delay=2):
        boxes, per_frame_files = _annotations(path)
        index = _video_index(path, cache_dir)
        for number, frame_boxes in boxes.items():
            if number >= index.count:
                raise InputError(f'{frame_boxes.where}: expected frames 0 to {index.count - 1}, as {path} has '
                                 f'{index.count}')
        undecodable = index.count - len(index.times)
        if undecodable:
            skipped[f'{name}: {undecodable}'] = undecodable
        numbers = sorted(boxes) if per_frame_files else range(index.count)
        taken = [number for number in numbers[::frame_step] if number in index.times]
        frame_reader = SequentialReader(path, taken)
        for number in taken:
            frame_boxes = boxes.get(number, Boxes('', (), np.zeros((0, 4)), []))
            annotated.append(AnnotatedImage(
                id=f'{name}_{number:06d}', path=str(path), where=frame_boxes.where, boxes=frame_boxes.boxes,
                names=frame_boxes.names, ignored=frame_boxes.ignored, patient='' if patient_regex else name,
                columns={'video': name, 'frame': str(number), 'time': f'{index.times[number]:.3f}'}))
            readers.append(functools.partial(_read, frame_reader, number, path, frame_boxes))
    notices = [notice]
    if skipped:
        notices.append(f'Frames that cannot be decoded, left out: {sum(skipped.values())} ({few(list(skipped))}).')
    if not patient_regex:
        notices.append(NOTICE)
    out = detection_source(annotated, classes, root, patient_regex=patient_regex, splitting=splitting,
                           notice=' '.join(filter(None, notices)), warnings=warnings)
    return dataclasses.replace(out, analysis_unit='patient' if patient_regex else 'video', cases=tuple(
        dataclasses.replace(case, read=read) for case, read in zip(out.cases, readers)))


def _videos(root: pathlib.Path) -> tuple[dict[str, pathlib.Path], tuple[str, ...]]:
    """The videos of a folder by name without suffix, and lines on what is neither a video nor its annotation."""
    images, others = find_images(root)
    videos = [path for path in others if is_video(path)]
    check_links(videos, root)
    out = unique_stems(videos)
    if not out:
        raise InputError(f'{root}: no video; expected some, such as NAME.mp4 with NAME.txt')
    rest = [*images, *(path for path in others if path not in videos and path.stem not in out)]
    return out, left_out(rest, root, 'not videos or their annotations')


def _read(reader: SequentialReader, number: int, path: pathlib.Path, boxes: Boxes) -> tuple[Image, None]:
    array = reader(number).swapaxes(0, 1)[:, :, None]  # columns first, like other 2D images
    check_size(boxes.size, array.shape, boxes.where, path)
    return Image(array, np.eye(4), f'{path}, frame {number}'), None


def _video_index(path: pathlib.Path, folder: pathlib.Path) -> VideoIndex:
    """Which frames of a video can be decoded; the result of the first decoding is stored in a folder."""
    entry = prepared_cache.entry(folder, [VERSION, prepared_cache.file_states([str(path.resolve())])])
    if not prepared_cache.found(entry, 'frames'):
        video = frames(path)
        times = {number: time for number, time, _ in video}
        text = json.dumps({'count': len(times) + len(video.skipped), 'times': times})
        prepared_cache.store(entry, lambda part: (part / INDEX).write_text(text), 'frames',
                             'config.data.source.cache')
    stored = json.loads((entry / INDEX).read_text())
    return VideoIndex(stored['count'], {int(number): time for number, time in stored['times'].items()})


def _annotations(path: pathlib.Path) -> tuple[dict[int, Boxes], bool]:
    """The boxes of a video by frame number, and whether they come from a file for each annotated frame."""
    places = [place for place in (path.with_suffix('.txt'), path.with_suffix('.csv'), path.with_suffix(''))
              if place.exists()]
    if len(places) != 1:
        raise InputError(f'{path}: boxes in {" and ".join(place.name for place in places) or "no file"}; expected them '
                         f'in one of {path.stem}.txt, {path.stem}.csv and the folder {path.stem}')
    if places[0].is_dir():
        return _read_xml_files(places[0]), True
    return _read_table(places[0]), False


def _read_xml_files(folder: pathlib.Path) -> dict[int, Boxes]:
    """The boxes in a folder's XML files, by frame number."""
    out: dict[int, Boxes] = {}
    for path in annotations_by_name(folder, '.xml')[0].values():
        digits = re.search(r'(\d+)$', path.stem)
        if not digits or int(digits[1]) in out:
            raise InputError(f'{path}: expected a name that ends with the number of a frame, which no other has')
        out[int(digits[1])] = Boxes(str(path), *voc.read(path))
    if not out:
        raise InputError(f'{folder}: no XML file; expected one for each annotated frame')
    return out


def _read_table(path: pathlib.Path) -> dict[int, Boxes]:
    """The boxes in a table, by frame number; it may have a header, with the columns in any order and more of them."""
    rows, columns = read_table(path, unnamed=FIELDS)
    if rows:
        check_columns(path, columns, FIELDS)
    out: dict[int, Boxes] = {}
    for row in rows:
        cells = {name: filled(row[name]) for name in FIELDS}
        number, *corners = (parse_number(cells[name]) for name in ('frame', 'y1', 'x1', 'y2', 'x2'))  # rows first
        if number is None or number < 0 or number != int(number) or None in corners or not cells['label']:
            raise InputError(f'{path}: {",".join(row.values())!r}; expected {",".join(FIELDS)}: a number from 0, four '
                             'numbers and a class')
        boxes = out.setdefault(int(number), Boxes(f'{path}, frame {int(number)}', (), np.zeros((0, 4)), []))
        out[int(number)] = boxes._replace(boxes=np.vstack([boxes.boxes, corners]), names=[*boxes.names, cells['label']])
    return out
