"""The interface of MONAI Label, called by the client of its plugin for 3D Slicer and by plain requests."""

import os
import pathlib
import sys
import types

import httpx
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import medjax
from medjax.data.io import image_files
from medjax.errors import InputError
from medjax.serve.datastore import Datastore
from medjax.serve.gate import Refused
from tests.serve.conftest import AFFINE, served, volume

# An unpacked wheel of monailabel 0.8.5, of which the client alone is read: `pip download --no-deps monailabel`.
CLIENT = pathlib.Path(os.environ.get('MEDJAX_MONAILABEL', '/nowhere')) / 'monailabel' / 'client' / 'client.py'
TOKEN = 'd' * 32


def save(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / 'store'
    (folder / 'images').mkdir(parents=True)
    for number in range(3):
        save(folder / 'images' / f'case{number}.nii.gz', volume(number))
    return Datastore(folder, image_files.read)


def test_labels_are_saved_on_the_grid_of_their_image_and_earlier_ones_are_kept(store, tmp_path):
    first, second = (np.full((20, 18, 3), value, np.uint8) for value in (0, 1))
    assert store.save_label('case1', '', save(tmp_path / 'a.nii.gz', first), (0, 1)) == 'case1'
    assert store.unlabelled() == ['case0', 'case2'] and store.status()['completed'] == 1
    store.save_label('case1', '', save(tmp_path / 'b.nii', second), (0, 1))
    store.save_label('case1', 'original', save(tmp_path / 'c.nii', second), (0, 1))
    found = {str(path.relative_to(store.folder)): int(np.asarray(nib.load(path).dataobj).max())
             for path in sorted(store.folder.glob('labels*/*'))}
    assert found == {'labels/case1.nii.gz': 1, 'labels_earlier/case1.1.nii.gz': 0, 'labels_original/case1.nii.gz': 1}
    assert store.status()['label_tags'] == {'final': 1, 'original': 1}
    np.testing.assert_allclose(nib.load(store.folder / 'labels' / 'case1.nii.gz').affine, AFFINE)


def test_a_label_of_bytes_alone_has_x_fastest(store, tmp_path):
    label = (volume(5) > 100).astype(np.uint16)
    (tmp_path / 'label.bin').write_bytes(label.tobytes(order='F'))
    store.save_label('case0', 'final', tmp_path / 'label.bin', (0, 1))
    np.testing.assert_array_equal(np.asarray(nib.load(store.label('case0', 'final')).dataobj), label)


@pytest.mark.parametrize('shape, affine, value, message', [
    ((20, 18, 4), AFFINE, 1, 'a grid of 20×18×4 voxels'), ((20, 18, 3), np.eye(4), 1, 'expected that of its image'),
    ((20, 18, 3), AFFINE, 7, r'values \[7\]; expected some of \[0, 1\]')])
def test_labels_of_other_grids_or_values_are_refused(store, tmp_path, shape, affine, value, message):
    path = save(tmp_path / 'a.nii.gz', np.full(shape, value, np.uint8), affine)
    with pytest.raises(InputError, match=message):
        store.save_label('case0', '', path, (0, 1))
    (tmp_path / 'label.bin').write_bytes(bytes(17))
    with pytest.raises(InputError, match='17 bytes; expected 1080 or 2160'):
        store.save_label('case0', '', tmp_path / 'label.bin', (0, 1))
    assert not list(store.folder.glob('labels*'))


def test_names_lead_to_no_other_file(store, tmp_path):
    image = save(tmp_path / 'new.nii.gz', volume(0))
    for name, status in (('../x', 400), ('a/b', 400), ('case0', 409)):
        with pytest.raises(Refused) as refused:
            store.add_image(name, image)
        assert refused.value.status == status
    for call in (lambda: store.image('../images/case0'), lambda: store.label('case0', '../images'),
                 lambda: store.save_label('case9', '', image, (0,))):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.status == 404
    for tag in ('../x', 'earlier'):
        with pytest.raises(Refused, match='a tag that is no word'):
            store.save_label('case0', tag, image, (0,))


def test_the_order_is_that_of_the_selection(store):
    (store.folder / 'selection.csv').write_text('image\n/pool/case2.nii.gz\n/pool/case0.nii.gz\n')
    assert store.unlabelled() == ['case2', 'case0', 'case1']


def client():
    """The client of MONAI Label's plugin, without the package around it."""
    if not CLIENT.is_file():
        pytest.skip('needs an unpacked wheel of monailabel in MEDJAX_MONAILABEL')
    if sys.version_info >= (3, 13):
        pytest.skip("MONAI Label's client needs the module cgi, which Python 3.13 does not have")
    module = types.ModuleType('monailabel_client')
    exec(compile(CLIENT.read_text(), str(CLIENT), 'exec'), module.__dict__)
    return module


@pytest.fixture(scope='module')
def service(segmenter, tmp_path_factory):
    folder = tmp_path_factory.mktemp('annotation')
    (folder / 'token').write_text(TOKEN)
    (folder / 'token').chmod(0o600)
    (folder / 'store' / 'images').mkdir(parents=True)
    save(folder / 'store' / 'images' / 'case0.nii.gz', volume(0))
    with served('serve', f'--workdir={segmenter}', f'--tmp={folder / "own"}', f'--datastore={folder / "store"}',
                f'--token_file={folder / "token"}', '--origins=http://ohif.example') as running:
        running.store = folder / 'store'
        running.tmp = folder / 'own'
        yield running


@pytest.mark.filterwarnings('ignore')  # of the client: the module cgi, files that stay open
def test_the_client_of_the_slicer_plugin_goes_through_its_calls(service, segmenter, tmp_path):
    module = client()
    first = module.MONAILabelClient(service.url, str(tmp_path / 'client'))
    assert first.auth_enabled()
    token = first.auth_token('anyone', TOKEN)

    def plugin():
        """A new client for each call, as the plugin makes it: one with a token keeps the headers of the last call."""
        made = module.MONAILabelClient(service.url, str(tmp_path / 'client'))
        made.update_auth(token)
        return made
    assert plugin().auth_valid_token()
    info = plugin().info()
    assert info['labels'] == ['lesion'] and info['models']['unet']['labels'] == {'lesion': 1}
    sample = plugin().next_sample('first', {})
    assert sample['id'] == 'case0' and sample['name'] == 'case0.nii.gz'
    expected = medjax.load(segmenter).predict(service.store / 'images' / 'case0.nii.gz').arrays['case0']
    file, params = plugin().infer('unet', 'case0', {})
    np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj), expected)
    assert params['label_names'] == {'lesion': 1}
    file, _ = plugin().infer('unet', 'case0', {'result_extension': '.nrrd'})
    read = sitk.ReadImage(file)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read).T, expected)
    np.testing.assert_allclose(read.GetOrigin(), sitk.ReadImage(str(service.store / 'images/case0.nii.gz')).GetOrigin())
    new = save(tmp_path / 'new.nii.gz', volume(7))
    assert plugin().upload_image(str(new), 'case7')['image'] == 'case7'
    session = plugin().create_session(str(new))['session_id']
    assert plugin().get_session(session)['name'] == session
    file, _ = plugin().infer('unet', '', {}, session_id=session)
    np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj),
                                  medjax.load(segmenter).predict(new).arrays['new'])
    plugin().remove_session(session)
    with pytest.raises(module.MONAILabelClientException):
        plugin().get_session(session)
    label = save(tmp_path / 'label.nii.gz', (volume(0) > 100).astype(np.uint8))
    assert plugin().save_label('case0', str(label))['label'] == 'case0'
    assert plugin().datastore()['objects']['case0']['labels'] == {'final': {'ext': '.nii.gz', 'info': {}}}
    saved = plugin().download_label('case0', 'final')
    np.testing.assert_array_equal(np.asarray(nib.load(saved).dataobj), volume(0) > 100)
    assert plugin().next_sample('random', {})['id'] == 'case7'
    assert not plugin().train_status(check_if_running=True) and plugin().train_status()['status'] == 'NOT_STARTED'
    assert plugin().train_stop() == {}


