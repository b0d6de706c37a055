"""OHIF beside the viewer: its configuration, its files and its archive."""

import contextlib
import http.server
import json
import re
import threading

import pytest

from medjax.errors import InputError
from medjax.view import app, ohif, routes
from medjax.view.cases import Cases
from tests.view.test_view import request


@pytest.fixture
def viewers(tmp_path, monkeypatch):
    """A folder with files in the places of OHIF's, and one beside it."""
    folder = tmp_path / 'viewers' / ohif.FOLDER
    (folder / 'assets').mkdir(parents=True)
    for name in ('index.html', 'app-config.js', 'app.bundle.js', 'assets/a.wasm'):
        (folder / name).write_text(f'shipped {name}')
    (tmp_path / 'viewers' / 'secret').write_text('secret')
    monkeypatch.setenv(routes.VARIABLE, str(tmp_path / 'viewers'))


@contextlib.contextmanager
def archive():
    """A DICOMweb service that answers with what it was asked for, and leads `/moved` elsewhere."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status = {'/web/moved': 302, '/web/none': 404}.get(self.path, 200)
            content = json.dumps([self.path, self.headers['Accept'], self.headers['Authorization']]).encode()
            self.send_response(status)
            if status == 302:
                self.send_header('Location', 'http://127.0.0.1:9/')
            self.send_header('Content-Type', 'application/dicom+json')
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_port}/web'
        finally:
            server.shutdown()
            thread.join()


def test_files_of_ohif_are_served_with_a_configuration_of_its_own(segmenter, viewers):
    url = 'http://127.0.0.1:9/web'
    config = request(segmenter, '/app-config.js', archive=url)
    found = json.loads(config.text.removeprefix('window.config = ').removesuffix(';'))
    assert [of['configuration']['wadoRoot'] for of in found['dataSources']] == ['/ohif/dicom-web']
    assert set(re.findall(r'https?://[^"]*', config.text)) == {f'{url}/'}  # no other server
    for path in ('/ohif', '/ohif/viewer?StudyInstanceUIDs=1'):
        page = request(segmenter, path, archive=url)
        assert page.text == 'shipped index.html' and "default-src 'none'" in page.headers['content-security-policy']
    kinds = {path: request(segmenter, path, archive=url).headers['content-type'].split(';')[0]
             for path in ('/app.bundle.js', '/assets/a.wasm')}
    assert kinds == {'/app.bundle.js': 'text/javascript', '/assets/a.wasm': 'application/wasm'}
    for path in ('/secret', '/..%2fsecret', '/%2e%2e/secret', '/none.js', '/index.html'):
        assert request(segmenter, path, archive=url).status_code == 404
    assert '<canvas' in request(segmenter, '/view', archive=url).text
    assert request(segmenter, '/ohif').status_code == 404  # without --dicomweb
    assert request(segmenter, '/ohif/dicom-web/studies', archive=url, token='c' * 32).status_code == 401


def test_requests_for_images_are_passed_on_to_the_archive_alone(segmenter, viewers):
    with archive() as url:
        answer = request(segmenter, '/ohif/dicom-web/studies/1.2?limit=3&x=a%26b', archive=f'{url}/', headers={
            'Accept': 'application/dicom+json', 'Authorization': 'Bearer of the viewer'})
        assert answer.json() == ['/web/studies/1.2?limit=3&x=a%26b', 'application/dicom+json', None]
        assert answer.headers['content-type'] == 'application/dicom+json'
        for path, status in (('none', 404), ('moved', 502), ('..%2finstances', 400), ('a/%2e%2e/b', 400),
                             ('a//b', 400)):
            assert request(segmenter, f'/ohif/dicom-web/{path}', archive=url).status_code == status
    answer = request(segmenter, '/ohif/dicom-web/studies', archive=url)
    assert answer.status_code == 502 and 'the archive of --dicomweb cannot be reached' in answer.text


@pytest.mark.parametrize('url', ['127.0.0.1:8042', 'ftp://host/web', 'http://name:secret@host/web', 'http://h/w?a=b'])
def test_other_archives_and_a_missing_ohif_are_refused(segmenter, viewers, monkeypatch, tmp_path, url):
    with pytest.raises(InputError, match='--dicomweb=.*: expected the URL of a DICOMweb service'):
        app.application(Cases(segmenter), '', [], archive=url)
    monkeypatch.setenv(routes.VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match='no OHIF there; expected it: run `bash launch/viewer.sh --ohif`'):
        app.application(Cases(segmenter), '', [], archive='http://host/web')
