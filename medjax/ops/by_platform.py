"""Implementations by platform: one for CPU, one for all others, or one for converters to other formats."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax import lax

_portable = contextvars.ContextVar('portable', default=False)


def by_platform(*args: Any, cpu: Callable[..., Any], default: Callable[..., Any],
                portable: Callable[..., Any] | None = None) -> Any:
    """The result of `cpu(*args)` on CPU, and of `default(*args)` on other platforms.

    Within `tracing_portably` it is that of `portable(*args)`, which is `default` where it is not given.
    """
    if _portable.get():
        return (portable or default)(*args)
    return lax.platform_dependent(*args, cpu=cpu, default=default)


@contextlib.contextmanager
def tracing_portably() -> Iterator[None]:
    """Within the block functions are traced for converters to other formats, which have no choice by platform."""
    jax.clear_caches()  # of traces that have one
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)
        jax.clear_caches()