def test_requests_that_are_not_valid_have_a_status(service):
    ask = httpx.Client(base_url=service.url, headers={'Authorization': f'Bearer {TOKEN}'})
    assert httpx.get(f'{service.url}/info/').status_code == 401
    assert httpx.post(f'{service.url}/auth/token', data={'password': 'x'}).status_code == 401
    form = {'files': {'file': ('a.nii.gz', b'damaged')}}
    for method, path, status, more in (
            ('POST', '/infer/other?image=case0', 404, {}), ('GET', '/datastore/image?image=../x', 404, {}),
            ('GET', '/datastore/label?label=case0&tag=none', 404, {}), ('POST', '/activelearning/none', 404, {}),
            ('POST', '/infer/unet?session_id=x', 404, form), ('POST', '/infer/unet', 422, form),
            ('PUT', '/datastore/?image=bad', 422, form), ('PUT', '/datastore/label?image=case0', 422, form),
            ('POST', '/train/unet', 501, {}), ('PUT', '/datastore/?image=..%2Fx', 400, {'files': {
                'file': ('a.nii.gz', (service.store / 'images' / 'case0.nii.gz').read_bytes())}})):
        answer = ask.request(method, path, **more)
        assert answer.status_code == status, (path, answer.text)
        assert str(service.store) not in answer.text and str(service.tmp) not in answer.text
    ohif = {'Origin': 'http://ohif.example', 'Access-Control-Request-Method': 'PUT'}
    asked = httpx.options(f'{service.url}/datastore/label', headers=ohif)
    assert asked.status_code == 200 and asked.headers['access-control-allow-origin'] == 'http://ohif.example'
    assert ask.get('/info/', headers=ohif).headers['access-control-allow-origin'] == 'http://ohif.example'
    assert ask.get('/info/', headers={'Origin': 'http://other.example'}).status_code == 403
    assert sorted(path.name for path in (service.store / 'images').iterdir())[0] == 'case0.nii.gz'
    assert not list(service.tmp.glob('*/request-*'))
    ask.close()
