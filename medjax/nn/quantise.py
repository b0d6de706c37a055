"""Vector quantisation: features are replaced by the nearest vector of a learned codebook (van den Oord 2017)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-5  # added to the count of each vector, so that the mean of an unused one is defined


class Codebook(nn.Module):
    """A codebook whose vectors are moving averages of the features assigned to them.

    The vectors are not trained by gradients; they are stored in the collection 'batch_stats'.

    Attributes:
      codes: number of vectors.
      decay: decay of the moving averages; 0.99 corresponds to a time constant of 100 steps.
    """

    codes: int
    decay: float = 0.99

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Replaces features by their nearest vectors.

        Args:
          x: `[B, …, C]` float32.
          train: whether to update the vectors.

        Returns:
          The nearest vectors, with gradients passed straight through to `x`; and a dict of 'codes' `[B, …]` int32, the
          indices of the vectors; 'commitment' `[B]`, the mean squared distance of `x` from them, whose gradient reaches
          `x` only; and 'usage', the perplexity of the codes in the batch, from 1 to the number of vectors.
        """
        size, flat = x.shape[-1], x.reshape(-1, x.shape[-1])

        def initial_vectors() -> jax.Array:
            return jax.random.normal(self.make_rng('params'), (self.codes, size)) * size**-0.5

        vectors = self.variable('batch_stats', 'vectors', initial_vectors)
        counts = self.variable('batch_stats', 'counts', jnp.ones, (self.codes,))
        sums = self.variable('batch_stats', 'sums', lambda: vectors.value)
        constant = jax.lax.stop_gradient(flat)
        distance = (constant**2).sum(1, keepdims=True) - 2 * constant @ vectors.value.T + (vectors.value**2).sum(1)
        codes = jnp.argmin(distance, 1)
        onehot = jax.nn.one_hot(codes, self.codes)
        if train and not self.is_initializing():
            rate = 1 - self.decay
            counts.value = self.decay * counts.value + rate * onehot.sum(0)
            sums.value = self.decay * sums.value + rate * onehot.T @ constant
            vectors.value = sums.value / (counts.value + EPSILON)[:, None]
        nearest = vectors.value[codes].reshape(x.shape)
        usage = onehot.mean(0)
        commitment = ((x - jax.lax.stop_gradient(nearest)) ** 2).reshape(len(x), -1).mean(1)
        return x + jax.lax.stop_gradient(nearest - x), {
            'codes': codes.reshape(x.shape[:-1]), 'commitment': commitment,
            'usage': jnp.exp(-jnp.sum(usage * jnp.log(jnp.maximum(usage, 1e-10))))}
