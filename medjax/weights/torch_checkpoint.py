"""Files that `torch.save` wrote, read without PyTorch and without running what they contain.

Such a file is a zip archive with a pickle and the bytes of each storage. A pickle is a program that may call any
function. The one here may only build dictionaries, lists, numbers, texts, tensors and NumPy's scalars: every other name
in it is refused before anything is called.
"""

import collections
import dataclasses
import io
import math
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from medjax.errors import InputError

STORAGES = {'DoubleStorage': np.float64, 'FloatStorage': np.float32, 'HalfStorage': np.float16,
            'BFloat16Storage': ml_dtypes.bfloat16, 'LongStorage': np.int64, 'IntStorage': np.int32,
            'ShortStorage': np.int16, 'CharStorage': np.int8, 'ByteStorage': np.uint8, 'BoolStorage': np.bool_}
LARGEST = 2**26  # bytes of a pickle, which has no numbers of tensors


@dataclasses.dataclass(frozen=True)
class Storage:
    """A storage of a file: the name of its entry, the type of its numbers, and how many there are."""

    key: str
    dtype: Any
    size: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor whose numbers have not been read: a part of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dtype:
    """The type of NumPy scalars in a pickle: its code, and the byte order that is set afterwards."""

    def __init__(self, code: str, *_: Any):
        self.code, self.order = str(code), '<'

    def __setstate__(self, state: Any) -> None:
        self.order = '>' if isinstance(state, tuple) and len(state) > 1 and state[1] == '>' else '<'


def _scalar(dtype: Any, content: Any) -> Any:
    """A NumPy scalar as a number; None for types that are no numbers."""
    code = getattr(dtype, 'code', '')
    if code[:1] not in 'fiub' or not isinstance(content, bytes):
        return None
    return np.frombuffer(content, np.dtype(code).newbyteorder(dtype.order))[0].item()


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError('a tensor without a storage')
    return Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _encode(text: Any, *_: Any) -> bytes:
    """Bytes as an old pickle writes them."""
    return str(text).encode('latin1')


def _first(value: Any, *_: Any) -> Any:
    return value


def _nothing(*_: Any) -> None:
    return None


class _Name:
    """What a name in a pickle stands for: it can be called, or names the type of a storage, and cannot be changed."""

    __slots__ = ('function', 'dtype')

    def __init__(self, function: Callable[..., Any] = _nothing, dtype: Any = None):
        object.__setattr__(self, 'function', function)
        object.__setattr__(self, 'dtype', dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f'a change of {name[:40]!r}')

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('torch._utils', '_rebuild_parameter'): _first,
    ('torch', 'Size'): tuple,
    ('torch', 'device'): _nothing,
    ('torch.serialization', '_get_layout'): _nothing,
    ('_codecs', 'encode'): _encode,
    ('numpy', 'dtype'): _Dtype,
    ('numpy.core.multiarray', 'scalar'): _scalar,
    ('numpy._core.multiarray', 'scalar'): _scalar,
}
NAMES = {name: _Name(function) for name, function in ALLOWED.items()} | {
    ('torch', name): _Name(dtype=dtype) for name, dtype in STORAGES.items()}


