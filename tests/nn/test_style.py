"""Modulated convolutions and pixelwise normalisation."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.nn.style import ModulatedConv, pixel_norm

KEY = jax.random.key(0)


def test_a_modulated_convolution_equals_convolutions_with_modulated_kernels():
    """Kernels scaled by the style and divided by the norms of their outputs (Karras 2020), one example at a time."""
    x, style = jax.random.normal(KEY, (2, 5, 5, 3)), jax.random.normal(jax.random.key(1), (2, 4))
    layer = ModulatedConv(6, (3, 3))
    variables = layer.init(KEY, x, style)
    got = layer.apply(variables, x, style)
    kernel, dense = variables['params']['kernel'], variables['params']['style']
    for number in range(2):
        scale = 1 + style[number] @ dense['kernel'] + dense['bias']
        modulated = kernel * scale[:, None]
        modulated = modulated / jnp.sqrt((modulated**2).sum((0, 1, 2)) + 1e-8)
        want = jax.lax.conv_general_dilated(x[number:number + 1], modulated, (1, 1), 'SAME',
                                            dimension_numbers=('NHWC', 'HWIO', 'NHWC'))[0]
        np.testing.assert_allclose(got[number], want * np.sqrt(2), atol=1e-5)


def test_pixel_norm_by_hand():
    np.testing.assert_allclose(pixel_norm(jnp.array([[3.0, 4.0]])), [[3 / np.sqrt(12.5), 4 / np.sqrt(12.5)]])
