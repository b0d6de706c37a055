"""Images with boxes in the PASCAL VOC format: an XML file for each image (Everingham 2010).

    cells/JPEGImages/a.jpg  cells/Annotations/a.xml  cells/ImageSets/Main/{train,val,test}.txt

VOC counts pixels from 1, and `xmax` and `ymax` are the last pixels of an object, so a box is [xmin - 1, xmax) here. The
boxes of BCCD follow this convention: of its 364 images of 640 by 480, no box begins at 0 and 625 begin at 1; 555 end at
640 or 480, and none beyond. A box with xmax = xmin would be one pixel wide. The two such boxes of BCCD enclose no cell:
they come from a single click, and get size 0.

Objects that are marked as `difficult` are ignored, as in VOC's evaluation: they are not counted, and neither is what is
found there, nor is it background to learn.
"""

import pathlib
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np

from medjax.data.io.image_files import check_links
from medjax.data.io.image_folders import left_out
from medjax.data.source import SPLITS, Source, data_dir
from medjax.data.sources.annotations import AnnotatedImage, annotations_by_name, detection_source, images_by_name
from medjax.data.splits import Splitting
from medjax.errors import InputError

DIFFICULT = 'difficult objects'
CORNERS = ('ymin', 'xmin', 'ymax', 'xmax')  # rows before columns


def source(*, dir: str = '', classes: Sequence[str] = (), patient_regex: str = '',
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A detection source from a folder of annotations; truncated objects count like others, difficult ones do not.

    Args:
      dir: the data set's folder; see `data_dir`.
      classes: names; by default those in the annotations, sorted.
      patient_regex: see `annotations.detection_source`.
      splitting: how patients are assigned to splits where the data set has no lists in ImageSets/Main.
      notice: text on the data for the report.

    Raises:
      InputError: annotations that cannot be read; an image or a class that does not exist.
    """
    root = data_dir(dir)
    folder, main = root / 'Annotations', root / 'ImageSets' / 'Main'
    images, other_images = images_by_name(root / 'JPEGImages')
    files, others = annotations_by_name(folder, '.xml')
    lists = {path.name.lower(): path for path in main.iterdir()} if main.is_dir() else {}
    check_links(lists.values(), main)
    split_of: dict[str, str] = {}
    for split, path in ((split, lists[f'{split}.txt']) for split in SPLITS if f'{split}.txt' in lists):
        for name in _read_list(path):
            if name in split_of:
                raise InputError(f'{path}: {name!r} is in the list of {split_of[name]} already; expected each image '
                                 'once')
            split_of[name] = split
    annotated = []
    for name, split in (split_of or dict.fromkeys(files, '')).items():
        path = files.get(name, folder / f'{name}.xml')
        if name not in images:
            raise InputError(f'{root / "JPEGImages"}: no image {name!r}; expected that of {path}')
        size, boxes, names, ignored = read(path)
        annotated.append(AnnotatedImage(id=name, path=images[name], where=str(path), boxes=boxes, names=names,
                                        ignored=ignored, split=split, size=size))
    unused = [pathlib.Path(path) for name, path in images.items() if name not in (split_of or files)]
    warnings = (*left_out(other_images, root / 'JPEGImages'), *left_out(others, folder, 'not annotations'),
                *left_out(unused, root / 'JPEGImages', 'in no list' if split_of else 'without an annotation'))
    return detection_source(annotated, classes, root, patient_regex=patient_regex, splitting=splitting, notice=notice,
                            warnings=warnings)


def _read_list(path: pathlib.Path) -> list[str]:
    """The names in a list; lists of one class have a second column, which is ignored."""
    try:
        return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: cannot be read; expected a name a line') from error


def read(path: pathlib.Path) -> tuple[tuple[int, ...], np.ndarray, list[str], list[str]]:
    """The annotation of an image.

    Returns:
      The image's columns and rows, `()` where the file does not say them; boxes `[N, 4]`; their class names; and
      why each is ignored, DIFFICULT, or ''.

    Raises:
      InputError: the file is no annotation.
    """
    try:
        tree = ElementTree.parse(path).getroot()
        size = int(tree.findtext('size/width') or 0), int(tree.findtext('size/height') or 0)
        objects = tree.findall('object')
        boxes = np.array([[float(item.findtext(f'bndbox/{name}')) for name in CORNERS] for item in objects])
        names = [(item.findtext('name') or '').strip() for item in objects]
        ignored = [DIFFICULT if int(item.findtext('difficult') or 0) else '' for item in objects]
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected the annotation of an image') from error
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise InputError(f'{path}: no annotation: {error}; expected XML with size, and object with name and bndbox: '
                         f'{", ".join(CORNERS)}') from error
    boxes = boxes.reshape(-1, 4)
    boxes[:, :2] -= boxes[:, :2] != boxes[:, 2:]
    return size if min(size) > 0 else (), boxes, names, ignored
