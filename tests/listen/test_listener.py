"""The listener's work: complete studies, the choice of a series, failures, kills, and an archive that is down."""

import io
import logging
import re
import socket
import time

import numpy as np
import pydicom
import pytest

pytest.importorskip('highdicom')
pytest.importorskip('pynetdicom')

from medjax.errors import InputError, is_full
from medjax.listen import archive, receiver, spool
from medjax.listen.journal import NAME, Journal
from medjax.listen.listener import Listener
from tests import full_disk
from tests.clinic import scans, threshold
from tests.clinic.orthanc import free_port

ARRAY = np.random.default_rng(5).integers(-500, 500, (8, 7, 4)).astype(np.int16)


class Archive:
    """Keeps what it gets, by identifier; `down` lets it fail."""

    def __init__(self):
        self.objects, self.calls, self.down = {}, 0, None

    def store(self, datasets):
        self.calls += 1
        if self.down:
            raise self.down
        self.objects |= {data.SOPInstanceUID: data for data in datasets}


@pytest.fixture
def lines():
    return []


@pytest.fixture
def peer():
    return Archive()


@pytest.fixture
def listen(tmp_path, peer, lines):
    """Makes a listener on one folder, as after a start of the program."""
    def make(rules=None, quiet=0.0):
        return Listener(threshold.predictor(), 200, tmp_path / 'folder', peer, quiet, rules or {}, lines.append)
    return make


def receive(work, folder):
    for path in sorted(folder.iterdir()):
        work.receive(pydicom.dcmread(path), path.read_bytes())


def study(number):
    return f'{scans.UIDS}.{number}'


def test_a_study_is_complete_after_a_quiet_time(tmp_path, listen, peer):
    scans.series(tmp_path / 'a', ARRAY)
    work = listen(quiet=0.4)
    receive(work, tmp_path / 'a')
    work.work()
    assert not peer.objects and work.journal.study(study(1)).state == 'receiving'
    time.sleep(0.45)
    work.work()
    assert {data.Modality for data in peer.objects.values()} == {'SEG', 'SR'}
    assert work.journal.study(study(1)).state == 'sent' and work.journal.study(study(1)).images == 4
    work.work()
    receive(work, tmp_path / 'a')  # sent once more, nothing new
    work.work()
    assert peer.calls == 1


class Polled(archive.Web):
    """An archive that is polled; it gives the files of a folder, those of the study `broken` not at all."""

    def __init__(self, folder, broken):
        values = {'folder': folder, 'broken': broken, 'objects': {}, 'calls': 0}
        for name, value in values.items():
            object.__setattr__(self, name, value)  # its base is frozen

    def store(self, datasets):
        object.__setattr__(self, 'calls', self.calls + 1)
        self.objects.update({data.SOPInstanceUID: data for data in datasets})

    def _files(self):
        return [pydicom.dcmread(path) for path in sorted(self.folder.rglob('*.dcm'))]

    def studies(self, query):
        return sorted({data.StudyInstanceUID for data in self._files()})

    def series(self, study, fields):
        files = [data for data in self._files() if data.StudyInstanceUID == study]
        return {data.SeriesInstanceUID: (data, len(files)) for data in files}

    def retrieve(self, study, series):
        if study == self.broken:
            raise archive.ArchiveError('PACS: HTTP status 500')
        return [data for data in self._files() if data.SeriesInstanceUID == series]


