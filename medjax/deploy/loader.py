"""Loads a network that medjax exported; needs jax, numpy and flatbuffers, which jax.export reads its files with.

    predict = load('model.zip')
    outputs = predict(image=array)  # by name; model.json in the file has shapes, types and the preprocessing
"""

import io
import zipfile
from collections.abc import Callable

import numpy as np
from jax import export


def load(path: str) -> Callable[..., dict]:
    """A function of the model's inputs by name, which returns its outputs by name."""
    with zipfile.ZipFile(path) as file:
        program = export.deserialize(bytearray(file.read('program.jax')))
        with np.load(io.BytesIO(file.read('weights.npz')), allow_pickle=False) as arrays:
            weights = {name: arrays[name] for name in arrays.files}
    return lambda **inputs: program.call(weights, inputs)
