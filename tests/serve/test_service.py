"""The service as a process: answers equal to predict's, limits, slow clients, signals and what is left behind."""

import concurrent.futures
import io
import re
import signal
import socket
import time
import zipfile

import httpx
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

import medjax
from medjax.serve import folders
from tests import cli, full_disk
from tests.clinic import scans
from tests.data import samples
from tests.serve.conftest import AFFINE, served, volume

TOKEN = 'a' * 32


def picture(seed):
    """A picture as the bytes of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16), np.uint8)).save(content, 'png')
    return content.getvalue()


def metric(url, name, **more):
    """A number of the service's metrics."""
    return float(re.search(rf'^{re.escape(name)} (\S+)$', httpx.get(f'{url}/metrics', **more).text, re.MULTILINE)[1])


@pytest.fixture(scope='module')
def service(classifier, tmp_path_factory):
    tmp = tmp_path_factory.mktemp('uploads')
    with served('serve', f'--workdir={classifier}', f'--tmp={tmp / "own"}', '--upload_mb=1', '--pixels=100000',
                '--batch_wait_ms=200', '--queue=8', '--upload_seconds=5') as running:
        running.tmp = tmp / 'own'
        yield running


@pytest.fixture(scope='module')
def segmentation_service(segmenter, tmp_path_factory):
    own = tmp_path_factory.mktemp('uploads') / 'own'
    # Its uploads are on a small file system, where the user may mount one.
    with full_disk.mounted(own, 4096, skip=False), served('serve', f'--workdir={segmenter}', f'--tmp={own}') as running:
        running.tmp = own
        yield running


def plain_png(side):
    """A picture of one colour, of few bytes."""
    content = io.BytesIO()
    Image.new('L', (side, side)).save(content, 'png')
    return content.getvalue()


def post(service, *files, **more):
    return httpx.post(f'{service.url}/predict', files=[('files', file) for file in files], timeout=60, **more)


def left(service):
    """What is in the service's folder besides its lock."""
    return [path for path in service.tmp.glob('*/*') if path.name != '.lock']


def test_a_label_is_that_of_predict_to_the_byte(segmentation_service, segmenter, tmp_path):
    nib.save(nib.Nifti1Image(volume(9, (33, 21, 4)), AFFINE), tmp_path / 'new.nii.gz')
    ended = cli.run('predict', f'--workdir={segmenter}', f'--input={tmp_path}/new.nii.gz', f'--output={tmp_path}/out')
    assert ended.code == 0, ended.err
    compiled = metric(segmentation_service.url, 'medjax_compilations_total')
    answer = post(segmentation_service, ('new.nii.gz', (tmp_path / 'new.nii.gz').read_bytes()))
    assert answer.status_code == 200 and answer.content == (tmp_path / 'out' / 'new.nii.gz').read_bytes()
    assert "filename*=UTF-8''new.nii.gz" in answer.headers['content-disposition']
    assert compiled > 0 and metric(segmentation_service.url, 'medjax_compilations_total') == compiled


def test_an_image_outside_the_training_range_is_answered_with_a_warning(segmentation_service, tmp_path):
    for name, scale in (('usual', 1), ('coarse', 3)):
        nib.save(nib.Nifti1Image(volume(9, (33, 21, 4)), AFFINE @ np.diag([scale, scale, scale, 1])),
                 tmp_path / f'{name}.nii.gz')
        answer = post(segmentation_service, (f'{name}.nii.gz', (tmp_path / f'{name}.nii.gz').read_bytes()),
                      headers={'accept': 'application/json'}).json()
        warnings = [line for line in answer['messages'] if 'voxels of' in line]
        expected = ['warning: outside the training range: coarse.nii.gz: voxels of 3×4.5×9 mm']
        assert [line.split(',')[0] for line in warnings] == (expected if name == 'coarse' else [])


