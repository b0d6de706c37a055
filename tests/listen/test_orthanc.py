"""Images from, and results to, a real Orthanc: by C-STORE and by DICOMweb."""

import io
import threading
import time

import numpy as np
import pydicom
import pytest

pytest.importorskip('highdicom')
pytest.importorskip('pynetdicom')
pytest.importorskip('dicomweb_client')

from medjax.data.io import image_files
from medjax.data.io.geometry import embedded
from medjax.listen import archive, receiver
from medjax.listen.listener import Listener
from tests.clinic import scans, threshold
from tests.clinic.orthanc import Orthanc, free_port

pytestmark = pytest.mark.clinic
ARRAY = np.random.default_rng(5).integers(-500, 500, (14, 12, 6)).astype(np.int16)


@pytest.fixture(scope='module')
def pacs(tmp_path_factory):
    port = free_port()
    one = Orthanc(tmp_path_factory.mktemp('orthanc'), modalities=f'{{"medjax": ["MEDJAX", "127.0.0.1", {port}]}}')
    one.receiver = port
    one.start()
    yield one
    one.stop()


def listener(folder, peer, lines, **more):
    return Listener(threshold.predictor(), 200, folder, peer, 0.5, {'Modality': 'CT'}, lines.append, **more)


def check_results(pacs, tmp_path, scan, study):
    """The archive has one segmentation and one report, valid, which refer to images that it has."""
    slices = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, scan.iterdir())}
    found = {}
    for kind in ('SEG', 'SR'):
        files = [content for content in pacs.instances(kind)
                 if pydicom.dcmread(io.BytesIO(content)).StudyInstanceUID == study]
        assert len(files) == 1
        path = tmp_path / f'{kind}.dcm'
        path.write_bytes(files[0])
        scans.check(path)
        found[kind] = pydicom.dcmread(path)
    references = {item.ReferencedSOPInstanceUID for series in found['SEG'].ReferencedSeriesSequence
                  for item in series.ReferencedInstanceSequence}
    assert references == set(slices) and found['SR'].StudyInstanceUID == study
    label = embedded(image_files.read(tmp_path / 'SEG.dcm'), image_files.read(scan))
    np.testing.assert_array_equal(label.array, ARRAY > 200)


def stored_pixels(folder):
    return {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path).PixelData for path in folder.rglob('*.dcm')}


def test_by_c_store_both_ways(tmp_path, pacs):
    """Orthanc sends a study by C-STORE, and takes the results by C-STORE."""
    scan, study, lines = tmp_path / 'scan', f'{scans.UIDS}.81', []
    scans.series(scan, ARRAY, study='81')
    pacs.upload(scan)
    work = listener(tmp_path / 'folder', archive.connect(f'ORTHANC@127.0.0.1:{pacs.dicom}', 'MEDJAX'), lines)
    service = receiver.start('127.0.0.1', pacs.receiver, 'MEDJAX', work.receive, lines.append)
    try:
        ids = pacs.json('/tools/find', f'{{"Level": "Study", "Query": {{"StudyInstanceUID": "{study}"}}}}'.encode())
        pacs.get('/modalities/medjax/store', ids[0].encode())
        work.run(until_idle=True)
    finally:
        service.shutdown()
    assert stored_pixels(tmp_path / 'folder' / 'studies') == stored_pixels(scan)
    check_results(pacs, tmp_path, scan, study)
    assert not [line for line in lines if 'Doe' in line or 'warning' in line]


def test_by_dicomweb_both_ways_with_the_archive_down_in_between(tmp_path, pacs, monkeypatch):
    """QIDO, WADO and STOW; the archive is down when the results are ready, and gets them once."""
    monkeypatch.setattr('medjax.listen.listener.FIRST', 0.5)
    scan, study, lines = tmp_path / 'scan', f'{scans.UIDS}.82', []
    scans.series(scan, ARRAY, study='82')
    pacs.upload(scan)
    scans.series(tmp_path / 'other', ARRAY, study='82', number=4, SOPClassUID=scans.MR, Modality='MR')
    pacs.upload(tmp_path / 'other')
    peer = archive.connect(pacs.web, 'MEDJAX')
    work = listener(tmp_path / 'folder', peer, lines, query={'StudyInstanceUID': study})
    work.poll()
    time.sleep(0.6)
    work.poll()
    assert stored_pixels(tmp_path / 'folder' / 'studies') == stored_pixels(scan)  # the MR series is not fetched
    pacs.stop()
    work.work(polled=True)
    assert 'cannot be reached' in lines[-1] and work.journal.study(study).state == 'sending'
    with pytest.raises(archive.ArchiveError, match='cannot be reached'):
        work.poll()
    pacs.start()
    again = listener(tmp_path / 'folder', peer, lines, query={'StudyInstanceUID': study})  # after a kill
    ended = threading.Thread(target=lambda: again.run(poll=0.5, until_idle=True))
    ended.start()
    ended.join(60)
    assert not ended.is_alive() and again.journal.study(study).state == 'sent'
    check_results(pacs, tmp_path, scan, study)
    again.poll()  # its own results are no new images
    assert again.journal.study(study).state == 'sent'


def test_what_the_archive_refuses_is_kept(tmp_path, pacs):
    """Orthanc 1.10 knows no label maps: by C-STORE no context is accepted."""
    made, _ = threshold.predictor(('labelmap',)).make(200, _scan(tmp_path))
    with pytest.raises(archive.ArchiveError, match='does not take Label Map Segmentation Storage') as error:
        archive.connect(f'ORTHANC@127.0.0.1:{pacs.dicom}', 'MEDJAX').store(made)
    assert error.value.lasting


def _scan(tmp_path):
    scans.series(tmp_path / 'scan', ARRAY, study='83')
    return tmp_path / 'scan'
