"""OHIF, a viewer of DICOM archives, with a configuration that has one archive and no other server.

Its requests for images go through this server, which passes them on to the archive's DICOMweb service: the browser
needs neither the archive's address nor its permission for pages of another site.
"""

import json
import mimetypes
import pathlib
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from medjax.errors import InputError
from medjax.serve.gate import Refused

VERSION = '3.12.10'
FOLDER = f'ohif-{VERSION}'
BASE, WEB = '/ohif', '/ohif/dicom-web'
PIECE = 2**18
SECONDS = 60  # without an answer of the archive
PASSED_ON = ('accept', 'accept-language')  # headers of requests
# What the page may load: its own files, and images through this server. It compiles WebAssembly and makes workers.
POLICY = ("default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
          "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
          "connect-src 'self' data: blob:; worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'")
URL = re.compile(r'https?://[^\s@?#]+')


def installed(viewers: pathlib.Path) -> pathlib.Path:
    """The folder of OHIF, which `launch/viewer.sh --ohif` installs.

    Args:
      viewers: the folder of viewers.

    Raises:
      InputError: it is not installed.
    """
    folder = viewers / FOLDER
    if not (folder / 'index.html').is_file():
        raise InputError(f'{folder}: no OHIF there; expected it: run `bash launch/viewer.sh --ohif`')
    return folder


def router(folder: pathlib.Path, archive: str) -> APIRouter:
    """The routes of OHIF: its pages are below `/ohif`, its files below `/`, after all other routes.

    Args:
      folder: of OHIF's files.
      archive: the URL of its DICOMweb service.

    Raises:
      InputError: another URL.
    """
    if not URL.fullmatch(archive):
        raise InputError(f'--dicomweb={archive}: expected the URL of a DICOMweb service, such as '
                         'http://127.0.0.1:8042/dicom-web, without a password')
    archive, routes = archive.rstrip('/'), APIRouter()
    folder = folder.resolve()

    @routes.get(WEB + '/{path:path}')
    def _archive(path: str, request: Request) -> Response:
        return _passed_on(archive, path, request)

    @routes.get(BASE)
    @routes.get(BASE + '/{path:path}')
    def _page() -> Response:
        return _answer((folder / 'index.html').read_bytes(), 'text/html')

    @routes.get('/app-config.js')
    def _configuration() -> Response:
        return _answer(f'window.config = {json.dumps(configuration(archive))};'.encode(), 'text/javascript')

    @routes.get('/{path:path}')  # it asks for its other files there, whatever its own address
    def _file(path: str) -> Response:
        file = (folder / path).resolve()
        if not file.is_file() or folder not in file.parents or path == 'index.html':
            return Response(status_code=404)
        return _answer(file.read_bytes(), _kind(path))

    return routes


def configuration(archive: str) -> dict[str, Any]:
    """OHIF's configuration: one archive, behind this server; nothing is changed there."""
    return {
        'name': 'medjax', 'routerBasename': BASE, 'extensions': [], 'modes': [], 'customizationService': {},
        'showStudyList': True, 'maxNumberOfWebWorkers': 2, 'showWarningMessageForCrossOrigin': False,
        'showCPUFallbackMessage': True, 'strictZSpacingForVolumeViewport': True, 'showErrorDetails': 'always',
        # A segmentation is drawn when it is opened, without a question.
        'disableConfirmationPrompts': True, 'investigationalUseDialog': {'option': 'never'},
        'defaultDataSourceName': 'archive', 'dataSources': [{
            'namespace': '@ohif/extension-default.dataSourcesModule.dicomweb', 'sourceName': 'archive',
            'configuration': {
                'friendlyName': 'Archive', 'name': 'archive', 'wadoUriRoot': WEB, 'qidoRoot': WEB, 'wadoRoot': WEB,
                'qidoSupportsIncludeField': True, 'supportsReject': False, 'dicomUploadEnabled': False,
                'supportsStow': False, 'imageRendering': 'wadors', 'thumbnailRendering': 'wadors',
                'enableStudyLazyLoad': True, 'supportsFuzzyMatching': False, 'supportsWildcard': True,
                'omitQuotationForMultipartRequest': True,
                'bulkDataURI': {'enabled': True, 'startsWith': f'{archive}/', 'prefixWith': f'{WEB}/'}}}]}


def _passed_on(archive: str, path: str, request: Request) -> Response:
    """The archive's answer to a request for a path below its service.

    Raises:
      Refused: a path that leads elsewhere, or the archive cannot be reached.
    """
    if any(part in ('', '.', '..') for part in path.split('/')) or '\\' in path:
        raise Refused(400, 'a path that is none of DICOMweb; expected such as studies')
    query = f'?{request.url.query}' if request.url.query else ''
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    asked = urllib.request.Request(f'{archive}/{urllib.parse.quote(path)}{query}', headers=headers)
    try:
        answer = _OPENER.open(asked, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        return Response(status_code=error.code if error.code >= 400 else 502)
    except OSError as error:
        raise Refused(502, 'the archive of --dicomweb cannot be reached; expected it to run') from error
    return StreamingResponse(_pieces(answer), answer.status, {'Cache-Control': 'no-store'},
                             answer.headers.get('Content-Type', 'application/octet-stream'))


def _pieces(answer: Any) -> Iterator[bytes]:
    with answer:
        while piece := answer.read(PIECE):
            yield piece


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An archive does not lead to other servers."""

    def redirect_request(self, *_: Any) -> None:
        """Refuses."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def _kind(path: str) -> str:
    if path.endswith('.js'):
        return 'text/javascript'
    if path.endswith('.wasm'):
        return 'application/wasm'
    return mimetypes.guess_type(path)[0] or 'application/octet-stream'


def _answer(content: bytes, kind: str) -> Response:
    return Response(content, media_type=kind, headers={
        'Content-Security-Policy': POLICY, 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-cache',
        'Referrer-Policy': 'no-referrer'})
