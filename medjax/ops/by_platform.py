"""Implementations by platform: one for CPU, one for all others, or one for converters to other formats."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax import lax

_traced = contextvars.ContextVar('traced', default='')  # for what functions are traced, in place of the platform


def by_platform(*args: Any, cpu: Callable[..., Any], default: Callable[..., Any],
                portable: Callable[..., Any] | None = None) -> Any:
    """The result of `cpu(*args)` on CPU, and of `default(*args)` on other platforms.

    Within `tracing_portably` it is that of `portable(*args)`, which is `default` where it is not given, and within
    `tracing_for_accelerators` that of `default(*args)`.
    """
    if _traced.get():
        return (portable if portable and _traced.get() == 'portable' else default)(*args)
    return lax.platform_dependent(*args, cpu=cpu, default=default)


def tracing_portably() -> contextlib.AbstractContextManager[None]:
    """Within the block functions are traced for converters to other formats, which have no choice by platform."""
    return _tracing('portable')


def tracing_for_accelerators() -> contextlib.AbstractContextManager[None]:
    """Within the block functions are traced as on a GPU or TPU, also where a CPU compiles them."""
    return _tracing('accelerator')


@contextlib.contextmanager
def _tracing(kind: str) -> Iterator[None]:
    jax.clear_caches()  # of traces that have a choice
    token = _traced.set(kind)
    try:
        yield
    finally:
        _traced.reset(token)
        jax.clear_caches()
