"""Export to ONNX by jax2onnx, checked against JAX by running both with onnxruntime."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax.deploy import program
from medjax.errors import InputError
from medjax.ops.by_platform import tracing_portably

TOLERANCE = 1e-5  # relative to the largest number of an output
INSTALL = ('pip install flatbuffers onnx onnx-ir onnxruntime` and `pip install --no-deps jax2onnx` (its pins exclude '
           'the orbax-checkpoint that medjax needs')


def convert(predict: Any, stored: Mapping[str, np.ndarray],
            example: Mapping[str, np.ndarray]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """An ONNX model with weights; inputs and outputs have the names of the prediction's.

    The batch size may be any, or is 1 for networks of which the converter cannot make more.

    Args:
      predict: `(variables, batch) -> outputs`.
      stored: weights as `program.store` returns them.
      example: a batch of the shapes that the network takes.

    Returns:
      The model, and shape and type of each of its inputs and outputs, with 'b' for any batch size.

    Raises:
      InputError: jax2onnx is not installed, does not know an operation of the network, or the model's outputs differ
        from JAX's by more than 1e-5 of the largest number.
    """
    try:
        import jax2onnx
    except ImportError as error:
        raise InputError(f'--format=onnx: needs jax2onnx and onnxruntime: `{INSTALL})') from error
    variables = jax.tree.map(np.asarray, program.restore(stored))
    predict, example = program.without_unused(predict, variables, example)
    names = list(example)

    def function(*inputs: jax.Array) -> tuple[jax.Array, ...]:
        outputs = predict(variables, dict(zip(names, inputs)))
        return tuple(outputs[name] for name in sorted(outputs))

    outputs = sorted(jax.eval_shape(lambda batch: predict(variables, batch), example))
    reason: Exception | None = None
    for size in ('b', 1):
        shapes = [jax.ShapeDtypeStruct((size, *array.shape[1:]), array.dtype) for array in example.values()]
        try:
            with tracing_portably():
                model = jax2onnx.to_onnx(function, shapes, input_names=names, output_names=outputs)
        except Exception as error:  # the converter raises many types for what it does not know
            reason = error
            continue
        _check(model, function, example, outputs, (1, 3) if size == 'b' else (1,))
        described = jax.eval_shape(lambda batch: predict(variables, batch), example)
        return model, *({name: {'shape': [str(size), *map(str, of.shape[1:])], 'dtype': str(of.dtype)}
                         for name, of in arrays.items()} for arrays in (example, described))
    raise InputError(f'--format=onnx: this network cannot be converted: {str(reason).splitlines()[0]}; --format=jax '
                     'exports it') from reason


def _check(model: Any, function: Any, example: Mapping[str, np.ndarray], outputs: Sequence[str],
           sizes: Sequence[int]) -> None:
    """Runs the model and the function on the same random batches of some sizes.

    Raises:
      InputError: their outputs differ, or the model cannot be run.
    """
    import onnxruntime

    rng = np.random.default_rng(0)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString())
        for size in sizes:
            batch = {name: _random(rng, array, size) for name, array in example.items()}
            found = session.run(outputs, batch)
            for name, ours, theirs in zip(outputs, jax.jit(function)(*batch.values()), found):
                difference = np.max(np.abs(np.asarray(ours, float) - theirs), initial=0)
                if not difference <= TOLERANCE * max(np.max(np.abs(ours), initial=0), 1e-6):
                    raise InputError(f'--format=onnx: output {name!r} of the converted network differs from that of '
                                     f'JAX by {difference:.2g}; expected 1e-5 of its largest number; --format=jax '
                                     'exports it')
    except InputError:
        raise
    except Exception as error:  # onnxruntime has exceptions of its own for each kind of fault
        raise InputError(f'--format=onnx: onnxruntime cannot run the converted network: {str(error).splitlines()[0]}'
                         ) from error


def _random(rng: np.random.Generator, array: np.ndarray, size: int) -> np.ndarray:
    """A random input like an example's: standard normal numbers, or ones where it has whole numbers."""
    shape = (size, *array.shape[1:])
    return rng.normal(size=shape).astype(array.dtype) if array.dtype.kind == 'f' else np.ones(shape, array.dtype)


def describe(model: Any, card: Mapping[str, Any]) -> None:
    """Adds a model card to the metadata of an ONNX model, as JSON under `medjax`."""
    entry = model.metadata_props.add()
    entry.key, entry.value = 'medjax', json.dumps(card, default=str)
