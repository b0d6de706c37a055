"""Deep learning for medical images and records, in JAX.

    import medjax

    run = medjax.train('configs/segment_brain_unet2d.py', 'runs/brain')
    run = medjax.load('runs/brain')
    found = run.predict('scan.nii.gz')

Names are imported when they are first used, so that `import medjax` is fast and does not start JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = '0.2.0'

if TYPE_CHECKING:
    from medjax.errors import InputError
    from medjax.run import Prediction, Run, load, load_config, train

# The public names, and the module that has each.
_MODULES = {'InputError': 'errors', 'Prediction': 'run', 'Run': 'run', 'load': 'run', 'load_config': 'run',
            'train': 'run'}
__all__ = ['InputError', 'Prediction', 'Run', '__version__', 'load', 'load_config', 'train']


def __getattr__(name: str) -> Any:
    """A public name, imported now."""
    if name in _MODULES:
        return getattr(importlib.import_module(f'medjax.{_MODULES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
