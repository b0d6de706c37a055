"""TARNet (Shalit 2017): the outcomes without and with a treatment, by a head each on what a network sees in a patient.

Without the shared part it is a T-learner; with one head, which sees the treatment as a covariate, an S-learner; with a
further pair of heads for the effect itself, and the chance to be treated, an X-learner (Künzel 2019).
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models import mlp

VARIANTS: dict[str, dict[str, Any]] = {
    'tarnet': dict(),
    'tlearner': dict(shared=()),
    'slearner': dict(shared=(), single=True),
    'xlearner': dict(shared=(), effects=True),
}


class Model(nn.Module):
    """Dense layers that both groups share, and dense layers for each.

    Attributes:
      shared: features of each shared layer; what the last gives is the representation.
      heads: features of each layer of a head.
      single: one head, which sees the treatment.
      effects: whether there are heads for the effect and the propensity too.
      activation: see `mlp.Model`.
      dropout: share of each head layer's features that is zeroed.
      dtype: compute type; weights and what comes out are float32.
    """

    shared: Sequence[int] = (100, 100)
    heads: Sequence[int] = (100, 100)
    single: bool = False
    effects: bool = False
    activation: str = 'gelu'
    dropout: float = 0.0
    dtype: str = 'float32'

    inputs = ('covariates',)  # what of a batch it sees

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps covariates `[B, F]` to both outcomes `[B, 2]` float32, the first without treatment.

        The features are the representation, 'pooled' `[B, R]`, and of an X-learner 'effects' `[B, 2]`, as learnt from
        the untreated and from the treated, and 'propensity' `[B]`, its logit.
        """
        same = dict(activation=self.activation, dtype=self.dtype)

        def head(name: str) -> mlp.Model:
            return mlp.Model(features=self.heads, dropout=self.dropout, name=name, **same)

        if self.shared:
            x, _ = mlp.Model(outputs=self.shared[-1], features=self.shared[:-1], name='shared', **same)(x, train=train)
            x = mlp.ACTIVATIONS[self.activation](x)
        if self.single:
            own = head('outcome')
            out = [own(jnp.pad(x, ((0, 0), (0, 1)), constant_values=given), train=train)[0] for given in (0, 1)]
        else:
            out = [head(name)(x, train=train)[0] for name in ('untreated', 'treated')]
        feats = {'pooled': x.astype(jnp.float32)}
        if self.effects:
            effects = [head(name)(x, train=train)[0] for name in ('effect_untreated', 'effect_treated')]
            chance, _ = mlp.Model(features=(), name='propensity', **same)(x, train=train)
            feats |= {'effects': jnp.concatenate(effects, 1), 'propensity': chance[:, 0]}
        return jnp.concatenate(out, 1), feats