def test_a_study_that_cannot_be_fetched_waits_and_late_images_are_fetched(tmp_path, lines):
    scans.series(tmp_path / 'pacs' / 'a', ARRAY, study='1')
    scans.series(tmp_path / 'pacs' / 'b', ARRAY[:, :, :3], study='2')
    peer = Polled(tmp_path / 'pacs', study(1))
    work = Listener(threshold.predictor(), 200, tmp_path / 'folder', peer, 0.0, {}, lines.append)
    for _ in range(2):  # seen, then fetched
        work.poll()
        work.work(polled=True)
    assert work.journal.study(study(2)).state == 'sent' and work.journal.study(study(1)).state == 'receiving'
    assert 'HTTP status 500; attempt 1, again in 5 s' in ' '.join(lines) and peer.calls == 1
    scans.series(tmp_path / 'pacs' / 'b', ARRAY, study='2')  # a fourth slice
    for _ in range(2):
        work.poll()
        work.work(polled=True)
    last = [data for data in peer.objects.values() if data.Modality == 'SEG'][-1]
    assert len(last.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 4 and peer.calls == 2


def test_late_images_are_predicted_for_with_the_others(tmp_path, listen, peer):
    scans.series(tmp_path / 'a', ARRAY)
    paths = sorted((tmp_path / 'a').iterdir())
    work = listen()
    for path in (paths[0], paths[1]):
        work.receive(pydicom.dcmread(path), path.read_bytes())
    work.work()
    for path in paths[2:]:
        work.receive(pydicom.dcmread(path), path.read_bytes())
    work.work()
    assert peer.calls == 2
    last = [data for data in peer.objects.values() if data.Modality == 'SEG'][-1]
    assert len(last.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 4


@pytest.mark.parametrize('rules, expected', [
    ({}, '2 series of images: 3 .CT., 4 .CT.; expected one: choose it by --series'),
    ({'Modality': 'MR'}, '0 series match --series=Modality=MR: 3 .CT., 4 .CT.'),
    ({'SeriesNumber': '4'}, None), ({'SeriesDescription': 'thin.*'}, None),
    ({'ImageType': r'ORIGINAL\\PRIMARY\\.*', 'SeriesNumber': '[4-9]'}, None)])
def test_one_of_several_series_is_chosen_by_a_rule(tmp_path, listen, peer, lines, rules, expected):
    scans.series(tmp_path / 'a', ARRAY)
    scans.series(tmp_path / 'b', ARRAY, number=4, SeriesDescription='Thin slices of Doe')
    scans.series(tmp_path / 'c', ARRAY[:, :, :1], number=5, Modality='SEG')
    work = listen(rules)
    for name in 'abc':
        receive(work, tmp_path / name)
    work.work()
    if expected is None:
        assert {data.ReferencedSeriesSequence[0].SeriesInstanceUID for data in peer.objects.values()
                if data.Modality == 'SEG'} == {f'{study(1)}.4'}
    else:
        assert not peer.objects and work.journal.study(study(1)).state == 'failed'
        assert len(lines) == 1 and re.search(expected, lines[0]) and 'Doe' not in lines[0]


def test_a_failed_study_stays_and_does_not_stop_the_next(tmp_path, listen, peer, lines, monkeypatch):
    scans.series(tmp_path / 'a', ARRAY, study='1', ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    scans.series(tmp_path / 'b', ARRAY, study='2')
    scans.series(tmp_path / 'c', ARRAY, study='3')
    work = listen()
    make = type(work.predictor).make

    def fails(self, variables, path):
        if study(2) in str(path):
            raise ZeroDivisionError('of Doe^Jane')
        return make(self, variables, path)
    monkeypatch.setattr(type(work.predictor), 'make', fails)
    for name in 'abc':
        receive(work, tmp_path / name)
    work.run(until_idle=True)
    states = {one.uid: one for one in work.journal.studies()}
    assert [states[study(number)].state for number in (1, 2, 3)] == ['failed', 'failed', 'sent']
    assert 'two perpendicular directions' in states[study(1)].message
    assert 'unexpected ZeroDivisionError in test_listener.py' in states[study(2)].message
    assert not [line for line in lines if 'Doe' in line] and len(peer.objects) == 2
    assert len(list((tmp_path / 'folder' / 'studies' / study(1)).rglob('*.dcm'))) == 4


def test_an_archive_that_is_down_is_tried_again_later_each_time(tmp_path, listen, peer, lines, monkeypatch):
    scans.series(tmp_path / 'a', ARRAY)
    work = listen()
    receive(work, tmp_path / 'a')
    peer.down = archive.ArchiveError('PACS: cannot be reached')
    now, waits = [time.time()], []
    monkeypatch.setattr('medjax.listen.listener.time.time', lambda: now[0])
    for _ in range(9):
        now[0] += 1
        work.work()
        waits.append(work.journal.study(study(1)).due - now[0])
        now[0] = work.journal.study(study(1)).due
    assert np.allclose(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600], atol=0.1)
    assert 'PACS: cannot be reached; attempt 9, again in 600 s' in lines[-1]
    peer.down = None
    now[0] += 1
    work.work()
    assert len(peer.objects) == 2 and work.journal.study(study(1)).state == 'sent'


def test_what_an_archive_refuses_for_good_is_not_tried_again(tmp_path, listen, peer, lines):
    scans.series(tmp_path / 'a', ARRAY)
    work = listen()
    receive(work, tmp_path / 'a')
    peer.down = archive.ArchiveError('PACS: does not take Segmentation Storage', lasting=True)
    work.run(until_idle=True)
    assert work.journal.study(study(1)).state == 'failed' and 'does not take Segmentation' in lines[-1]
    assert len(list((tmp_path / 'folder' / 'results').rglob('*.dcm'))) == 2  # they stay


@pytest.mark.parametrize('at', ['keep_results', 'results', 'set'])
def test_a_kill_at_any_time_neither_loses_nor_doubles_a_study(tmp_path, listen, peer, monkeypatch, at):
    """A kill before the results are kept, before they are sent, and after they were sent but before that was noted."""
    class Killed(BaseException):
        pass

    def kill(*arguments, **_):
        if at != 'set' or arguments[2] == 'sent':
            raise Killed
        return original(*arguments, **_)

    scans.series(tmp_path / 'a', ARRAY)
    work = listen()
    receive(work, tmp_path / 'a')
    original = getattr(Journal if at == 'set' else spool.Spool, at)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Journal if at == 'set' else spool.Spool, at, kill)
        work.work()
    again = listen()
    again.run(until_idle=True)
    assert len(peer.objects) == 2 and again.journal.study(study(1)).state == 'sent'


def test_images_that_come_during_a_prediction_are_not_lost(tmp_path, listen, peer, monkeypatch):
    scans.series(tmp_path / 'a', ARRAY)
    paths, work = sorted((tmp_path / 'a').iterdir()), listen()
    work.receive(pydicom.dcmread(paths[0]), paths[0].read_bytes())
    work.receive(pydicom.dcmread(paths[1]), paths[1].read_bytes())
    make, rest = type(work.predictor).make, paths[2:]

    def slow(self, variables, path):
        while rest:
            late = rest.pop()
            work.receive(pydicom.dcmread(late), late.read_bytes())
        return make(self, variables, path)
    monkeypatch.setattr(type(work.predictor), 'make', slow)
    work.run(until_idle=True)
    sent = [data for data in peer.objects.values() if data.Modality == 'SEG']
    assert len(sent) == 1 and len(sent[0].ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 4


@pytest.mark.parametrize('uid', ['../../../tmp/x', '1.2/3', '1' * 65, '', 'a.b'])
def test_identifiers_that_are_none_are_refused(tmp_path, listen, uid):
    scans.series(tmp_path / 'a', ARRAY[:, :, :1])
    data = pydicom.dcmread(next((tmp_path / 'a').iterdir()))
    with pydicom.config.disable_value_validation():
        data.StudyInstanceUID = uid
    before = sorted(path for path in tmp_path.rglob('*'))
    with pytest.raises(InputError, match='identifiers are no UIDs'):
        listen().receive(data, b'')
    assert [path for path in tmp_path.rglob('*.dcm') if path not in before] == []


def test_a_full_disk_is_said_to_the_sender_and_studies_wait(tmp_path, listen, peer, lines, monkeypatch):
    scans.series(tmp_path / 'a', ARRAY)
    work = listen()
    receive(work, tmp_path / 'a')

    monkeypatch.setattr(spool.Spool, 'free', lambda self: 1000)
    scans.series(tmp_path / 'b', ARRAY, study='2')
    with pytest.raises(InputError, match='no space left; expected more than 100 MiB'):
        receive(work, tmp_path / 'b')
    assert work.journal.study(study(2)) is None


@pytest.mark.parametrize('left', [0, 8192, 20480])
def test_a_full_disk_loses_no_study_and_leaves_nothing_half_written(tmp_path, listen, peer, lines, monkeypatch, left):
    """On a real file system with no space left at several points of the work: images, journal, results."""
    monkeypatch.setattr(spool.Spool, 'free', lambda self: 1 << 40)  # another program fills the disk later
    monkeypatch.setattr('medjax.listen.listener.FIRST', 0.0)
    for number in (1, 2):
        scans.series(tmp_path / f'{number}', ARRAY, study=str(number))
    with full_disk.mounted(tmp_path / 'folder', 512):
        work = listen()
        receive(work, tmp_path / '1')
        filler = full_disk.fill(tmp_path / 'folder', left)
        refused = 0
        for path in (tmp_path / '2').iterdir():
            try:
                work.receive(pydicom.dcmread(path), path.read_bytes())
            except InputError as error:
                assert is_full(error) and 'no space left' in str(error)
                refused += 1
        work.stop.wait = lambda seconds: work.stop.set()  # one round
        work.run()
        work.stop.clear()
        kept = list((tmp_path / 'folder' / 'studies').rglob('*.*'))
        files = {path.read_bytes() for number in (1, 2) for path in (tmp_path / str(number)).iterdir()}
        assert all(path.read_bytes() in files for path in kept if path.is_file() and path.suffix == '.dcm')
        assert not [path for path in (tmp_path / 'folder').rglob('*') if '.part' in path.name or 'tmp' in path.name]
        sent = len(peer.objects)
        assert sent % 2 == 0 and (sent < 4 or left > 20000) and not [line for line in lines if 'failed' in line]
        filler.unlink()
        again = listen()  # as after a start of the program
        receive(again, tmp_path / '2')  # the sender sends what was refused again
        again.run(until_idle=True)
        assert [one.state for one in again.journal.studies()] == ['sent', 'sent']
        assert len(peer.objects) == 4 and refused == (4 if left < 4096 else refused)
        assert {len(data.ReferencedSeriesSequence[0].ReferencedInstanceSequence) for data in peer.objects.values()
                if data.Modality == 'SEG'} == {4}


def test_an_image_that_was_kept_before_a_kill_but_not_noted_is_noted_when_it_comes_again(tmp_path, listen, peer,
                                                                                         monkeypatch):
    class Killed(BaseException):
        pass

    scans.series(tmp_path / 'a', ARRAY)
    work = listen()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(spool.Spool, 'add', lambda *_: (_ for _ in ()).throw(Killed))
        receive(work, tmp_path / 'a')
    work.work()  # nothing of the study is there
    assert work.journal.studies() == []
    receive(listen(), tmp_path / 'a')
    listen().run(until_idle=True)
    assert len(peer.objects) == 2


def test_files_of_answered_studies_are_kept_for_a_time_where_one_is_given(tmp_path, listen, peer, lines, monkeypatch):
    scans.series(tmp_path / 'a', ARRAY, study='1')
    scans.series(tmp_path / 'b', ARRAY, study='2', ImageOrientationPatient=[1, 0, 0, 1, 0, 0])  # fails
    work, now = listen(), time.time()
    for name in 'ab':
        receive(work, tmp_path / name)
    work.run(until_idle=True)
    size = sum(path.stat().st_size for path in (tmp_path / 'folder').rglob('*.dcm'))
    assert work.spool.size() == size > 0
    monkeypatch.setattr('medjax.listen.listener.time.time', lambda: now + 100 * 86400)
    work.prune()
    assert work.spool.size() == size  # by default they stay
    work.keep_days = 101
    work.prune()
    assert work.spool.size() == size
    work.keep_days = 99
    work.prune()
    left = {path.parents[1].name for path in (tmp_path / 'folder').rglob('*.dcm')}
    assert left == {study(2)} and not list((tmp_path / 'folder' / 'results').iterdir())
    assert lines[-1] == 'removed: the files of 1 answered studies, 99 days after their last image'
    assert work.journal.study(study(1)).state == 'sent'
    work.run(until_idle=True)
    assert len(peer.objects) == 2  # it is not answered again


def test_a_damaged_journal_is_named(tmp_path):
    (tmp_path / NAME).write_bytes(b'no database, but longer than a header of one hundred bytes' * 9)
    with pytest.raises(InputError, match='journal.sqlite: damaged'):
        Journal(tmp_path)


@pytest.fixture
def service(listen, lines):
    """A receiver on a free port, and its listener."""
    work = listen()
    server = receiver.start('127.0.0.1', 0, 'MEDJAX', work.receive, lines.append)
    yield work, server.server_address[1]
    server.shutdown()


def send(port, data):
    from pynetdicom import AE

    entity = AE('SCANNER')
    entity.add_requested_context(data.SOPClassUID, data.file_meta.TransferSyntaxUID)
    peer = entity.associate('127.0.0.1', port, ae_title='MEDJAX')
    assert peer.is_established
    status = peer.send_c_store(data).Status
    peer.release()
    return status


def test_an_image_is_kept_as_it_was_sent(tmp_path, service):
    work, port = service
    scans.series(tmp_path / 'a', ARRAY[:, :, :1])
    data = pydicom.dcmread(next((tmp_path / 'a').iterdir()))
    assert send(port, data) == 0
    kept, = (tmp_path / 'folder').rglob('*.dcm')
    assert pydicom.dcmread(kept) == data and kept.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / 'folder').stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_kept_has_a_status(tmp_path, service, lines, monkeypatch):
    work, port = service
    scans.series(tmp_path / 'a', ARRAY[:, :, :1])
    data = pydicom.dcmread(next((tmp_path / 'a').iterdir()))
    monkeypatch.setattr(spool.Spool, 'free', lambda self: 1000)
    assert send(port, data) == 0xA700 and 'no space left' in lines[-1]
    monkeypatch.setattr(spool.Spool, 'free', lambda self: 1 << 40)
    del data.StudyInstanceUID
    assert send(port, data) == 0xC000 and 'no UIDs' in lines[-1]
    assert not list((tmp_path / 'folder').rglob('*.dcm')) and not [line for line in lines if 'Doe' in line]


def test_a_port_in_use_is_one_line():
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f'--port={port}: the port is in use; expected a free port'):
            receiver.start('127.0.0.1', port, 'MEDJAX', lambda *_: None, print)