def test_a_zipped_series_is_one_input_and_several_are_named(segmentation_service, segmenter, tmp_path):
    series = tmp_path / 'study' / 'a'
    samples.slices(series)
    with zipfile.ZipFile(tmp_path / 'study.zip', 'w') as archive:
        for path in sorted(series.iterdir()):
            archive.write(path, f'study/a/{path.name}')
            archive.writestr(f'study/a/.{path.name}', b'of a file browser')
    answer = post(segmentation_service, ('study.zip', (tmp_path / 'study.zip').read_bytes()))
    expected = medjax.load(segmenter).predict(series)
    (tmp_path / 'answer.nii.gz').write_bytes(answer.content)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / 'answer.nii.gz').dataobj), expected.arrays['a'])
    uid = pydicom.uid.generate_uid()
    slices = []
    for number, path in enumerate(sorted(series.iterdir())):
        slices.append((f'{number}.dcm', path.read_bytes()))
        other = pydicom.dcmread(path)
        other.SeriesInstanceUID, other.SeriesNumber = uid, 7
        content = io.BytesIO()
        other.save_as(content)
        slices.append((f'{number}b.dcm', content.getvalue()))
    answer = post(segmentation_service, *slices)
    assert answer.status_code == 422 and '2 DICOM series' in answer.json()['error']
    assert '/tmp' not in answer.json()['error']
    answer = post(segmentation_service, *slices, params={'series': '7'})
    assert answer.status_code == 200


def test_a_series_becomes_dicom_objects_that_refer_to_it(segmentation_service, segmenter, tmp_path):
    pytest.importorskip('highdicom', reason='needs the packages of the extra `dicom`')
    scans.series(tmp_path / 'series', volume(4))
    files = [(path.name, path.read_bytes()) for path in sorted((tmp_path / 'series').iterdir())]
    answer = post(segmentation_service, *files, params={'dicom': 'true'}, headers={'Accept': 'application/zip'})
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        found = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    made, = [of for of in found if of.Modality == 'SEG']
    source = pydicom.dcmread(io.BytesIO(files[0][1]))
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    label = medjax.load(segmenter).predict(tmp_path / 'series').arrays['series']
    assert made.pixel_array.astype(bool).sum() == (label == 1).sum()
    assert post(segmentation_service, ('a.nii.gz', b'x'), params={'dicom': 'true'}).status_code == 422


def test_requests_at_once_are_predicted_together_as_alone(service, classifier, tmp_path):
    for seed in range(6):
        (tmp_path / f'{seed}.png').write_bytes(picture(seed))
    expected = medjax.load(classifier).predict(sorted(tmp_path.glob('*.png'))).table
    compiled = metric(service.url, 'medjax_compilations_total')
    before = [metric(service.url, f'medjax_batch_size_{name}') for name in ('count', 'sum')]
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda seed: post(service, (f'{seed}.png', picture(seed))).json(), range(6)))
    for seed, answer in enumerate(answers):
        row, = answer['table']
        assert row['image'] == f'{seed}.png' and answer['files'] == {}
        np.testing.assert_allclose([row['prob_small'], row['prob_large']],  # in a batch sums have another order
                                   expected.iloc[seed][['prob_small', 'prob_large']].tolist(), rtol=1e-6)
    count, total = (metric(service.url, f'medjax_batch_size_{name}') - start
                    for name, start in zip(('count', 'sum'), before))
    assert total == 6 and 1 <= count < 6
    assert metric(service.url, 'medjax_compilations_total') == compiled
    assert not left(service)
    row, = post(service, ('0.png', picture(0))).json()['table']  # alone: the program of predict
    assert [row['prob_small'], row['prob_large']] == expected.iloc[0][['prob_small', 'prob_large']].tolist()


def test_several_files_and_an_archive_as_answer(service):
    answer = post(service, ('a.png', picture(0)), ('b.png', picture(1)), headers={'Accept': 'application/zip'})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        lines = archive.read('predictions.csv').decode().splitlines()
    assert [line.split(',')[0] for line in lines] == ['image', 'a.png', 'b.png']


def test_the_card_and_the_state(service, classifier):
    card = httpx.get(f'{service.url}/model').json()
    assert card['family'] == 'classification' and card['classes'] == ['small', 'large']
    assert card['step'] == medjax.load(classifier)._trained.step and card['inputs']['image']['dtype'] == 'float32'
    assert httpx.get(f'{service.url}/health').json()['status'] == 'ready'
    assert metric(service.url, 'medjax_requests_in_progress') == 0


