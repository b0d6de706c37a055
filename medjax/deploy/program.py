"""The prediction of a trained run as a program of arrays, exported by `jax.export` for any batch and image size."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export

from medjax.errors import InputError

PLATFORMS = ('cpu', 'cuda', 'tpu')
PRECISIONS = ('float32', 'bfloat16', 'int8')
MULTIPLES = (1, 2, 4, 8, 16, 32)  # of which image sizes may have to be multiples
BFLOAT16, INT8, SCALE = ':bfloat16', ':int8', ':scale'  # endings of the names of stored arrays
INT8_MAX = 127

Arrays = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Program:
    """An exported prediction.

    Attributes:
      exported: of the function `(stored weights, inputs) -> outputs`, each a dict of arrays.
      inputs: for each input its shape, as text with letters where any size will do, and its type.
      outputs: the same of the outputs.
    """

    exported: export.Exported
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]


def store(variables: Mapping[str, Any], precision: str) -> dict[str, np.ndarray]:
    """Weights as named arrays of a precision.

    Args:
      variables: of the network.
      precision: 'float32' keeps each array as it is. 'bfloat16' rounds the parameters, which are stored as the 16 bits
        of each number. 'int8' rounds parameters with two axes or more to 255 levels, symmetric about zero, with a scale
        for each output channel, which is the last axis. Collections other than parameters are kept.

    Returns:
      Arrays by their path in `variables`, which ends in ':bfloat16', or in ':int8' and ':scale', where it was rounded.

    Raises:
      InputError: the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise InputError(f'--precision={precision}; expected one of: {", ".join(PRECISIONS)}')
    stored = {}
    for path, leaf in traverse_util.flatten_dict(variables, sep='/').items():
        array = np.asarray(leaf)
        rounded = path.startswith('params/') and array.dtype == np.float32
        if rounded and precision == 'bfloat16':
            stored[path + BFLOAT16] = array.astype(jnp.bfloat16).view(np.uint16)
        elif rounded and precision == 'int8' and array.ndim > 1:
            largest = np.abs(array).max(tuple(range(array.ndim - 1)))
            scale = np.where(largest > 0, largest / INT8_MAX, 1).astype(np.float32)
            stored[path + INT8], stored[path + SCALE] = np.rint(array / scale).astype(np.int8), scale
        else:
            stored[path] = array
    return stored


def restore(stored: Arrays) -> dict[str, Any]:
    """The variables of stored weights, in float32; traceable."""
    flat = {}
    for path, array in stored.items():
        name, _, kind = path.partition(':')
        if path.endswith(BFLOAT16):
            flat[name] = jax.lax.bitcast_convert_type(array, jnp.bfloat16).astype(jnp.float32)
        elif path.endswith(INT8):
            flat[name] = array.astype(jnp.float32) * stored[name + SCALE]
        elif not kind:
            flat[name] = array
    return traverse_util.unflatten_dict(flat, sep='/')


def trace(predict: Callable[[Any, Arrays], dict[str, jax.Array]], stored: Arrays, example: Mapping[str, np.ndarray],
          platforms: Sequence[str] = PLATFORMS) -> Program:
    """Exports a prediction for any batch size and, where the network allows it, any image size.

    Sizes of images, which have a batch axis, two or three axes of space and channels, are multiples of the smallest
    power of two for which the network can be traced. Where it cannot, they are those of the example. Entries of the
    batch that the outputs do not depend on are no inputs.

    Args:
      predict: `(variables, batch) -> outputs`.
      stored: weights as `store` returns them.
      example: a batch of the shapes that the network takes.
      platforms: those that the program shall run on.

    Raises:
      InputError: the prediction cannot be exported; the message has the reason.
    """
    predict, example = without_unused(predict, restore(stored), example)

    def program(weights: Arrays, inputs: Arrays) -> dict[str, jax.Array]:
        return predict(restore(weights), inputs)

    weights = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in stored.items()}
    reason: Exception | None = None
    for multiple in (*MULTIPLES, None):
        try:
            inputs = symbolic(example, multiple)
            exported = export.export(jax.jit(program), platforms=platforms)(weights, inputs)
        except Exception as error:  # JAX, flax and the network's own checks raise many types for symbolic sizes
            reason = error
            continue
        outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
        return Program(exported, *({name: {'shape': [str(n) for n in of.shape], 'dtype': str(of.dtype)}
                                    for name, of in arrays.items()} for arrays in (inputs, outputs)))
    raise InputError(f'--format=jax: the prediction cannot be exported: {str(reason).splitlines()[0]}') from reason


def without_unused(predict: Callable[[Any, Arrays], dict[str, jax.Array]], variables: Any,
                   example: Mapping[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """A prediction without the entries of the batch that its outputs do not depend on, such as a target.

    Args:
      predict: `(variables, batch) -> outputs`.
      variables: of the network.
      example: a batch of the shapes that the network takes.

    Returns:
      The prediction of the other entries, and an example of these.
    """
    names = sorted(example)
    kept = export.export(jax.jit(lambda batch: predict(variables, batch)))(dict(example)).module_kept_var_idx
    used = {name: example[name] for number, name in enumerate(names) if number in kept}

    def predict_used(variables: Any, batch: Arrays) -> dict[str, jax.Array]:
        count = next(iter(batch.values())).shape[0]
        zeros = {name: jnp.zeros((count, *array.shape[1:]), array.dtype)
                 for name, array in example.items() if name not in used}
        return predict(variables, {**zeros, **batch})

    return predict_used, used


def symbolic(example: Mapping[str, np.ndarray], multiple: int | None) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch with a letter for the batch size, and for sizes of images.

    Args:
      example: a batch.
      multiple: sizes of images are multiples of it; None for those of the example.
    """
    scope, shapes = export.SymbolicScope(), {}
    for name, array in example.items():
        sizes = ['b', *map(str, array.shape[1:])]
        if multiple is not None and array.ndim in (4, 5):
            letters = 'xyz'[:array.ndim - 2]
            sizes[1:-1] = [letter if multiple == 1 else f'{multiple}*{letter}' for letter in letters]
        shapes[name] = jax.ShapeDtypeStruct(export.symbolic_shape(', '.join(sizes), scope=scope), array.dtype)
    return shapes
