"""Fully convolutional networks (FCN, Long 2015): a VGG-16 backbone whose scores are upsampled and summed.

FCN-32s upsamples the coarsest scores by 32. FCN-16s and FCN-8s add the scores of the fourth and of the third pooling
before upsampling by 16 and 8. Convolutions are padded, whereas the paper pads the input by 100 pixels and crops.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import InputError
from medjax.nn.conv import Block, Conv
from medjax.ops.pool import max_pool
from medjax.options import Count, Dims

VARIANTS: dict[str, dict[str, Any]] = {'32s': dict(stride=32), '16s': dict(stride=16), '8s': dict(stride=8)}
DEPTHS = (2, 2, 3, 3, 3)  # number of convolutions of VGG-16 before each pooling


def bilinear(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Initial kernel `[*K, C, C]` of a transposed convolution that interpolates each channel linearly."""
    tents = []
    for size in shape[:-2]:
        centre, half = (size - 1) / 2, (size + 1) // 2
        tents.append(1 - np.abs(np.arange(size) - centre) / half)
    kernel = tents[0]
    for tent in tents[1:]:
        kernel = np.multiply.outer(kernel, tent)
    return jnp.asarray(kernel[..., None, None] * np.eye(shape[-2], shape[-1]), dtype)


class Model(nn.Module):
    """An FCN.

    Attributes:
      classes: number of output channels.
      stride: stride of the finest scores: 32, 16 or 8.
      dims: number of spatial dimensions, 2 or 3.
      base: channels of the first block; 64 in VGG-16.
      fc: channels of the two convolutions that replace VGG's dense layers; 4096 in VGG-16.
      norm: 'none' as in the paper, 'batch' or 'instance'.
      dtype: compute dtype; parameters and logits are float32.
    """

    classes: Count
    stride: Literal[8, 16, 32] = 8
    dims: Dims = 2
    base: Count = 64
    fc: Count = 4096
    norm: str = 'none'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`, each S a multiple of 32.
          train: for batch norm.

        Returns:
          Logits `[B, *S, classes]` float32, and the features 'enc0' (finest) … 'enc5'.

        Raises:
          InputError: the stride or the shape of the images is not valid.
        """
        if self.stride not in (8, 16, 32):
            raise InputError(f'config.model.stride: {self.stride}; expected 8, 16 or 32')
        if x.ndim != self.dims + 2 or any(n % 32 for n in x.shape[1:-1]):
            raise InputError(f'config.data.patch: {x.shape[1:-1]}; expected {self.dims} extents, multiples of 32')
        feats, x = {}, x.astype(self.dtype)
        two, kind = (2,) * self.dims, (self.norm, 'relu', self.dtype)
        for number, depth in enumerate(DEPTHS):
            width = self.base * min(2**number, 8)
            for layer in range(depth):
                x = Block(width, (3,) * self.dims, None, *kind, name=f'enc{number}_{layer}')(x, train)
            x = feats[f'enc{number}'] = max_pool(x, two)
        x = Block(self.fc, (7,) * self.dims, None, *kind, name='fc0')(x, train)
        x = feats['enc5'] = Block(self.fc, (1,) * self.dims, None, *kind, name='fc1')(x, train)
        score = self._score(x, 'score32')
        for scale, name in ((32, 'enc3'), (16, 'enc2')):
            if scale > self.stride:
                score = self._upsample(score, 2, f'up{scale}') + self._score(feats[name], f'score{scale // 2}')
        return self._upsample(score, self.stride, 'up'), feats

    def _score(self, x: jax.Array, name: str) -> jax.Array:
        # Skip connections are initialised with zeros, as in the paper, so that they have no effect at first.
        init = nn.initializers.zeros if name != 'score32' else nn.initializers.lecun_normal()
        return Conv(self.classes, (1,) * self.dims, bias=True, init=init, name=name)(x)

    def _upsample(self, x: jax.Array, factor: int, name: str) -> jax.Array:
        return nn.ConvTranspose(self.classes, (2 * factor,) * self.dims, (factor,) * self.dims, padding='SAME',
                                use_bias=False, dtype=jnp.float32, kernel_init=bilinear, name=name)(x)
