"""Vector quantisation: features replaced by the nearest of a set of vectors that is learned (van den Oord 2017)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

SMALL = 1e-5  # added to each vector's count, so that one that nobody uses has a mean


class Codebook(nn.Module):
    """A set of vectors that follow the means of the features they stand for, as moving averages.

    The vectors are no weights: no gradient reaches them, and they are kept in the collection 'batch_stats'.

    Attributes:
      codes: vectors.
      decay: of the moving averages; 0.99 forgets to a third within 100 steps.
    """

    codes: int
    decay: float = 0.99

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Replaces features by their nearest vectors.

        Args:
          x: `[B, …, C]` float32.
          train: whether the vectors follow.

        Returns:
          The vectors in x's place, through which gradients go to x as if nothing had been done; and of that the
          'codes' `[B, …]` int32, their numbers; 'commitment' `[B]`, the mean squared distance of x from them, which
          pulls x alone; and 'usage', the exponential of the entropy of how often each is used in the batch, from 1 to
          the number of vectors.
        """
        size, flat = x.shape[-1], x.reshape(-1, x.shape[-1])

        def drawn() -> jax.Array:
            return jax.random.normal(self.make_rng('params'), (self.codes, size)) * size**-0.5

        vectors = self.variable('batch_stats', 'vectors', drawn)
        counts = self.variable('batch_stats', 'counts', jnp.ones, (self.codes,))
        sums = self.variable('batch_stats', 'sums', lambda: vectors.value)
        still = jax.lax.stop_gradient(flat)
        far = (still**2).sum(1, keepdims=True) - 2 * still @ vectors.value.T + (vectors.value**2).sum(1)
        codes = jnp.argmin(far, 1)
        chosen = jax.nn.one_hot(codes, self.codes)
        if train and not self.is_initializing():
            share = 1 - self.decay
            counts.value = self.decay * counts.value + share * chosen.sum(0)
            sums.value = self.decay * sums.value + share * chosen.T @ still
            vectors.value = sums.value / (counts.value + SMALL)[:, None]
        nearest = vectors.value[codes].reshape(x.shape)
        usage = chosen.mean(0)
        apart = ((x - jax.lax.stop_gradient(nearest)) ** 2).reshape(len(x), -1).mean(1)
        return x + jax.lax.stop_gradient(nearest - x), {
            'codes': codes.reshape(x.shape[:-1]), 'commitment': apart,
            'usage': jnp.exp(-jnp.sum(usage * jnp.log(jnp.maximum(usage, 1e-10))))}
