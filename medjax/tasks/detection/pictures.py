"""Example images of detection in the report: truth, found boxes and errors drawn on them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import ImageBoxes
from medjax.metrics.detection import HIT
from medjax.report import draw, style
from medjax.report.chapter import Group, Section
from medjax.report.draw import SIDES
from medjax.report.run_files import Run
from medjax.report.tables import format_number
from medjax.tasks.detection import snapshot
from medjax.tasks.detection.snapshot import Snapshot
from medjax.tasks.detection.split import DetectionSplit

IMAGES_PER_KIND = 2
SLICES = 2  # slices of a volume
MAX_SCORED = 8  # boxes in a picture up to which there is room for their scores
HIT_COLOUR, IGNORED_COLOUR = '#ffffff', '#b8bec5'
KINDS = {'best': 'Best', 'median': 'Median', 'worst': 'Worst'}
ERRORS = (('missed', style.MISSED), ('false positive', style.SPURIOUS), ('hit', HIT_COLOUR))

IGNORED = (('ignored, dashed', IGNORED_COLOUR),)


class Outline(NamedTuple):
    """A box that is drawn.

    Attributes:
      box: `[4]`, rows and columns of its corners.
      colour: of the outline and the text.
      text: written at the upper left corner.
      dashed: whether the outline is dashed.
    """

    box: np.ndarray
    colour: str
    text: str = ''
    dashed: bool = False


def example_images(split: DetectionSplit) -> Section:
    """The section with the best, the median and the worst images."""
    groups, examples = [], choose_examples(split)
    for kind, number, case in examples:
        boxes = boxes_above(case.boxes, split.operating['score'])
        for first, index in enumerate(slices(case, boxes)):
            where = '' if index is None else f', axial slice {index + 1} of {case.image.shape[2]}'
            text = '' if first else _counts_text(split, number)
            groups.append(Group(f'{KINDS[kind]}: {case.name}{where}', tiles(case, boxes, index), text))
    classes = [(name, style.class_colour(number)) for number, name in enumerate(split.table.classes, 1)]
    text = ('The images with the highest, the median and the lowest AP. Found boxes are shown from the operating point '
            'on.')
    if any(case.is_volume for _, _, case in examples):
        text += (' Volumes are shown in the axial slices through most objects and false positives, with the boxes that '
                 'the slice cuts. The patient\'s right is on the left of the picture.')
    legends = [('Classes', classes), ('Errors', ERRORS)]
    if any(case.boxes.ignored is not None and len(case.boxes.ignored.boxes) for _, _, case in examples):
        legends.append(('Regions', IGNORED))
        text += (' Dashed boxes are ignored regions, such as crowds and difficult objects: they count neither as '
                 'missed nor, where something is found on them, as false positives.')
    return Section('Example images', text, legends, groups=groups)


def choose_examples(split: DetectionSplit) -> list[tuple[str, int, Snapshot]]:
    """The images of each kind that have a snapshot: the kind, the image's number, and the snapshot."""
    paths = [split.run.folder / 'cases' / split.split / f'{name}.npz' for name in split.table.ids]
    ranks = {kind: {int(number): rank for rank, number in enumerate(order)} for kind, order in split.ranks.items()}
    found: dict[str, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
    for number in ranks['best']:
        if paths[number].is_file():
            kind = min(KINDS, key=lambda kind: ranks[kind][number])
            found[kind].append((ranks[kind][number], number))
    return [(kind, number, snapshot.load(paths[number])) for kind, pairs in found.items()
            for _, number in sorted(pairs)[:IMAGES_PER_KIND]]


def boxes_above(boxes: ImageBoxes, score: float) -> ImageBoxes:
    """The boxes of an image without those found with a lower score, or found on ignored regions instead of objects."""
    counted = boxes.scores >= score
    if boxes.ignored is not None:
        dims = boxes.pred_boxes.shape[1] // 2
        on_ignored = box_matching.found_on_ignored(boxes, float(detection.iou_thresholds(dims)[HIT]))
        counted &= ~on_ignored | find_hits(boxes)[1]
    return boxes._replace(pred_boxes=boxes.pred_boxes[counted], pred_labels=boxes.pred_labels[counted],
                          scores=boxes.scores[counted])


def find_hits(boxes: ImageBoxes) -> tuple[np.ndarray, np.ndarray]:
    """Which true boxes are hit, `[N]` bool, and which found boxes are hits, `[P]` bool."""
    dims = max(boxes.true_boxes.shape[1], boxes.pred_boxes.shape[1]) // 2
    classes = 1 + max([*boxes.true_labels.tolist(), *boxes.pred_labels.tolist()], default=0)
    matches = box_matching.pool_classes(
        box_matching.match_classes([boxes], classes, detection.iou_thresholds(dims)[:HIT + 1]))
    taken = matches.matched_object[HIT]
    detected, hit = np.zeros(len(boxes.true_boxes), bool), np.zeros(len(boxes.pred_boxes), bool)
    detected[matches.object_number[taken[taken >= 0]]], hit[matches.box_number[taken >= 0]] = True, True
    return detected, hit


def slices(case: Snapshot, boxes: ImageBoxes) -> list[int | None]:
    """The axial slices of a volume through the most true boxes and false positives; [None] for a 2D image."""
    if not case.is_volume:
        return [None]
    corners = np.concatenate([boxes.true_boxes, boxes.pred_boxes[~find_hits(boxes)[1]]])
    remaining, chosen = np.ones(len(corners), bool), []
    while remaining.any() and len(chosen) < SLICES:
        middles = np.floor(corners[:, [2, 5]].mean(1)).astype(int)
        best = int(np.argmax([(_cuts(corners, place) & remaining).sum() for place in middles]))
        chosen.append(int(np.clip(middles[best], 0, case.image.shape[2] - 1)))
        remaining &= ~_cuts(corners, chosen[-1])
        remaining[best] = False
    return sorted(chosen) or [case.image.shape[2] // 2]


def tiles(case: Snapshot, boxes: ImageBoxes, index: int | None) -> list[draw.Tile]:
    """A 2D image or an axial slice of a volume: the image, the truth, the found boxes, and the errors."""
    image, pixel = case.image if case.image.shape[-1] == 3 else case.image[..., 0], case.spacing[:2]
    if index is not None:
        image, pixel = np.take(image, index, 2).swapaxes(0, 1)[::-1, ::-1], (case.spacing[1], case.spacing[0])
    outlines, out = _outlines(case, boxes, index), []
    for title in ('Image', *outlines):
        canvas, axes, width = draw.canvas(image, pixel, case.limits, 0.6 if title == 'Errors' else 1.0)
        for outline in outlines.get(title, ()):
            draw_outline(axes, *outline)
        if index is not None:
            draw.annotate(axes, SIDES[2], pixel, 'radiological' if title == 'Image' else '')
        where = 'Image' if index is None else f'Axial slice {index + 1}'
        alt = f'{where} of case {case.name}: {title.lower()}'
        out.append(draw.Tile(style.png(canvas, draw.DPI), title, alt, width))
    return out


def _outlines(case: Snapshot, boxes: ImageBoxes, index: int | None) -> dict[str, list[Outline]]:
    """The boxes that the pictures show by their titles."""
    detected, hit = find_hits(boxes)
    truth, found, visible, shown = boxes.true_boxes, boxes.pred_boxes, np.arange(len(detected)), np.arange(len(hit))
    if index is not None:
        visible, shown = (np.flatnonzero(_cuts(corners, index)) for corners in (truth, found))
        truth, found = (_axial_boxes(corners, case.image.shape) for corners in (truth, found))
    ignored, scored = _ignored_outlines(case, boxes, index), len(shown) <= MAX_SCORED
    return {
        'Truth': [*ignored, *(Outline(truth[n], style.class_colour(int(boxes.true_labels[n]) + 1)) for n in visible)],
        'Found': [Outline(found[n], style.class_colour(int(boxes.pred_labels[n]) + 1),
                          f'{boxes.scores[n]:.2f}' if scored else '') for n in shown],
        'Errors': [*ignored, *(Outline(found[n], HIT_COLOUR if hit[n] else style.SPURIOUS) for n in shown),
                   *(Outline(truth[n], style.MISSED) for n in visible if not detected[n])]}


def _ignored_outlines(case: Snapshot, boxes: ImageBoxes, index: int | None) -> list[Outline]:
    """The ignored regions of an image, or those that an axial slice cuts."""
    regions = np.zeros((0, 4)) if boxes.ignored is None else boxes.ignored.boxes
    if index is not None and len(regions):
        regions = _axial_boxes(regions[_cuts(regions, index)], case.image.shape)
    return [Outline(region, IGNORED_COLOUR, dashed=True) for region in regions]


def draw_outline(axes: Axes, box: np.ndarray, colour: str, text: str = '', dashed: bool = False) -> None:
    """Draws a box on an image.

    Args:
      axes: of `draw.canvas`.
      box: `[4]`, rows and columns of its corners.
      colour: of the outline and the text.
      text: written at the upper left corner.
      dashed: whether the outline is dashed.
    """
    top, left, bottom, right = np.asarray(box, float) - 0.5
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.1,
                             linestyle=(0, (4, 2)) if dashed else 'solid', path_effects=draw.HALO))
    if text:
        axes.text(left, top, text, color=colour, fontsize=7, va='bottom', ha='left', clip_on=True, path_effects=[
            patheffects.withStroke(linewidth=1.2, foreground='black')])


