"""TARNet (Shalit 2017): potential outcomes without and with treatment from a shared representation and two heads.

Without the shared layers it is a T-learner. With one head that receives the treatment as a covariate it is an
S-learner. With additional heads for the treatment effect and the propensity it is an X-learner (Künzel 2019).
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models import mlp
from medjax.options import Count, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {
    'tarnet': dict(),
    'tlearner': dict(shared=()),
    'slearner': dict(shared=(), single_head=True),
    'xlearner': dict(shared=(), effect_heads=True),
}


class Model(nn.Module):
    """Shared dense layers, and an outcome head for each treatment group.

    Attributes:
      shared: number of features of each shared layer; the output of the last is the representation.
      heads: number of features of each layer of a head.
      single_head: whether one head receives the treatment as a covariate.
      effect_heads: whether to add heads for the treatment effect and the propensity.
      activation: see `mlp.Model`.
      dropout: dropout rate of the layers of a head.
      dtype: compute dtype; parameters and outputs are float32.
    """

    shared: Sequence[Count] = (100, 100)
    heads: Sequence[Count] = (100, 100)
    single_head: bool = False
    effect_heads: bool = False
    activation: str = 'gelu'
    dropout: FractionBelowOne = 0.0
    dtype: str = 'float32'

    inputs = ('covariates',)  # entries of a batch that are passed to the network

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps covariates to the potential outcomes.

        Args:
          x: covariates `[B, F]`.
          train: for dropout.

        Returns:
          Outcomes `[B, 2]` float32, without and with treatment; and the features 'pooled' `[B, R]`, the
          representation, and for an X-learner 'effects' `[B, 2]`, learned from untreated and from treated patients, and
          'propensity' `[B]`, a logit.
        """
        options = dict(activation=self.activation, dtype=self.dtype)

        def head(name: str) -> mlp.Model:
            return mlp.Model(features=self.heads, dropout=self.dropout, name=name, **options)

        if self.shared:
            shared = mlp.Model(outputs=self.shared[-1], features=self.shared[:-1], name='shared', **options)
            x = mlp.ACTIVATIONS[self.activation](shared(x, train=train)[0])
        if self.single_head:
            outcome = head('outcome')
            out = [outcome(jnp.pad(x, ((0, 0), (0, 1)), constant_values=treatment), train=train)[0]
                   for treatment in (0, 1)]
        else:
            out = [head(name)(x, train=train)[0] for name in ('untreated', 'treated')]
        feats = {'pooled': x.astype(jnp.float32)}
        if self.effect_heads:
            effects = [head(name)(x, train=train)[0] for name in ('effect_untreated', 'effect_treated')]
            propensity, _ = mlp.Model(features=(), name='propensity', **options)(x, train=train)
            feats |= {'effects': jnp.concatenate(effects, 1), 'propensity': propensity[:, 0]}
        return jnp.concatenate(out, 1), feats
