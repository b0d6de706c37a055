"""Pictures of classified cases: the image, and maps of what speaks for a class laid over it."""

import dataclasses
import pathlib

import numpy as np
from matplotlib import colors

from medjax.errors import InputError
from medjax.report import draw, style
from medjax.report.draw import PLANES, SIDES
from medjax.report.run_files import snapshot

NAMES = {'grad_cam': 'Grad-CAM', 'grad_cam_pp': 'Grad-CAM++', 'integrated_gradients': 'Integrated gradients',
         'smooth_grad': 'SmoothGrad', 'occlusion': 'Occlusion', 'attention_rollout': 'Attention rollout'}
TESTS = ('deletion', 'insertion', 'similarity', 'incomplete')  # of a map; see tasks.classification.saliency
TOP = 99.9  # percentile of a map's size, where it is not zero, that has the full colour


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A case as classified.

    Attributes:
      name: of the case.
      image: `[rows, columns, C]`, or `[X, Y, Z, C]`, float32.
      maps: `[M, *S]` float32.
      methods: the M maps' names.
      limits: intensities that are drawn black and white.
      explained: the class that the maps speak for; '' where that is not known.
      spacing: mm of a voxel along the axes of a volume in RAS+; () where it is not known to be one.
      tests: those of TESTS that were made, each `[M]`.
    """

    name: str
    image: np.ndarray
    maps: np.ndarray
    methods: tuple[str, ...]
    limits: tuple[float, float]
    explained: str
    spacing: tuple[float, ...]
    tests: dict[str, np.ndarray]

    @property
    def volume(self) -> bool:
        """Whether it has three spatial axes."""
        return self.image.ndim == 4


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays do not fit together.
    """
    with snapshot(path) as arrays:
        image, maps, methods = arrays['image'], arrays['maps'], tuple(map(str, arrays['methods']))
        maps = maps if methods else np.zeros((0, *image.shape[:-1]))
    if image.ndim not in (3, 4) or maps.shape != (len(methods), *image.shape[:-1]):
        raise InputError(f'{path}: image {image.shape}, maps {maps.shape}, {len(methods)} methods; expected '
                         '[rows, columns, C] or [X, Y, Z, C], and a map of that extent for each method')
    # Colours are shown as stored; greys, which may be any measurement, between their own extremes.
    low, high = (0, 255) if image.dtype == np.uint8 and image.shape[-1] == 3 else np.percentile(image, [0.5, 99.5])
    return Snapshot(path.stem, image.astype(np.float32), maps.astype(np.float32), methods,
                    (float(low), float(max(high, low + 1e-6))), str(arrays.get('explained', '')),
                    tuple(map(float, arrays.get('spacing', ()))) if image.ndim == 4 else (),
                    {name: np.asarray(arrays[name], np.float64) for name in TESTS if name in arrays})


def method_name(method: str) -> str:
    """What a method is called."""
    return NAMES.get(method, method.replace('_', ' '))


def cuts(case: Snapshot) -> list[tuple[int, int] | None]:
    """Of a volume the three planes (axis, index) through the first map's maximum; of a picture itself, None."""
    if not case.volume:
        return [None]
    middle = tuple(n // 2 for n in case.image.shape[:3])
    peak = np.unravel_index(case.maps[0].argmax(), case.maps[0].shape) if len(case.maps) else middle
    return [(axis, int(peak[axis])) for axis in (2, 1, 0)]


def cut_name(case: Snapshot, cut: tuple[int, int] | None) -> str:
    """Which plane that is, counted from 1; sides have names only where the volume's are known."""
    if cut is None:
        return ''
    axis, index = cut
    plane = f'{PLANES[axis].lower()} slice' if case.spacing else f'across axis {axis + 1}, slice'
    return f'{plane} {index + 1} of {case.image.shape[axis]}'


def tiles(case: Snapshot, cut: tuple[int, int] | None) -> list[draw.Tile]:
    """A picture or a plane of a volume: as it is, and in grey below each method's map.

    Each map is drawn on a scale of its own, the same in all planes. Below them there is no colour but theirs.
    """
    pixel = (1.0, 1.0)
    image = case.image if case.image.shape[-1] == 3 else case.image[..., 0]
    grey, maps = case.image.mean(-1) if image.ndim == case.image.ndim else image, case.maps
    scales = [float(np.percentile(np.abs(m[m != 0]), TOP)) if m.any() else 0.0 for m in maps]
    where = 'Picture'
    if cut is not None:
        axis, index = cut
        turn = lambda array: np.take(array, index, axis).swapaxes(0, 1)[::-1, ::-1]
        image, grey, maps = turn(image), turn(grey), [turn(m) for m in maps]
        across, up = (case.spacing[a] for a in range(3) if a != axis) if case.spacing else (1.0, 1.0)
        pixel, where = (up, across), cut_name(case, cut)
    made = []
    for number, title in enumerate(['Image', *map(method_name, case.methods)]):
        figure, axes, width = draw.canvas(image if number == 0 else grey, pixel, case.limits, 0.8 if number else 1.0)
        if number:
            axes.imshow(_painted(maps[number - 1], scales[number - 1]), aspect='auto', interpolation='bilinear')
        if case.spacing:
            draw.annotate(axes, SIDES[axis], pixel, 'radiological' if number == 0 and axis else '')
        alt = f'{where} of case {case.name}: {title if number else "the image alone"}'
        made.append(draw.Tile(style.png(figure, draw.DPI), title, alt, width))
    return made


def _painted(plane: np.ndarray, scale: float) -> np.ndarray:
    """A map as colours `[rows, columns, 4]`, the more solid the larger; nothing where it is flat at zero."""
    size = np.clip(np.abs(plane) / scale, 0, 1) if scale > 0 else np.zeros_like(plane)
    ramps = [colors.LinearSegmentedColormap.from_list('', ramp) for ramp in (style.SUPPORTING, style.OPPOSING)]
    painted = np.where((plane >= 0)[..., None], ramps[0](size), ramps[1](size))
    painted[..., 3] = 0.8 * size
    return painted
