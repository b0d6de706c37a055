"""Simulated endoscopy videos with moving polyps, to try a config without data and for tests.

The camera moves along a wall of folds in the colours of mucosa, lit from the camera. Raised, redder blobs with a
blurred edge lie on the wall, enter and leave the view, and wet spots have highlights. Videos are written as MP4 with a
file of boxes each, as `data.sources.video` reads them.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medjax.data.datasets import prepared_cache
from medjax.data.io.video_frames import import_pyav
from medjax.data.source import SPLITS, Source
from medjax.data.sources import video
from medjax.data.splits import Splitting
from medjax.options import Count, NonNegativeInt

NOTICE = 'Simulated videos: rendered walls with moving blobs. The results have no medical meaning.'
VERSION = 1  # of the rendering
RATE = 25  # frames a second
WALL, POLYP = np.array([190.0, 105.0, 90.0]), np.array([205.0, 85.0, 85.0])  # colours, of 255
RADIUS = (0.07, 0.14)  # range for a polyp, as a fraction of the shortest extent
SPEED = 0.012  # of the camera, the same fraction in a frame
GLARES = 6
LEAST = 0.3  # smallest visible fraction of a polyp's box that is annotated


def source(*, cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (8, 3, 3), frames: Count = 75,
           shape: tuple[Count, Count] = (128, 128), max_polyps: Count = 3, frame_step: Count = 1,
           seed: NonNegativeInt = 0,
           cache: str = '') -> Source:
    """A detection source of rendered videos; the only class is 'polyp', the videos are named after their splits.

    Args:
      cases: numbers of training, validation and test videos.
      frames: number of frames of each.
      shape: rows and columns, even.
      max_polyps: largest number of polyps in a video; the smallest is 1.
      frame_step: see `video.source`.
      seed: of all draws.
      cache: the folder of rendered videos; by default in the user's cache folder.

    Raises:
      InputError: PyAV is missing; the folder cannot be written.
    """
    root = pathlib.Path.home() / '.cache' / 'medjax' / 'simulated_video'
    if cache:
        root = pathlib.Path(cache).expanduser()
    folder = prepared_cache.entry(root, [VERSION, list(cases), frames, list(shape), max_polyps, seed])
    names = {f'{split}{number:02d}': split for split, count in zip(SPLITS, cases) for number in range(count)}

    def render(part: pathlib.Path) -> None:
        for number, video_name in enumerate(names):
            write(part / f'{video_name}.mp4', (seed, number), frames=frames, shape=shape, max_polyps=max_polyps)

    if not prepared_cache.found(folder, 'videos'):
        prepared_cache.store(folder, render, 'videos', 'config.data.source.cache')
    return video.source(dir=str(folder.resolve()), frame_step=frame_step, classes=('polyp',), patient_regex=r'^(\w+)\.',
                        splitting=Splitting(splits=names), notice=NOTICE, cache=str(root))


def write(path: pathlib.Path, draw: Sequence[int], *, frames: int, shape: Sequence[int], max_polyps: int) -> None:
    """Renders a video and writes it as MP4, with its boxes beside it as `.txt`.

    Args:
      path: ends in .mp4.
      draw: seed of the random draws.
      frames: their number.
      shape: rows and columns, even.
      max_polyps: largest number of polyps.
    """
    rng, lines, av = np.random.default_rng(draw), [], import_pyav()
    shape, distance = np.array(shape), SPEED * min(shape) * frames
    wall, steps = _wall(rng, shape + int(distance) + 2), np.linspace(0, distance, frames)
    side = rng.uniform(0, distance) + 0.3 * distance * np.sin(np.linspace(0, rng.uniform(2, 6), frames))
    corners = np.stack([steps, np.clip(side, 0, distance)], -1)  # of the camera's view on the wall
    count = int(rng.integers(1, max_polyps + 1))
    # Each polyp lies in the view of at least one frame.
    centres = corners[rng.integers(0, frames, count)] + rng.uniform(0.2, 0.8, (count, 2)) * shape
    radii = rng.uniform(*RADIUS, (count, 1)) * min(shape) * rng.uniform(0.8, 1.25, (count, 2))
    with av.open(str(path), 'w', format='mp4') as container:
        # x264's mbtree (lookahead) is not reproducible on some processors.
        stream = container.add_stream('libx264', rate=RATE, options={
            'preset': 'veryfast', 'crf': '20', 'x264-params': 'mbtree=0'})
        stream.height, stream.width, stream.pix_fmt = int(shape[0]), int(shape[1]), 'yuv420p'
        for number, corner in enumerate(corners):
            frame = av.VideoFrame.from_ndarray(_view(rng, wall, corner, centres, radii, shape), 'rgb24')
            container.mux(stream.encode(frame))
            low, high = centres - radii - corner, centres + radii - corner
            inside = np.clip(np.stack([low, high]), 0, shape)
            visible = (inside[1] - inside[0]).prod(-1) / (high - low).prod(-1)
            for y1, x1, y2, x2 in np.concatenate(list(inside), -1)[visible >= LEAST].tolist():
                lines.append(f'{number},{x1:.2f},{y1:.2f},{x2:.2f},{y2:.2f},polyp\n')
        container.mux(stream.encode(None))
    path.with_suffix('.txt').write_text(''.join(lines))


def _wall(rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    """Folds and vessels, as fractions of the reflected light, `[rows, columns]`."""
    soft = ndimage.gaussian_filter(rng.normal(size=shape), min(shape) / 12)
    fine = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    rows = np.arange(shape[0])[:, None] + 30 * soft / soft.std() / 4
    return 0.85 + 0.12 * np.sin(rows / 9) + 0.06 * soft / soft.std() + 0.03 * fine / fine.std()


def _view(rng: np.random.Generator, wall: np.ndarray, corner: np.ndarray, centres: np.ndarray, radii: np.ndarray,
          shape: np.ndarray) -> np.ndarray:
    """A frame, `[rows, columns, 3]` uint8."""
    top, left = corner.astype(int)
    light = wall[top:top + shape[0], left:left + shape[1]]
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1) + 0.5
    array = light[..., None] * WALL
    for centre, radius in zip(centres - corner, radii):
        off = (at - centre) / radius
        far = np.sqrt((off**2).sum(-1))
        inside = 1 / (1 + np.exp((far - 0.93) * 25))[..., None]
        # A dome is brighter where it faces the light, which comes from above.
        dome = (0.95 + 0.2 * np.sqrt(np.clip(1 - far**2, 0, 1)) - 0.12 * off[..., 0])[..., None]
        array = array * (1 - inside) + inside * dome * POLYP * (0.5 + 0.5 * light[..., None])
        array += 60 * np.exp(-((off + 0.35) ** 2).sum(-1) / 0.02)[..., None]
    for centre in rng.uniform(0, 1, (GLARES, 2)) * shape:
        array += 150 * np.exp(-((at - centre) ** 2).sum(-1) / (0.0003 * shape.prod()))[..., None]
    middle = (((at - shape / 2) / shape) ** 2).sum(-1)
    array = array * (1.1 - 0.9 * middle)[..., None] + rng.normal(0, 4, array.shape)
    return np.clip(np.rint(array), 0, 255).astype(np.uint8)
