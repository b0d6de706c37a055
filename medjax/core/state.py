"""The training state: all that a training step passes on to the next, and all that a checkpoint holds."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from medjax.core.optim import evaluation_params
from medjax.core.task import Batch, Task


@flax.struct.dataclass
class TrainState:
    """Step number, parameters, other collections (batch statistics) and the optimiser's state.

    It holds no random key and no data iterator: keys are derived from the step, which is also the data's position.
    """

    step: jax.Array  # int32 scalar: number of updates so far
    params: Any
    collections: Any
    opt_state: Any

    def variables(self) -> dict[str, Any]:
        """The variables to predict with; averaged weights where the optimiser keeps them."""
        return {'params': evaluation_params(self.params, self.opt_state), **self.collections}


def create_state(task: Task, optimiser: optax.GradientTransformation, key: jax.Array, batch: Batch,
                 pretrained: Mapping[str, jax.Array] | None = None) -> TrainState:
    """The state at step 0.

    The function is traceable, so that `jax.eval_shape` gives the state's layout before anything is allocated.

    Args:
      task: the task.
      optimiser: the gradient transformation.
      key: random key of the initial weights.
      batch: an example of a batch.
      pretrained: 'params/…' or another collection's path -> array, which replaces the initial value there.
    """
    variables = dict(task.init(key, batch))
    if pretrained:
        flat: Any = flatten_dict(variables)
        paths = {'/'.join(path): path for path in flat}  # a name may contain a '/', as those of spectral norm do
        loaded = {paths[k]: v.astype(flat[paths[k]].dtype) for k, v in pretrained.items()}
        variables = unflatten_dict({**flat, **loaded})
    params = variables.pop('params')
    return TrainState(jnp.zeros((), jnp.int32), params, variables, optimiser.init(params))