def png_bomb():
    """The header of a PNG of 50 000 × 50 000 pixels."""
    content = io.BytesIO()
    Image.new('1', (50000, 50000)).save(content, 'png')
    return content.getvalue()


def zipped(entries):
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return content.getvalue()


@pytest.mark.parametrize('name, content, status, message', [
    ('../../x.png', b'', 400, 'no plain name'), ('.x.png', b'', 400, 'no plain name'),
    ('a' * 250 + '.png', b'', 400, 'no plain name'),
    ('a.zip', zipped([('../x.png', b'x')]), 400, 'no plain name'), ('a.zip', zipped([('/x.png', b'x')]), 400, 'plain'),
    ('a.zip', zipped([('x.png', b'0' * 2**21)]), 413, 'unpacks to more than 1 MB'),
    ('a.zip', b'PK\3\4 cut', 400, 'archive that cannot be unpacked'),
    ('a.png', b'0' * (2**20 + 1), 413, 'expected at most'), ('a.png', b'no picture', 422, 'a.png: '),
    ('a.png', png_bomb(), 413, 'pixels'), ('a.dcm', b'no dicom', 422, 'a.dcm: '),
    ('b.png', plain_png(320), 413, 'b.png: 102400 pixels'), ('a.txt', b'text', 422, 'not an image file')])
def test_invalid_uploads_are_refused_and_leave_nothing(service, name, content, status, message):
    answer = post(service, (name, content))
    assert answer.status_code == status and message in answer.json()['error'], answer.text
    assert str(service.tmp) not in answer.text and not left(service)


def test_other_forms_are_refused(service):
    assert httpx.post(f'{service.url}/predict', content=b'x').status_code == 415
    assert httpx.post(f'{service.url}/predict', data={'a': 'b'}, files=[]).status_code == 415
    twice = post(service, ('a.png', picture(0)), ('a.png', picture(1)))
    assert twice.status_code == 400 and 'two files of one name' in twice.text
    cut = httpx.post(f'{service.url}/predict', content=b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"',
                     headers={'Content-Type': 'multipart/form-data; boundary=x'})
    assert cut.status_code == 400 and 'cut short' in cut.text


def test_an_upload_of_unknown_length_ends_at_the_limit(service):
    sent = []

    def pieces():
        yield b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
        for _ in range(64):
            sent.append(2**16)
            yield bytes(2**16)
    answer = httpx.post(f'{service.url}/predict', content=pieces(), timeout=60,
                        headers={'Content-Type': 'multipart/form-data; boundary=x'})
    assert answer.status_code == 413 and 'more than 1 MB' in answer.json()['error'] and sum(sent) > 2**20
    assert not left(service)


def test_pages_of_other_sites_and_other_names_are_refused(service):
    for headers, status in (({'Origin': 'http://evil.example'}, 403), ({'Host': 'evil.example'}, 403),
                            ({'Origin': service.url}, 200)):
        answer = post(service, ('a.png', picture(0)), headers=headers)
        assert answer.status_code == status


def connection(service):
    """An open connection to the service."""
    host, port = service.url.removeprefix('http://').split(':')
    return socket.create_connection((host, int(port)))


def head(length):
    """The head of a request with a form, and the beginning of its body."""
    return (f'POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n'
            f'Content-Length: {length}\r\n\r\n--x\r\n').encode()


def test_a_full_queue_refuses_and_a_slow_upload_ends(service):
    slow = [connection(service) for _ in range(8)]
    for opened in slow:
        opened.sendall(head(100))
    while metric(service.url, 'medjax_requests_in_progress') < 8:
        time.sleep(.02)
    answer = post(service, ('a.png', picture(0)))
    assert answer.status_code == 503 and int(answer.headers['retry-after']) >= 1
    for opened in slow:
        assert b'408' in opened.recv(1000)
        opened.close()
    assert post(service, ('a.png', picture(0))).status_code == 200 and not left(service)


def test_an_upload_of_two_gigabytes_is_refused_before_it_comes(service):
    with connection(service) as opened:
        opened.sendall(head(2 * 2**30))
        answer = b''
        while not answer.endswith(b'}'):
            answer += opened.recv(1000)
    assert answer.startswith(b'HTTP/1.1 413') and b'2147483648 bytes; expected at most 1048576' in answer
    assert not left(service)


