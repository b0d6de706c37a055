"""What a training step carries on: the whole of it is what a checkpoint holds."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from medjax.core.optim import averaged
from medjax.core.task import Batch, Task


@flax.struct.dataclass
class TrainState:
    """Step number, weights, other collections (batch statistics) and the optimiser's state.

    No key and no iterator is in it: keys are folded from the step, and the data's position is the step.
    """

    step: jax.Array  # int32 scalar: updates done
    params: Any
    collections: Any
    opt_state: Any

    def variables(self) -> dict[str, Any]:
        """The variables to predict with: averaged weights where the optimiser keeps them."""
        return {'params': averaged(self.params, self.opt_state), **self.collections}


def create(task: Task, optimiser: optax.GradientTransformation, key: jax.Array, batch: Batch,
           given: Mapping[str, jax.Array] | None = None) -> TrainState:
    """The state at step 0; traceable, so that `jax.eval_shape` lays it out before anything is allocated.

    Args:
      task: the problem.
      optimiser: optax's.
      key: of the initial weights.
      batch: an example of one.
      given: 'params/…' or another collection's path -> array: what takes the place of the initial weights.
    """
    variables = dict(task.init(key, batch))
    if given:
        flat = flatten_dict(variables)
        paths = {'/'.join(path): path for path in flat}  # names may hold a '/' themselves, as spectral norm's do
        variables = unflatten_dict({**flat, **{paths[k]: v.astype(flat[paths[k]].dtype) for k, v in given.items()}})
    params = variables.pop('params')
    return TrainState(jnp.zeros((), jnp.int32), params, variables, optimiser.init(params))
