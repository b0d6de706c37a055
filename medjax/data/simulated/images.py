"""Simulated pictures and volumes with a class: for trying a config where there are no data, and for tests.

Each shows smooth noise and a bright ball on it, in a place of its own; the class is the ball's size. Nothing that is
measured on them says anything of medicine.
"""

import functools
from collections.abc import Sequence

import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, Case, Source
from medjax.data.splits import dealt_anew

NOTICE = 'A simulation: balls of different sizes on noise. Its figures say nothing of medicine.'


def source(*, classes: Sequence[str] = ('small', 'large'), cases: Sequence[int] = (64, 32, 32),
           shape: Sequence[int] = (28, 28), channels: int = 1, problem: str = '', seed: int = 0,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0) -> Source:
    """Draws pictures or volumes.

    Args:
      classes: names; the balls' radii grow from one to the next. Of a multilabel problem each class has its own radius
        and place, and an image may show any of them.
      cases: how many train, validate and test.
      shape: rows and columns, or x, y, z.
      channels: 1 or 3.
      problem: see `source.Source`; by the number of classes by default.
      seed: of all draws.
      fold: see `splits.split_by_patient`, as for folds.
      folds: …
    """
    problem = problem or ('binary' if len(classes) == 2 else 'multiclass')
    made = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        for number in range(count):
            rng = np.random.default_rng((seed, part, number))
            several = tuple((rng.random(len(classes)) < 0.5).astype(int).tolist())
            target = several if problem == 'multilabel' else number % len(classes)
            made.append(Case(
                id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split, target=target,
                columns={'site': 'ab'[number // len(classes) % 2]}, how=f'{seed} {part} {number} {shape} {channels} '
                f'{len(classes)} {problem}', read=functools.partial(_draw, (seed, part, number, 1), tuple(shape),
                                                                    channels, target, len(classes))))
    made = dealt_anew(made, fold=fold, folds=folds, seed=seed)
    return Source(cases=tuple(made), classes=tuple(classes), problem=problem, notice=NOTICE)


def _draw(seed: Sequence[int], shape: tuple[int, ...], channels: int, target: int | Sequence[int],
          classes: int) -> tuple[Image, None]:
    rng = np.random.default_rng(seed)
    shape3 = (shape[1], shape[0], 1) if len(shape) == 2 else shape  # as files have pictures: columns first
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape3], indexing='ij'))
    shown = range(classes) if isinstance(target, Sequence) else [target]
    array = rng.normal(90, 20, (*shape3, channels))
    for kind in shown:
        centre = rng.uniform(-0.4, 0.4, 3).reshape(3, 1, 1, 1)
        radius = 0.15 + 0.35 * (kind + 1) / classes
        there = target[kind] if isinstance(target, Sequence) else 1
        array[((grid - centre) ** 2).sum(0) < radius**2] += 60 * there
    return Image(np.clip(np.rint(array), 0, 255).astype(np.uint8), np.eye(4), 'phantom'), None