def training_samples(run: Run) -> list[tuple[draw.Tile, draw.Tile]]:
    """Training images as read and as augmented, with their boxes; the middle slice of volumes, without boxes."""
    names = ('original', 'image', 'original_boxes', 'boxes', 'box_mask')
    if not run.augmented or not set(names) <= set(run.augmented):
        return []
    before, after, *boxes, mask = (run.augmented[name] for name in names)
    if before.ndim == 4:
        return draw.augmented_tiles({'original': before, 'image': after}, (1, 1), flip=True)
    pairs = []
    for number in range(len(before)):
        low, high = np.percentile(before[number], [0.5, 99.5])
        pair = []
        for title, image, corners in zip(('As read', 'As trained on'), (before, after), boxes):
            canvas, axes, width = draw.canvas(image[number], (1, 1), (low, max(high, low + 1e-6)))
            for box in corners[number][mask[number] > 0]:
                draw_outline(axes, box, style.class_colour(1))
            pair.append(draw.Tile(style.png(canvas, draw.DPI), title, f'Training image {number + 1}, {title.lower()}',
                                  width))
        pairs.append(tuple(pair))
    return pairs


def _cuts(boxes: np.ndarray, index: int) -> np.ndarray:
    """Which boxes `[N, 6]` an axial slice cuts, `[N]` bool."""
    return (boxes[:, 2] <= index + 0.5) & (boxes[:, 5] > index + 0.5)


def _axial_boxes(boxes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Boxes of a volume as rows and columns of an axial slice: anterior up, the patient's right on the left."""
    return np.stack([shape[1] - boxes[:, 4], shape[0] - boxes[:, 3], shape[1] - boxes[:, 1], shape[0] - boxes[:, 0]],
                    -1)


def _counts_text(split: DetectionSplit, number: int) -> str:
    """The numbers of true and found boxes of each class, of hits and errors, and the AP of an image."""
    def class_counts(labels: np.ndarray) -> str:
        counts = np.bincount(labels, minlength=len(split.table.classes))
        return ', '.join(f'{name} {count}' for name, count in zip(split.table.classes, counts) if count) or 'none'

    every = split.table.images[number]
    boxes = boxes_above(every, split.operating['score'])
    detected, hit = find_hits(boxes)
    precision = detection.image_average_precision(every, len(split.table.classes), split.table.dims)
    return (f'Truth: {class_counts(boxes.true_labels)}. Found: {class_counts(boxes.pred_labels)}; hits {hit.sum()}, '
            f'false positives {(~hit).sum()}, missed {(~detected).sum()}. AP of this image {format_number(precision)}.')
