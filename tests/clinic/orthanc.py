"""An Orthanc of a test's own, on free ports of this machine."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


class Orthanc:
    """A running archive; `http`, `dicom` and `web` are where it listens."""

    def __init__(self, folder, http=None, dicom=None, modalities='{}'):
        self.folder, self.http, self.dicom = folder, http or free_port(), dicom or free_port()
        self.web = f'http://127.0.0.1:{self.http}/dicom-web'
        self.modalities, self._process = modalities, None

    def start(self):
        self.folder.mkdir(exist_ok=True)
        with (self.folder / 'log').open('ab') as log:
            self._process = subprocess.Popen(
                ['bash', str(ROOT / 'launch/orthanc.sh'), str(self.folder), str(self.http), str(self.dicom)],
                env={**os.environ, 'MODALITIES': self.modalities}, stdout=log, stderr=log)
        for _ in range(600):
            assert self._process.poll() is None, (self.folder / 'log').read_text()[-2000:]
            with contextlib.suppress(OSError):
                self.get('/system')
                return self
            time.sleep(0.2)
        raise TimeoutError('Orthanc does not answer')

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def get(self, path, data=None):
        request = urllib.request.Request(f'http://127.0.0.1:{self.http}{path}', data)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def json(self, path, data=None):
        return json.loads(self.get(path, data))

    def upload(self, folder):
        for path in folder.iterdir():
            self.get('/instances', path.read_bytes())

    def instances(self, modality):
        """The files of all instances of a modality."""
        found = self.json('/tools/find', json.dumps(
            {'Level': 'Series', 'Query': {'Modality': modality}}).encode())
        return [self.get(f'/instances/{one}/file') for series in found
                for one in self.json(f'/series/{series}')['Instances']]
