"""Listen: options that are refused, each by a line; and the commands of the how-to page, on a real Orthanc."""

import json
import re
import subprocess
import sys
import time

import pydicom
import pytest

pytest.importorskip('highdicom')
pytest.importorskip('pynetdicom')
pytest.importorskip('dicomweb_client')

from medjax.data.io import image_files
from medjax.data.io.geometry import embedded
from tests import cli
from tests.clinic import scans
from tests.clinic.orthanc import Orthanc, free_port
from tests.conftest import ROOT
from tests.test_predict import blobs, run  # noqa: F401 - a fixture: a trained run

WEB = '--pacs=http://127.0.0.1:9/dicom-web'


@pytest.mark.parametrize('arguments, message', [
    (['--pacs=PACS'], '--pacs=PACS: expected TITLE@HOST:PORT'),
    (['--pacs=P@127.0.0.1:9', '--poll=5'], '--poll=5 with --pacs=P@127.0.0.1:9: expected the URL'),
    ([WEB, '--poll=5'], '--poll=5 without --query: expected which studies'),
    ([WEB, '--query=Modality=CT'], 'studies have no Modality; expected ModalitiesInStudy=CT'),
    ([WEB, '--series=Modalit=CT'], '--series=Modalit=CT: expected a DICOM element by name'),
    ([WEB, '--series=Modality=(CT'], 'no pattern .*expected a regular expression'),
    ([WEB, '--quiet=0'], '--quiet=0 .*expected seconds above 0'), ([WEB, '--aet= '], '--aet= : expected a title'),
    ([WEB, '--token_file=/nowhere/token'], '/nowhere/token: no such file'),
    ([WEB], 'no config.json there; expected the folder of a training run')])
def test_options_that_are_refused(tmp_path, arguments, message):
    ended = cli.run('listen', f'--workdir={tmp_path}', f'--folder={tmp_path}/listen', *arguments)
    assert ended.code == 2 and re.search(message, ended.err) and ended.err.count('\n') == 1
    assert not (tmp_path / 'listen').exists()


def commands(replace):
    """The commands of the first block of the page, with other places."""
    code = re.search(r'(?s)```bash\n(.*?)```', (ROOT / 'docs' / 'howto' / 'dicom.md').read_text())[1]
    for old, new in replace.items():
        assert old in code
        code = code.replace(old, new)
    lines = [line for line in code.replace('\\\n', '').splitlines() if line]
    assert len(lines) == 5 and lines[0] == "pip install 'medjax[dicom]'"
    return lines[1:]


@pytest.mark.clinic
def test_the_page_goes_from_a_folder_to_a_segmentation_in_orthanc(run, tmp_path):  # noqa: F811
    pacs = Orthanc(tmp_path / 'orthanc', free_port(), free_port())
    array = blobs(11, (20, 24, 6))
    scans.series(tmp_path / 'scan', array)
    lines = commands({'8042 4242': f'{pacs.http} {pacs.dicom}', '127.0.0.1 4242': f'127.0.0.1 {pacs.dicom}',
                      '127.0.0.1:8042': f'127.0.0.1:{pacs.http}', 'runs/organs': f'{run}/run', ' orthanc ':
                      f' {tmp_path}/orthanc ', ' scan ': f' {tmp_path}/scan ', '--folder=listen':
                      f'--folder={tmp_path}/listen', 'python ': f'{sys.executable} ', '--quiet=5': '--quiet=1',
                      '--poll=5': '--poll=1'})
    try:
        for line in lines:
            ended = subprocess.run(['bash', '-c', line], cwd=ROOT, capture_output=True, text=True, timeout=600)
            assert ended.returncode == 0, ended.stderr
            if 'listen' in line:
                assert '2 objects sent' in ended.stdout and 'Doe' not in ended.stdout + ended.stderr
                assert 'studies: 1 sent' in ended.stdout
        series, = json.loads(ended.stdout)
        assert series['00080060']['Value'] == ['SEG']
        content, = pacs.instances('SEG')
    finally:
        subprocess.run(['bash', '-c', f'kill $(cat {tmp_path}/orthanc/pid)'], check=True)
    (tmp_path / 'seg.dcm').write_bytes(content)
    scans.check(tmp_path / 'seg.dcm')
    label = embedded(image_files.read(tmp_path / 'seg.dcm'), image_files.read(tmp_path / 'scan'))
    both = (label.array > 0) & (array > 130)
    assert 2 * both.sum() / ((label.array > 0).sum() + (array > 130).sum()) > 0.6


@pytest.mark.clinic
def test_a_killed_listener_resumes_and_every_study_is_answered_once(run, tmp_path):  # noqa: F811
    """Killed by SIGKILL at several times while studies come; a second one in the same folder is refused."""
    pacs = Orthanc(tmp_path / 'orthanc').start()
    port = free_port()
    command = [sys.executable, '-m', 'medjax.listen', f'--workdir={run}/run', f'--folder={tmp_path}/listen',
               f'--pacs=ORTHANC@127.0.0.1:{pacs.dicom}', f'--port={port}', '--quiet=0.5']
    try:
        for number in range(1, 4):
            scans.series(tmp_path / f'{number}', blobs(number, (20, 24, 6)), study=str(number))
        for number, seconds in ((1, 0.3), (2, 1.2), (3, 3.0)):
            with (tmp_path / 'log').open('a') as log:
                process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            try:
                _wait_for(tmp_path / 'log', f'{port} for C-STORE', number)
                send(port, tmp_path / f'{number}')
                second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True) if number == 1 else None
                assert second is None or 'is listening there; expected one listener in a folder' in second.stderr
                time.sleep(seconds)
            finally:
                process.kill()
                process.wait()
        ended = subprocess.run([*command, '--until_idle'], cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert ended.returncode == 0 and 'studies: 3 sent' in ended.stdout, ended.stderr
        studies = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(one)).StudyInstanceUID
                   for one in pacs.instances('SEG')]
        assert sorted(studies) == [f'{scans.UIDS}.{number}' for number in (1, 2, 3)]
    finally:
        pacs.stop()


def _wait_for(path, text, count):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.read_text().count(text) >= count:
            return
        time.sleep(0.1)
    raise TimeoutError(path.read_text()[-2000:])


def send(port, folder):
    ended = subprocess.run([sys.executable, '-m', 'pynetdicom', 'storescu', '127.0.0.1', str(port), str(folder),
                            '--recurse'], capture_output=True, text=True)
    assert ended.returncode == 0 and not re.search('rror', ended.stderr), ended.stderr