def test_an_archive_that_is_not_there_may_come_back(tmp_path):
    port = free_port()
    made, _ = threshold.predictor().make(200, _written(tmp_path))
    for address in (f'PACS@127.0.0.1:{port}', f'http://127.0.0.1:{port}/dicom-web'):
        with pytest.raises(archive.ArchiveError, match='cannot be reached') as error:
            archive.connect(address, 'MEDJAX').store(made)
        assert not error.value.lasting
    assert logging.getLogger('pynetdicom').level == logging.CRITICAL


def _written(tmp_path):
    scans.series(tmp_path / 'a', ARRAY)
    return tmp_path / 'a'


@pytest.mark.parametrize('address', ['PACS', 'PACS@host', 'PACS@host:70000', 'http://user:secret@host/web', 'ftp://h',
                                     'A title that is too long@host:104'])
def test_other_addresses_are_refused(address):
    with pytest.raises(InputError, match='expected TITLE@HOST:PORT, or the URL'):
        archive.connect(address, 'MEDJAX')


def test_group_0000_is_removed_before_stow(tmp_path, monkeypatch):
    made, _ = threshold.predictor().make(200, _written(tmp_path))
    made[0].add_new(0x00000100, 'US', 1)
    taken = []

    class Client:
        def store_instances(self, datasets):
            taken.extend(datasets)
            return pydicom.Dataset()
    monkeypatch.setattr(archive.Web, '_client', lambda self: Client())
    archive.Web('http://here').store(made)
    assert 0x00000100 not in taken[0] and len(taken) == 2
    pydicom.dcmwrite(io.BytesIO(), taken[0], enforce_file_format=True)
