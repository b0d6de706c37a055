"""Saliency maps of an evaluator's cases, by the methods that the config names, with tests of the maps."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax.core.task import Task
from medjax.errors import InputError
from medjax.tasks.classification import saliency

# `(task, variables, image [B, *S, C], target [B]) -> {'maps': [M, B, *S], …}` for M methods; the other entries, `[M, B]`,
# test the maps.
Explain = Callable[[Task, Any, np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


def explainer(methods: Sequence[str]) -> Explain:
    """A function that draws a map of each image by each method, and tests the maps.

    Args:
      methods: names in `saliency.METHODS`.
    """
    def explain(task: Task, variables: Any, image: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
        def one(name: str, variables: Any, image: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
            method = saliency.METHODS[name]
            maps = method(functools.partial(task.features, variables), image, target)
            return {'maps': maps, **saliency.tests(
                method, task.features, lambda variables, image: task.predict(variables, {'image': image})['probs'],
                variables, image, target, maps, jax.random.key(0))}
        compiled = jax.jit(one, static_argnums=0)
        # One image at a time: as one batch large volumes would not fit.
        found = [[compiled(name, variables, image[i:i + 1], target[i:i + 1]) for i in range(len(image))]
                 for name in methods]
        return jax.tree.map(np.asarray, {key: np.stack([np.concatenate([each[key] for each in row]) for row in found])
                                         for key in found[0][0]})
    return explain


def check(methods: Sequence[str], task: Task, variables: Any, image: np.ndarray) -> None:
    """Refuses methods that are not known or that the network does not support, before it is trained.

    Args:
      methods: names in `saliency.METHODS`.
      task: the task.
      variables: shapes of the network's variables.
      image: `[1, *S, C]`, an example.

    Raises:
      InputError: naming the method.
    """
    for name in methods:
        if name not in saliency.METHODS:
            raise InputError(f'config.evaluate.explain: {name!r}; expected some of: {", ".join(saliency.METHODS)}')
        try:
            jax.eval_shape(lambda variables, method=saliency.METHODS[name]: method(
                functools.partial(task.features, variables), image, np.zeros(1, np.int32)), variables)
        except InputError as error:
            raise InputError(f'config.evaluate.explain: {name!r}: {error}') from error