@pytest.mark.parametrize('free', [0, 20000, 60000])
def test_a_full_disk_is_said_and_leaves_nothing(segmentation_service, tmp_path, free):
    """With space for nothing, for a part of the upload, and for the upload but not for its result."""
    nib.save(nib.Nifti1Image(volume(9, (40, 40, 20)), AFFINE), tmp_path / 'new.nii')
    content = (tmp_path / 'new.nii').read_bytes()
    if not segmentation_service.tmp.is_mount():
        pytest.skip(full_disk.NEEDED)
    filler = full_disk.fill(segmentation_service.tmp, free)
    answer = post(segmentation_service, ('new.nii', content))
    assert (answer.status_code, answer.json()) == (507, {
        'error': 'no space left for uploads and results; try again later'})
    assert sorted(
        path.name for path in segmentation_service.tmp.rglob('*') if path.is_file()) == ['.lock', 'filler']
    filler.unlink()
    answer = post(segmentation_service, ('new.nii', content))
    assert answer.status_code == 200, answer.text


def test_lines_of_the_log_have_no_names(service):
    post(service, ('Müller_Anna.png', picture(0)))
    post(service, ('Müller_Anna.png', b'damaged'))
    httpx.get(f'{service.url}/Müller_Anna')
    time.sleep(.2)
    log = ''.join(service.lines)
    assert 'POST /predict 200' in log and 'POST /predict 422' in log and 'Anna' not in log


def test_a_token_is_needed_and_a_signal_ends_after_the_answers(classifier, tmp_path):
    path = tmp_path / 'token'
    path.write_text(f'{TOKEN}\n')
    path.chmod(0o600)
    (tmp_path / 'example.png').write_bytes(picture(5))
    with served('serve', f'--workdir={classifier}', f'--token_file={path}', f'--tmp={tmp_path / "own"}',
                f'--example={tmp_path / "example.png"}') as service:
        count = metric(service.url, 'medjax_batch_size_count', auth=('', TOKEN))
        assert count == 1 and not list((tmp_path / 'own').glob('*/request-*'))  # the example was predicted
        files = [('files', ('a.png', picture(0)))]
        for headers, status in (({}, 401), ({'Authorization': f'Bearer {TOKEN}x'}, 401),
                                ({'Authorization': f'Bearer {TOKEN}'}, 200)):
            assert httpx.post(f'{service.url}/predict', files=files, headers=headers).status_code == status
        assert httpx.get(f'{service.url}/model').status_code == 401
        assert httpx.get(f'{service.url}/model', auth=('anyone', TOKEN)).status_code == 200
        assert httpx.get(f'{service.url}/health').status_code == 200
        body = b'Content-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n' + picture(0) + b'\r\n--x--\r\n'
        with connection(service) as opened:
            with_token = f'\r\nAuthorization: Bearer {TOKEN}\r\nHost'.encode()
            opened.sendall(head(len(body) + 5).replace(b'\r\nHost', with_token))
            while metric(service.url, 'medjax_requests_in_progress', auth=('', TOKEN)) < 1:
                time.sleep(.02)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(.3)
            opened.sendall(body)
            assert opened.recv(1000).startswith(b'HTTP/1.1 200')
        assert service.process.wait(20) == 0 and not list((tmp_path / 'own').iterdir())


def test_what_a_kill_leaves_is_cleared_at_the_next_start(segmentation_service):
    own = segmentation_service.tmp
    with connection(segmentation_service) as opened:
        body = b'Content-Disposition: form-data; name="f"; filename="Anna.png"\r\n\r\n' + bytes(10**5)
        opened.sendall(head(10**6) + body)
        while not list(own.glob('*/*/input/Anna.png')):
            time.sleep(.02)
        file, = own.glob('*/*/input/Anna.png')
        assert {path.stat().st_mode & 0o777 for path in file.parents if path.is_relative_to(own)} == {0o700}
        segmentation_service.process.kill()
        segmentation_service.process.wait()
    folders.release(*folders.claim(own))
    assert not list(own.iterdir())
