"""Pictures of classified cases: the image, and saliency maps overlaid on it."""

import numpy as np
from matplotlib import colors

from medjax.report import draw, style
from medjax.report.draw import PLANES, SIDES
from medjax.tasks.classification.snapshot import Snapshot

METHOD_NAMES = {'grad_cam': 'Grad-CAM', 'grad_cam_pp': 'Grad-CAM++', 'integrated_gradients': 'Integrated gradients',
                'smooth_grad': 'SmoothGrad', 'occlusion': 'Occlusion', 'attention_rollout': 'Attention rollout'}
FULL_COLOUR = 99.9  # percentile of a map's nonzero magnitudes that has the full colour
OPACITY = 0.8  # of the full colour

Slice = tuple[int, int]  # the axis across a slice of a volume, and its index


def method_name(method: str) -> str:
    """The name of a saliency method in the report."""
    return METHOD_NAMES.get(method, method.replace('_', ' '))


def slices(case: Snapshot) -> list[Slice | None]:
    """The three slices of a volume through the first map's maximum; [None] for a 2D image."""
    if not case.is_volume:
        return [None]
    middle = tuple(n // 2 for n in case.image.shape[:3])
    peak = np.unravel_index(case.maps[0].argmax(), case.maps[0].shape) if len(case.maps) else middle
    return [(axis, int(peak[axis])) for axis in (2, 1, 0)]


def slice_name(case: Snapshot, where: Slice | None) -> str:
    """The name of a slice, counted from 1: its plane, or its axis where the volume's orientation is unknown."""
    if where is None:
        return ''
    axis, index = where
    plane = f'{PLANES[axis].lower()} slice' if case.spacing else f'across axis {axis + 1}, slice'
    return f'{plane} {index + 1} of {case.image.shape[axis]}'


def tiles(case: Snapshot, where: Slice | None) -> list[draw.Tile]:
    """A 2D image or a slice of a volume, and the same in grey below each method's map.

    Each map has its own scale, which is the same in all slices.

    Args:
      case: the case.
      where: a slice of a volume; None for a 2D image.
    """
    image = case.image if case.image.shape[-1] == 3 else case.image[..., 0]
    grey, maps = case.image.mean(-1) if image.ndim == case.image.ndim else image, case.maps
    scales = [float(np.percentile(np.abs(m[m != 0]), FULL_COLOUR)) if m.any() else 0.0 for m in maps]
    pixel, name = (1.0, 1.0), 'Image'
    if where is not None:
        image, grey, maps = _slice(image, where), _slice(grey, where), [_slice(m, where) for m in maps]
        name = slice_name(case, where)
        if case.spacing:
            across, up = (case.spacing[a] for a in range(3) if a != where[0])
            pixel = (up, across)
    out = []
    for number, title in enumerate(['Image', *map(method_name, case.methods)]):
        figure, axes, width = draw.canvas(image if number == 0 else grey, pixel, case.limits, 0.8 if number else 1.0)
        if number:
            axes.imshow(_map_colours(maps[number - 1], scales[number - 1]), aspect='auto', interpolation='bilinear')
        if case.spacing:
            draw.annotate(axes, SIDES[where[0]], pixel, 'radiological' if number == 0 and where[0] else '')
        alt = f'{name} of case {case.name}: {title if number else "without a map"}'
        out.append(draw.Tile(style.png(figure, draw.DPI), title, alt, width))
    return out


def _slice(array: np.ndarray, where: Slice) -> np.ndarray:
    """A slice of `[X, Y, Z, …]` as rows and columns in radiological orientation."""
    axis, index = where
    return np.take(array, index, axis).swapaxes(0, 1)[::-1, ::-1]


def _map_colours(plane: np.ndarray, scale: float) -> np.ndarray:
    """A map as colours `[rows, columns, 4]`, more opaque for larger magnitudes; transparent where it is 0."""
    size = np.clip(np.abs(plane) / scale, 0, 1) if scale > 0 else np.zeros_like(plane)
    supporting, opposing = (colors.LinearSegmentedColormap.from_list('', ramp)
                            for ramp in (style.SUPPORTING, style.OPPOSING))
    out = np.where((plane >= 0)[..., None], supporting(size), opposing(size))
    out[..., 3] = OPACITY * size
    return out
