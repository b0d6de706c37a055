"""Which images of a detection go to the report, and how they are drawn: truth, what was found, and what differs."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from medjax.errors import InputError
from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import ImageBoxes
from medjax.metrics.detection import HIT
from medjax.report import draw, style
from medjax.report.chapter import Group, Section
from medjax.report.draw import SIDES
from medjax.report.run_files import snapshot
from medjax.report.tables import format_number
from medjax.tasks.detection.split import Detected

DRAWN = 2  # images of a kind
CUTS = 2  # planes of a volume
SCORED = 8  # boxes in a picture that have room for their scores
RIGHT = '#ffffff'
KINDS = {'best': 'Best', 'median': 'Median', 'worst': 'Worst'}
ERRORS = (('missed', style.MISSED), ('false positive', style.SPURIOUS), ('hit', RIGHT))


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """An image with its boxes, in the network's grid.

    Attributes:
      name: of the case.
      image: `[rows, columns, C]`, or `[X, Y, Z, C]` in RAS+, float32.
      seen: its boxes.
      spacing: how long a voxel is along each axis: mm of a volume, stored pixels of a picture.
      limits: intensities that are drawn black and white.
    """

    name: str
    image: np.ndarray
    seen: ImageBoxes
    spacing: tuple[float, ...]
    limits: tuple[float, float]

    @property
    def volume(self) -> bool:
        """Whether it has three spatial axes."""
        return self.image.ndim == 4


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays do not fit together.
    """
    names = ('image', 'truth', 'truth_labels', 'found', 'found_labels', 'scores', 'spacing')
    with snapshot(path) as kept:
        image, *boxes, steps = (kept[name] for name in names)
    dims = image.ndim - 1
    if dims not in (2, 3) or len(steps) != dims or any(part.shape[1:] != (2 * dims,) for part in boxes[::2][:2]):
        raise InputError(f'{path}: image {image.shape}, boxes {boxes[0].shape} and {boxes[2].shape}; expected an image '
                         'of two or three axes and channels, and boxes of as many axes')
    low, high = (0, 255) if image.dtype == np.uint8 and image.shape[-1] == 3 else np.percentile(image, [0.5, 99.5])
    return Snapshot(path.stem, image.astype(np.float32), ImageBoxes(*boxes), tuple(map(float, steps)),
                    (float(low), float(max(high, low + 1e-6))))


def pictures(of: Detected) -> Section:
    """The best, the median and the worst images."""
    groups, chosen = [], choose(of)
    for kind, number, case in chosen:
        sure = sure_of(case.seen, of.operating['score'])
        for first, cut in enumerate(cuts(case, sure)):
            where = '' if cut is None else f', axial slice {cut + 1} of {case.image.shape[2]}'
            groups.append(Group(f'{KINDS[kind]}: {case.name}{where}', tiles(case, sure, cut),
                                '' if first else _told(of, number)))
    keys = [('Classes', [(name, style.class_colour(number)) for number, name in enumerate(of.table.classes, 1)]),
            ('Errors', ERRORS)]
    text = ('The images with the highest, the middle and the lowest AP of their own. Found boxes are drawn from the '
            'operating point\'s score on.')
    if any(case.volume for _, _, case in chosen):
        text += (' Volumes are cut where most objects and false positives are; boxes are shown that the plane cuts. '
                 'The patient\'s right is on the left of the picture.')
    return Section('Images', text, keys, groups=groups)