class _Unpickler(pickle.Unpickler):
    """Builds what NAMES has, and nothing else."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """The class or function of a name in the pickle."""
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f'the name {module}.{name}')
        return NAMES[module, name]

    def persistent_load(self, reference: Any) -> Storage:
        """The storage that the pickle refers to."""
        kind, storage, key, _, size = reference
        if kind != 'storage' or getattr(storage, 'dtype', None) is None:
            raise pickle.UnpicklingError(f'a reference to {str(kind)[:40]!r}')
        return Storage(str(key), storage.dtype, int(size))


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file of `torch.save`.

    Attributes:
      path: of the file.
      content: what was saved, with a `Tensor` in place of each tensor.
    """

    path: pathlib.Path
    content: Any

    def arrays(self, tensors: dict[str, Any]) -> dict[str, np.ndarray]:
        """The numbers of some tensors of the content, by their names.

        Raises:
          InputError: a value that is no tensor; a storage that is missing, cut short or smaller than its tensor.
        """
        out = {}
        with _opened(self.path) as archive:
            folder, names = _folder(archive, self.path), set(archive.namelist())
            for name, tensor in tensors.items():
                if not isinstance(tensor, Tensor):
                    raise InputError(f'{self.path}: {name}: {type(tensor).__name__}; expected a tensor')
                entry, dtype = f'{folder}/data/{tensor.storage.key}', np.dtype(tensor.storage.dtype)
                needed = 0 if 0 in tensor.shape else tensor.offset + 1 + sum(
                    (n - 1) * step for n, step in zip(tensor.shape, tensor.strides))
                if entry not in names or min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (
                        archive.getinfo(entry).file_size < needed * dtype.itemsize):
                    raise InputError(f'{self.path}: {name}: its storage {tensor.storage.key!r} is missing or too '
                                     'small; expected a whole file')
                flat = np.frombuffer(_bytes(archive, entry, self.path), dtype, needed)[tensor.offset:]
                steps = [step * dtype.itemsize for step in tensor.strides]
                out[name] = (np.lib.stride_tricks.as_strided(flat, tensor.shape, steps).copy() if needed else
                             np.zeros(tensor.shape, dtype))
        return out


def load(path: pathlib.Path) -> Checkpoint:
    """A file that `torch.save` wrote, without the numbers of its tensors.

    Raises:
      InputError: no such file; another format, such as that of PyTorch before 1.6; damaged; or its pickle names a
        function or class that a checkpoint of tensors, numbers and texts does not need.
    """
    with _opened(path) as archive:
        folder = _folder(archive, path)
        names = archive.namelist()
        if f'{folder}/byteorder' in names and _bytes(archive, f'{folder}/byteorder', path).strip() != b'little':
            raise InputError(f'{path}: numbers with the most significant byte first; expected little-endian ones')
        content = _bytes(archive, f'{folder}/data.pkl', path)
    try:
        return Checkpoint(path, _Unpickler(io.BytesIO(content)).load())
    except pickle.UnpicklingError as error:
        raise InputError(f'{path}: its pickle has {error}; expected tensors, numbers and texts alone. Nothing of it '
                         'was run') from error
    except Exception as error:  # a damaged pickle raises exceptions of any type
        raise InputError(f'{path}: damaged, or no checkpoint: {" ".join(str(error).split())[:160]}; expected a file of '
                         'torch.save') from error


def _opened(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror or error}; expected a file of torch.save') from error
    except zipfile.BadZipFile as error:
        raise InputError(f'{path}: cut short, or no zip archive; expected a whole file of torch.save, of PyTorch 1.6 '
                         'or later') from error


def _folder(archive: zipfile.ZipFile, path: pathlib.Path) -> str:
    """The folder within the archive that holds all entries."""
    found = [name for name in archive.namelist() if name.endswith('/data.pkl') and name.count('/') == 1]
    if len(found) != 1 or archive.getinfo(found[0]).file_size > LARGEST:
        raise InputError(f'{path}: a zip archive without one data.pkl of at most {LARGEST} bytes; expected a file of '
                         'torch.save')
    return found[0].partition('/')[0]


def _bytes(archive: zipfile.ZipFile, name: str, path: pathlib.Path) -> bytes:
    """The content of an entry, with its checksum verified; torch.save does not compress."""
    if archive.getinfo(name).file_size > math.prod((4, path.stat().st_size)):
        raise InputError(f'{path}: {name} unpacks to {archive.getinfo(name).file_size} bytes; expected entries that '
                         'are not compressed')
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise InputError(f'{path}: damaged at {name}: {" ".join(str(error).split())[:160]}; expected a whole file of '
                         'torch.save') from error
