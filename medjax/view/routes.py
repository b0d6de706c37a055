"""The routes of the viewer, for its own server and for the service."""

import functools
import hashlib
import math
import os
import pathlib

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from medjax.errors import InputError
from medjax.view.cases import Cases

VARIABLE = 'MEDJAX_VIEWER_DIR'
NIIVUE, NIIVUE_SHA256 = 'niivue-0.69.0.umd.js', '47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af'
PAGE = {'page.html': 'text/html', 'view.js': 'text/javascript', 'view.css': 'text/css'}
# What the page may load: its own files alone. NiiVue makes images and workers of data that it has loaded.
POLICY = ("default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src blob:; font-src data:; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
REPORT_POLICY = ("default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
                 "frame-ancestors 'none'")


def viewers() -> pathlib.Path:
    """The folder that `launch/viewer.sh` installs viewers into."""
    return pathlib.Path(os.environ.get(VARIABLE) or pathlib.Path.home() / '.cache' / 'medjax' / 'viewer')


@functools.cache
def niivue() -> bytes:
    """NiiVue, which `launch/viewer.sh` installs.

    Raises:
      InputError: it is not installed, or has another checksum.
    """
    path = viewers() / NIIVUE
    if not path.is_file():
        raise InputError(f'{path}: no such file; expected NiiVue there: run `bash launch/viewer.sh`')
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != NIIVUE_SHA256:
        raise InputError(f'{path}: another checksum than that of NiiVue 0.69.0; expected it: run `bash '
                         'launch/viewer.sh` again')
    return content


def router(cases: Cases, predicts: bool) -> APIRouter:
    """The viewer's routes, below `/view`.

    Args:
      cases: of the run.
      predicts: whether the page can send files to `/predict`.
    """
    routes = APIRouter()

    @routes.get('/view')
    def _page() -> Response:
        return _file('page.html')

    @routes.get('/view/static/{name}')
    def _static(name: str) -> Response:
        if name == 'niivue.js':
            return _answer(niivue(), 'text/javascript')
        return _file(name) if name in PAGE else Response(status_code=404)

    @routes.get('/view/cases')
    def _cases() -> Response:
        return JSONResponse({**cases.describe(), 'predicts': predicts})

    @routes.get('/view/cases/{number}')
    def _case(number: int) -> Response:
        drawn = cases.drawn(number)
        layers = [{'name': layer.name, 'kind': layer.kind, 'volume': bool(layer.spacing),
                   'url': f'/view/cases/{number}/{place}.{"nii" if layer.spacing else "png"}',
                   'voxel_ml': math.prod(layer.spacing) / 1000 if layer.spacing else None}
                  for place, layer in enumerate(drawn.layers)]
        return JSONResponse({'layers': layers, 'boxes': list(drawn.boxes)})

    @routes.get('/view/cases/{number}/{place}.{ending}')
    def _layer(number: int, place: int, ending: str) -> Response:
        layers = cases.drawn(number).layers
        if not 0 <= place < len(layers):
            raise InputError(f'case {number}, layer {place}: no such layer; expected 0 to {len(layers) - 1}')
        return _answer(*layers[place].encode())

    @routes.get('/view/report')
    def _report() -> Response:
        path = cases.workdir / 'report.html'
        if not path.is_file():
            raise InputError('the run has no report; expected report.html: draw it with `medjax report`')
        return _answer(path.read_bytes(), 'text/html', REPORT_POLICY)

    return routes


def _file(name: str) -> Response:
    return _answer(pathlib.Path(__file__).with_name(name).read_bytes(), PAGE[name])


def _answer(content: bytes, kind: str, policy: str = POLICY) -> Response:
    """A response that no other site may embed, and that a browser does not keep."""
    return Response(content, media_type=kind, headers={
        'Content-Security-Policy': policy, 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store',
        'Referrer-Policy': 'no-referrer'})
