"""Files of torch.save without PyTorch: their content, and hostile or damaged ones, which are refused."""

import collections
import os
import pickle
import pickletools
import zipfile

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.weights import torch_checkpoint
from medjax.weights.torch_checkpoint import Storage, Tensor


class Global:
    """A name as a pickle writes it: pickling an instance writes the name of a function of a package that is absent."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments


class Kind(Global):
    """A name that is not called."""


class Pickler(pickle._Pickler):
    """Writes names, calls and storages as torch.save does, without PyTorch."""

    def persistent_id(self, value):
        if isinstance(value, tuple) and value and value[0] == 'storage':
            return value
        return None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(pickle.GLOBAL + f'{value.module}\n{value.name}\n'.encode())
            if not isinstance(value, Kind):
                self.save(value.arguments)
                self.write(pickle.REDUCE)
            return
        super().save(value, save_persistent_id)


def checkpoint(path, content, storages=(), name='archive/data.pkl'):
    """Writes a file as torch.save does."""
    with zipfile.ZipFile(path, 'w') as archive:
        with archive.open(name, 'w') as file:
            Pickler(file, protocol=2).dump(content)
        archive.writestr('archive/byteorder', 'little')
        for key, array in enumerate(storages):
            archive.writestr(f'archive/data/{key}', np.asarray(array).tobytes())
    return path


def tensor(key, kind, size, shape, strides, offset=0):
    storage = ('storage', Kind('torch', kind), str(key), 'cpu', size)
    return Global('torch._utils', '_rebuild_tensor_v2', storage, offset, shape, strides, False,
                  Global('collections', 'OrderedDict'))


def refused(path, *parts):
    with pytest.raises(InputError) as error:
        torch_checkpoint.load(path)
    line = str(error.value)
    assert str(path) in line and 'expected' in line and '\n' not in line
    for part in parts:
        assert part in line, line


def test_tensors_numbers_and_texts_are_read(tmp_path):
    numbers = np.arange(12, dtype=np.float32)
    scalar = Global('numpy._core.multiarray', 'scalar', Global('numpy', 'dtype', 'f8', False, True),
                    Global('_codecs', 'encode', np.float64(2.5).tobytes().decode('latin1'), 'latin1'))
    content = {'weights': collections.OrderedDict(a=tensor(0, 'FloatStorage', 12, (2, 3), (1, 4), 1),
                                                  b=tensor(1, 'LongStorage', 1, (), ())),
               'epoch': 7, 'ema': scalar, 'device': Global('torch', 'device', 'cuda', 0), 'names': ['x', None, True]}
    found = torch_checkpoint.load(checkpoint(tmp_path / 'x.pth', content, [numbers, np.array([5])]))
    assert found.content['epoch'] == 7 and found.content['ema'] == 2.5 and found.content['device'] is None
    assert found.content['weights']['a'] == Tensor(Storage('0', np.float32, 12), 1, (2, 3), (1, 4))
    arrays = found.arrays(found.content['weights'])
    np.testing.assert_array_equal(arrays['a'], [[1, 5, 9], [2, 6, 10]])
    assert arrays['b'] == 5 and arrays['b'].dtype == np.int64


@pytest.mark.parametrize('module, name', [('os', 'system'), ('builtins', 'eval'), ('builtins', 'getattr'),
                                          ('torch', 'load'), ('torch.storage', '_load_from_bytes'), ('posix', 'system'),
                                          ('numpy', 'load'), ('collections', 'Counter'),
                                          ('medjax.weights.torch_checkpoint', 'load')])
def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path, module, name):
    mark = tmp_path / 'ran'
    path = checkpoint(tmp_path / 'x.pth', {'a': Global(module, name, f'touch {mark}')})
    refused(path, f'{module}.{name}', 'Nothing of it was run')
    assert not mark.exists()


def test_a_pickle_by_reduce_is_refused_and_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "ran"}',)

    path = tmp_path / 'x.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('x/data.pkl', pickle.dumps({'network_weights': Hostile()}))
    refused(path, 'system', 'Nothing of it was run')
    assert not (tmp_path / 'ran').exists()


def test_names_cannot_be_changed_for_later_files(tmp_path):
    """BUILD with a second state sets attributes, here the type of the numbers of FloatStorage."""
    code = (pickle.PROTO + b'\x02' + b'ctorch\nFloatStorage\n' + b'(N}' + b'(U\x05dtype' + b'U\x02i4u' + b't' + b'b.')
    assert [op.name for op, *_ in pickletools.genops(code)][-2:] == ['BUILD', 'STOP']
    path = tmp_path / 'x.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('x/data.pkl', code)
    refused(path)
    content = [tensor(0, 'FloatStorage', 1, (1,), (1,))]
    good = torch_checkpoint.load(checkpoint(tmp_path / 'y.pth', content, [np.ones(1, np.float32)]))
    assert good.content[0].storage.dtype is np.float32


def test_damaged_files_are_one_line(tmp_path):
    whole = checkpoint(tmp_path / 'whole.pth', {'a': tensor(0, 'FloatStorage', 4, (4,), (1,))},
                       [np.arange(4, dtype=np.float32)])
    content = whole.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 10):
        path = tmp_path / f'cut{length}.pth'
        path.write_bytes(content[:length])
        refused(path, 'cut short, or no zip archive')
    refused(tmp_path / 'none.pth', 'cannot be read')
    old = tmp_path / 'old.pth'
    old.write_bytes(pickle.dumps({'a': 1}))
    refused(old, 'PyTorch 1.6 or later')
    other = tmp_path / 'other.pth'
    with zipfile.ZipFile(other, 'w') as archive:
        archive.writestr('a.txt', 'a')
    refused(other, 'without one data.pkl')
    broken = tmp_path / 'broken.pth'
    with zipfile.ZipFile(broken, 'w') as archive:
        archive.writestr('x/data.pkl', b'\x80\x02}q')
    refused(broken, 'damaged')


@pytest.mark.parametrize('shape, strides, offset', [((5,), (1,), 0), ((4,), (1,), 1), ((2, 2), (3, 1), 0),
                                                    ((4,), (-1,), 0), ((4,), (1,), -1)])
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, shape, strides, offset):
    found = torch_checkpoint.load(checkpoint(
        tmp_path / 'x.pth', {'a': tensor(0, 'FloatStorage', 4, shape, strides, offset)}, [np.zeros(4, np.float32)]))
    with pytest.raises(InputError, match='a: its storage .* missing or too small'):
        found.arrays(found.content)
    with pytest.raises(InputError, match='b: int; expected a tensor'):
        found.arrays({'b': 3})
