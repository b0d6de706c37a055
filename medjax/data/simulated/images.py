"""Simulated 2D images and volumes with a class, to try a config without data and for tests.

Each shows a bright ball at a random place on noise; the class is the size of the ball.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, Case, Source
from medjax.data.splits import CrossValidation
from medjax.options import Count, NonNegativeInt

NOTICE = 'Simulated images: balls of different sizes on noise. The results have no medical meaning.'


def source(*, classes: Sequence[str] = ('small', 'large'),
           cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (64, 32, 32), shape: Sequence[Count] = (28, 28),
           channels: Literal[1, 3] = 1, problem: Literal['', 'binary', 'multiclass', 'ordinal', 'multilabel'] = '',
           seed: NonNegativeInt = 0, cross_validation: CrossValidation = CrossValidation()) -> Source:
    """A classification source of simulated images.

    Args:
      classes: names; the radius of the ball grows from class to class. In a multilabel problem each class has a radius
        and a place of its own, and an image may show any of them.
      cases: numbers of training, validation and test images.
      shape: rows and columns, or x, y, z.
      channels: 1 or 3.
      problem: see `source.Source`; by default chosen by the number of classes.
      seed: of all draws.
      cross_validation: replaces the split by folds.
    """
    problem = problem or ('binary' if len(classes) == 2 else 'multiclass')
    images = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        for number in range(count):
            rng = np.random.default_rng((seed, part, number))
            visible = tuple((rng.random(len(classes)) < 0.5).astype(int).tolist())
            target = visible if problem == 'multilabel' else number % len(classes)
            images.append(Case(
                id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split, target=target,
                columns={'site': 'ab'[number // len(classes) % 2]},
                how=f'{seed} {part} {number} {shape} {channels} {len(classes)} {problem}',
                read=functools.partial(_draw, (seed, part, number, 1), tuple(shape), channels, target, len(classes))))
    return Source(cases=tuple(cross_validation.resplit(images, seed)), classes=tuple(classes),
                  problem=problem, least_classes=1 if problem == 'multilabel' else 2, notice=NOTICE,
                  analysis_unit='image')


def _draw(seed: Sequence[int], shape: tuple[int, ...], channels: int, target: int | Sequence[int],
          classes: int) -> tuple[Image, None]:
    rng = np.random.default_rng(seed)
    shape3 = (shape[1], shape[0], 1) if len(shape) == 2 else shape  # 2D images are stored columns first
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape3], indexing='ij'))
    array = rng.normal(90, 20, (*shape3, channels))
    for number in range(classes) if isinstance(target, Sequence) else [target]:
        centre = rng.uniform(-0.4, 0.4, 3).reshape(3, 1, 1, 1)
        radius = 0.15 + 0.35 * (number + 1) / classes
        visible = target[number] if isinstance(target, Sequence) else 1
        array[((grid - centre) ** 2).sum(0) < radius**2] += 60 * visible
    return Image(np.clip(np.rint(array), 0, 255).astype(np.uint8), np.eye(4), 'simulated'), None
