"""Saliency methods by name, and maps of an evaluator's cases by the methods that the config names."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax.core.task import Task
from medjax.errors import InputError
from medjax.tasks.classification.saliency.activation_maps import grad_cam, grad_cam_pp
from medjax.tasks.classification.saliency.attention import attention_rollout
from medjax.tasks.classification.saliency.faithfulness import evaluate_maps
from medjax.tasks.classification.saliency.gradients import integrated_gradients, smooth_grad
from medjax.tasks.classification.saliency.occlusion import occlusion

METHODS: dict[str, Callable[..., jax.Array]] = {
    'grad_cam': grad_cam, 'grad_cam_pp': grad_cam_pp, 'integrated_gradients': integrated_gradients,
    'smooth_grad': smooth_grad, 'occlusion': occlusion, 'attention_rollout': attention_rollout,
}

# `(task, variables, image [B, *S, C], target [B]) -> {'maps': [M, B, *S], …}` for M methods. The other entries are
# tests of the maps, `[M, B]`.
Explain = Callable[[Task, Any, np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


def explain(methods: Sequence[str], task: Task, variables: Any, image: np.ndarray,
            target: np.ndarray) -> dict[str, np.ndarray]:
    """A saliency map of each image by each method, and tests of the maps.

    Args:
      methods: M names in METHODS.
      task: the task.
      variables: the network's variables.
      image: `[B, *S, C]`.
      target: `[B]`, the class that each map explains.

    Returns:
      `maps [M, B, *S]`, and the tests of `faithfulness.evaluate_maps`, `[M, B]` each.
    """
    def probability(variables: Any, image: jax.Array) -> jax.Array:
        return task.predict(variables, {'image': image})['probs']

    def map_and_tests(name: str, variables: Any, image: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
        method = METHODS[name]
        maps = method(functools.partial(task.features, variables), image, target)
        return {'maps': maps, **evaluate_maps(method, task.features, probability, variables, image, target, maps,
                                              jax.random.key(0))}

    compiled = jax.jit(map_and_tests, static_argnums=0)
    # One image at a time: a batch of large volumes would not fit into memory.
    found = [[compiled(name, variables, image[i:i + 1], target[i:i + 1]) for i in range(len(image))]
             for name in methods]
    return jax.tree.map(np.asarray, {key: np.stack([np.concatenate([each[key] for each in row]) for row in found])
                                     for key in found[0][0]})


def check(methods: Sequence[str], task: Task, variables: Any, image: np.ndarray) -> None:
    """Refuses methods that are unknown or that the network does not support, before training.

    Args:
      methods: names in METHODS.
      task: the task.
      variables: shapes of the network's variables.
      image: `[1, *S, C]`, an example.

    Raises:
      InputError: naming the method.
    """
    for name in methods:
        if name not in METHODS:
            raise InputError(f'config.evaluate.saliency: {name!r}; expected some of: {", ".join(METHODS)}')
        try:
            jax.eval_shape(lambda variables, method=METHODS[name]: method(
                functools.partial(task.features, variables), image, np.zeros(1, np.int32)), variables)
        except InputError as error:
            raise InputError(f'config.evaluate.saliency: {name!r}: {error}') from error