def choose(of: Detected) -> list[tuple[str, int, Snapshot]]:
    """The images that have a snapshot, a few of each kind: the kind, the image's number, and the snapshot."""
    paths = [of.run.folder / 'cases' / of.split / f'{name}.npz' for name in of.table.ids]
    ranks = {kind: {int(number): rank for rank, number in enumerate(order)} for kind, order in of.ranked.items()}
    found: dict[str, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
    for number in ranks['best']:
        if paths[number].is_file():
            kind = min(KINDS, key=lambda kind: ranks[kind][number])
            found[kind].append((ranks[kind][number], number))
    return [(kind, number, load(paths[number])) for kind, pairs in found.items()
            for _, number in sorted(pairs)[:DRAWN]]


def sure_of(seen: ImageBoxes, score: float) -> ImageBoxes:
    """Without the found boxes below a score."""
    sure = seen.scores >= score
    return seen._replace(pred_boxes=seen.pred_boxes[sure], pred_labels=seen.pred_labels[sure], scores=seen.scores[sure])


def right(seen: ImageBoxes) -> tuple[np.ndarray, np.ndarray]:
    """Which true boxes `[N]` bool are hit, and which found boxes `[P]` bool hit one."""
    dims = max(seen.true_boxes.shape[1], seen.pred_boxes.shape[1]) // 2
    classes = 1 + max([*seen.true_labels.tolist(), *seen.pred_labels.tolist()], default=0)
    of = box_matching.pool_classes(box_matching.match_classes([seen], classes, detection.iou_thresholds(dims)[:HIT + 1]))
    taken = of.matched_object[HIT]
    met, hit = np.zeros(len(seen.true_boxes), bool), np.zeros(len(seen.pred_boxes), bool)
    met[of.object_number[taken[taken >= 0]]], hit[of.box_number[taken >= 0]] = True, True
    return met, hit


def cuts(case: Snapshot, seen: ImageBoxes) -> list[int | None]:
    """Of a volume the axial planes that cut the most true boxes and false positives; of a picture itself, None."""
    if not case.volume:
        return [None]
    boxes = np.concatenate([seen.true_boxes, seen.pred_boxes[~right(seen)[1]]])
    left, chosen = np.ones(len(boxes), bool), []
    while left.any() and len(chosen) < CUTS:
        middles = np.floor(boxes[:, [2, 5]].mean(1)).astype(int)
        new = [(_through(boxes, place) & left).sum() for place in middles]
        chosen.append(int(np.clip(middles[int(np.argmax(new))], 0, case.image.shape[2] - 1)))
        left &= ~_through(boxes, chosen[-1])
        left[int(np.argmax(new))] = False
    return sorted(chosen) or [case.image.shape[2] // 2]


def _through(boxes: np.ndarray, place: int) -> np.ndarray:
    return (boxes[:, 2] <= place + 0.5) & (boxes[:, 5] > place + 0.5)


def tiles(case: Snapshot, seen: ImageBoxes, cut: int | None) -> list[draw.Tile]:
    """A picture, or an axial plane of a volume: image, truth, what was found, errors."""
    image, pixel = case.image if case.image.shape[-1] == 3 else case.image[..., 0], case.spacing[:2]
    met, hit = right(seen)
    truth, found, there, shown = seen.true_boxes, seen.pred_boxes, np.arange(len(met)), np.arange(len(hit))
    if cut is not None:
        image, pixel = np.take(image, cut, 2).swapaxes(0, 1)[::-1, ::-1], (case.spacing[1], case.spacing[0])
        there, shown = (np.flatnonzero(_through(boxes, cut)) for boxes in (truth, found))
        truth, found = (_turned(boxes, case.image.shape) for boxes in (truth, found))
    boxes = {'Truth': [(truth[n], style.class_colour(int(seen.true_labels[n]) + 1), '') for n in there],
             'Found': [(found[n], style.class_colour(int(seen.pred_labels[n]) + 1),
                        f'{seen.scores[n]:.2f}' * (len(shown) <= SCORED)) for n in shown],
             'Errors': [*((found[n], RIGHT if hit[n] else style.SPURIOUS, '') for n in shown),
                        *((truth[n], style.MISSED, '') for n in there if not met[n])]}
    made = []
    for title in ('Image', *boxes):
        canvas, axes, width = draw.canvas(image, pixel, case.limits, 0.6 if title == 'Errors' else 1.0)
        for box, colour, text in boxes.get(title, ()):
            outline(axes, box, colour, text)
        if cut is not None:
            draw.annotate(axes, SIDES[2], pixel, 'radiological' if title == 'Image' else '')
        where = 'Picture' if cut is None else f'Axial slice {cut + 1}'
        made.append(draw.Tile(style.png(canvas, draw.DPI), title, f'{where} of case {case.name}: {title.lower()}',
                              width))
    return made


def outline(axes: Axes, box: np.ndarray, colour: str, text: str = '') -> None:
    """Draws a box, rows and columns, on an image; its corners are those of voxels."""
    top, left, bottom, right_side = np.asarray(box, float) - 0.5
    axes.add_patch(Rectangle((left, top), right_side - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.1,
                             path_effects=draw.HALO))
    if text:
        axes.text(left, top, text, color=colour, fontsize=7, va='bottom', ha='left', clip_on=True, path_effects=[
            patheffects.withStroke(linewidth=1.2, foreground='black')])


def _turned(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Boxes of a volume as an axial slice's rows and columns: anterior up, the patient's right on the left."""
    return np.stack([shape[1] - boxes[:, 4], shape[0] - boxes[:, 3], shape[1] - boxes[:, 1], shape[0] - boxes[:, 0]],
                    -1)


def _told(of: Detected, number: int) -> str:
    """How many objects of each class there are, and what was found of them."""
    def listed(labels: np.ndarray) -> Iterator[str]:
        for label, name in enumerate(of.table.classes):
            if (labels == label).any():
                yield f'{name} {(labels == label).sum()}'
    seen = sure_of(of.table.images[number], of.operating['score'])
    met, hit = right(seen)
    quality = detection.image_average_precision(of.table.images[number], len(of.table.classes), of.table.dims)
    return (f'Truth: {", ".join(listed(seen.true_labels)) or "none"}. Found: '
            f'{", ".join(listed(seen.pred_labels)) or "none"}; hits {hit.sum()}, false positives {(~hit).sum()}, '
            f'missed {(~met).sum()}. AP of this image {format_number(quality)}.')
