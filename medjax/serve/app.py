"""The application: its routes and its queue."""

import asyncio
import base64
import concurrent.futures
import contextlib
import io
import json
import math
import pathlib
import time
import urllib.parse
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware

from medjax.data.io import image_files
from medjax.errors import InputError
from medjax.serve import access, uploads
from medjax.serve.datastore import Datastore
from medjax.serve.folders import request_folder
from medjax.serve.gate import Gate, Refused
from medjax.serve.monai_label import MonaiLabel
from medjax.serve.service import TABLE, Answer, Service, without_folder
from medjax.view.cases import Cases
from medjax.view.routes import router

PIECE_SECONDS = 15  # between the pieces of an upload
TABLES = ('.csv', '.tsv')
KINDS = {'.gz': 'application/gzip', '.nii': 'application/octet-stream', '.png': 'image/png', '.csv': 'text/csv',
         '.mp4': 'video/mp4', '.dcm': 'application/dicom'}


class Application:
    """The service as an ASGI application.

    Args:
      service: of the run.
      folder: for the folders of requests.
      queue: the most requests at a time; others are refused with 503.
      upload_seconds: for a whole upload.
      token: that requests must have, see `Gate`; '' for none.
      datastore: a folder of images to annotate by the interface of MONAI Label, which is not offered without one.
      train_folder: see `MonaiLabel`.
      hosts: see `access.foreign`.
      origins: see `access.foreign`.
      say: takes a line for each request; it has no names of files.
    """

    def __init__(self, service: Service, folder: pathlib.Path, *, queue: int = 16, upload_seconds: float = 300,
                 token: str = '', hosts: Sequence[str] = access.LOOPBACK, origins: Sequence[str] = (),
                 datastore: pathlib.Path | None = None, train_folder: pathlib.Path | None = None,
                 say: Callable[[str], None] = print):
        self.service, self.folder = service, folder
        self._queue, self._upload_seconds, self._in_progress, self._last_seconds = queue, upload_seconds, 0, 1.0
        self._threads = concurrent.futures.ThreadPoolExecutor(queue, 'requests')
        self._monai_label: MonaiLabel | None = None
        self._card = json.dumps(service.card(), indent=1, default=str).encode()
        self.api = FastAPI(title='medjax', docs_url=None, redoc_url=None, openapi_url=None)
        self.api.get('/health')(self._health)
        self.api.get('/model')(self._model)
        self.api.get('/metrics')(self._metrics)
        self.api.post('/predict')(self._predict)
        self.api.include_router(router(Cases(service.workdir), predicts=True))
        if datastore is not None:
            store = Datastore(datastore, getattr(service.run.predictor, 'read', image_files.read))
            self._monai_label = MonaiLabel(self, store, token, train_folder, say)
            self.api.include_router(self._monai_label.router())
        if origins:
            self.api.add_middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=['*'],
                                    allow_headers=['*'])
        self._gate = Gate(self.api, token=token, hosts=hosts, origins=origins, say=say,
                          count=lambda route, status: service.metrics.requests.labels(route, status).inc())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request; see ASGI."""
        await self._gate(scope, receive, send)

    def close(self) -> None:
        """Stops a training that clients started."""
        if self._monai_label is not None:
            self._monai_label.close()

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """A place in the queue, from before the upload until after the answer.

        Raises:
          Refused: the queue is full.
        """
        if self._in_progress >= self._queue:
            raise Refused(503, f'{self._queue} requests in progress, which is the limit; try again later',
                          {'Retry-After': str(math.ceil(self._last_seconds))})
        self._in_progress += 1
        self.service.metrics.waiting.inc()
        began = time.monotonic()
        try:
            yield
        finally:
            self._in_progress -= 1
            self.service.metrics.waiting.dec()
            self._last_seconds = time.monotonic() - began

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a function that is called in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def receive(self, request: Request, folder: pathlib.Path,
                      paths: bool = False) -> tuple[list[pathlib.Path], dict[str, str]]:
        """The files and fields of an uploaded form, see `uploads.receive`; the files are in `folder/input`."""
        limits = self.service.limits
        declared = request.headers.get('content-length', '0')
        if declared.isdigit() and int(declared) > limits.bytes:
            raise Refused(413, f'an upload of {declared} bytes; expected at most {limits.bytes}')
        (folder / 'input').mkdir(0o700)
        async with asyncio.timeout(self._upload_seconds):
            files, fields = await uploads.receive(request.headers.get('content-type', ''), _pieces(request),
                                                  folder / 'input', limits, paths)
        self.service.metrics.bytes.inc(sum(path.stat().st_size for path in files))
        return files, fields

    def checked_files(self, files: Sequence[pathlib.Path]) -> list[pathlib.Path]:
        """Uploaded files with those of archives in their place, after a check of their pixels.

        Raises:
          Refused: a limit is exceeded.
          InputError: a header that cannot be read.
        """
        found = uploads.unpack(list(files), self.service.limits)
        uploads.check_pixels(found, self.service.limits)
        return found

    def predict_files(self, files: Sequence[pathlib.Path], folder: pathlib.Path, series: str = '',
                      dicom: bool = False) -> Answer:
        """The results for uploaded files.

        Args:
          files: in `folder/input`.
          folder: of the request.
          series: the number of the DICOM series to predict, where there are several.
          dicom: see `Service.predict`.

        Raises:
          Refused: a limit is exceeded.
          InputError: files that cannot be predicted.
        """
        try:
            files = self.checked_files(files)
            tables = [path for path in files if path.suffix.lower() in TABLES]
            inputs = tables or (files if len(files) == 1 else [folder / 'input'])
            if series:
                inputs = [folder / 'input' / f'series={uploads.checked_name(series)}']
            if not files:
                raise Refused(400, 'a form without files; expected at least one')
            return self.service.predict(inputs, folder, dicom)
        except (InputError, Refused) as error:
            reason = without_folder(str(error), folder)
            raise (Refused(error.status, reason) if isinstance(error, Refused) else InputError(reason)) from error

    async def _health(self) -> Response:
        return JSONResponse({'status': 'ready', 'requests_in_progress': self._in_progress})

    async def _model(self) -> Response:
        return Response(self._card, media_type='application/json')

    async def _metrics(self) -> Response:
        return Response(self.service.metrics.text(), media_type='text/plain; version=0.0.4')

    async def _predict(self, request: Request, dicom: bool = False) -> Response:
        began = time.monotonic()
        with self.admitted(), request_folder(self.folder) as folder:
            files, fields = await self.receive(request, folder)
            series = request.query_params.get('series', fields.get('series', ''))
            answer = await self.in_thread(self.predict_files, files, folder, series, dicom)
        self.service.metrics.seconds.observe(time.monotonic() - began)
        return self._response(answer, request.headers.get('accept', ''))

    def _response(self, answer: Answer, accept: str) -> Response:
        """The answer in the form that a client asks for: a zip archive, JSON, or by default a label by itself."""
        if 'application/zip' in accept:
            content = io.BytesIO()
            with zipfile.ZipFile(content, 'w') as archive:
                for name, data in answer.files.items():
                    archive.writestr(name, data)
            return Response(content.getvalue(), media_type='application/zip')
        name = next(iter(answer.files), TABLE)
        if len(answer.files) == 1 and name != TABLE and 'application/json' not in accept:
            kind = KINDS.get(pathlib.PurePath(name).suffix, 'application/octet-stream')
            named = f"attachment; filename*=UTF-8''{urllib.parse.quote(name)}"
            return Response(answer.files[name], media_type=kind, headers={'Content-Disposition': named})
        files = {name: base64.b64encode(data).decode() for name, data in answer.files.items() if name != TABLE}
        return JSONResponse({'step': self.service.run.step, 'messages': list(answer.messages), 'table': answer.rows,
                             'files': files, 'seconds': answer.seconds})


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The pieces of a request's body; a client that stands still raises TimeoutError."""
    stream = request.stream()
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), PIECE_SECONDS)
        except StopAsyncIteration:
            return
