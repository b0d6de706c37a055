"""The REST interface of MONAI Label, so that the plugins of 3D Slicer and OHIF work with a run of medjax.

Its clients send paths of their machine as names of files, of which the last part is taken.

Interface: https://github.com/Project-MONAI/MONAILabel, endpoints of version 0.8.5.
"""

import asyncio
import hmac
import json
import mimetypes
import pathlib
import random
import secrets
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse

import medjax
from medjax.errors import InputError
from medjax.serve.datastore import Datastore
from medjax.serve.folders import request_folder
from medjax.serve.gate import Refused
from medjax.serve.service import Answer, without_folder
from medjax.serve.training import STARTS, BusyError, Training

if TYPE_CHECKING:
    from medjax.serve.app import Application

EXPIRY = 3600  # seconds that the images of a session are kept
SESSIONS = 16  # at most
BODY_SECONDS, BODY_BYTES = 15, 10**4  # of requests without files, such as a password
ENDINGS = ('.nii.gz', '.nii', '.nrrd')  # in which a label may be asked for
FAMILIES = ('segmentation', 'classification')
STRATEGIES = {'first': 'those of selection.csv first, else by name', 'random': 'any without a label'}


class MonaiLabel:
    """The routes of MONAI Label.

    Args:
      app: the service.
      datastore: the images to annotate.
      token: of the service; '' for none.
      train_folder: for the runs that clients train, see `Training`; None where they may not.
      say: takes a line about each training.

    Raises:
      InputError: a run of another family, or with labels that are colours; training with labels that are no images.
    """

    def __init__(self, app: 'Application', datastore: Datastore, token: str,
                 train_folder: pathlib.Path | None = None, say: Callable[[str], None] = print):
        self._app, self._store, self._token = app, datastore, token
        if app.service.family.name not in FAMILIES:
            raise InputError(f'--datastore: a run of {app.service.family.name}; expected one of: {", ".join(FAMILIES)}')
        self._sessions: dict[str, tuple[pathlib.Path, float]] = {}
        service = app.service
        self._model = service.config['model']['name']
        names = [str(name) for name in service.run.statistics.get('classes', [])]
        self._segments = service.family.name == 'segmentation'
        numbers = np.arange(len(names))
        values = service.run.predictor.encode(numbers) if self._segments else numbers
        if values.ndim > 1:
            raise InputError('--datastore: labels that are colours; expected a run whose labels are numbers')
        self._labels = dict(zip(names, (int(value) for value in values)))
        self._training: Training | None = None
        if train_folder is not None:
            if not self._segments:
                raise InputError('--train_folder: a run of classification, whose labels the data store does not have; '
                                 'expected one of segmentation')
            self._training = Training(service.workdir, service.config, self._labels, datastore, train_folder, say)

    def router(self) -> APIRouter:
        """The routes, as MONAI Label has them."""
        routes = APIRouter()
        routes.get('/auth/')(self._auth)
        routes.post('/auth/token')(self._auth_token)
        routes.get('/auth/token/valid')(self._auth_valid)
        routes.get('/info/')(self._info)
        routes.get('/datastore/')(self._datastore)
        routes.put('/datastore/')(self._add_image)
        routes.get('/datastore/image')(self._image)
        routes.get('/datastore/label')(self._label)
        routes.put('/datastore/label')(self._save_label)
        routes.post('/activelearning/{strategy}')(self._next_sample)
        routes.post('/infer/{model}')(self._infer)
        routes.put('/session/')(self._create_session)
        routes.get('/session/{session}')(self._session)
        routes.delete('/session/{session}')(self._remove_session)
        routes.get('/train/')(self._train_status)
        routes.delete('/train/')(self._train_stop)
        routes.post('/train/')(self._train_all)
        routes.post('/train/{model}')(self._train)
        return routes

    async def _auth(self) -> Response:
        return JSONResponse({'enabled': bool(self._token), 'client_id': '', 'realm': ''})

    async def _auth_token(self, request: Request) -> Response:
        """The token, to those who have it as their password; clients send it with later requests."""
        body = await _small_body(request)
        given = urllib.parse.parse_qs(body.decode(errors='replace')).get('password', [''])[0]
        if not self._token:
            return JSONResponse({'access_token': None, 'token_type': None})
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Refused(401, 'another password than the token; expected the token')
        return JSONResponse({'access_token': self._token, 'token_type': 'Bearer'})

    async def _auth_valid(self) -> Response:
        return JSONResponse({'username': 'user'})

    async def _info(self) -> Response:
        labels = {name: value for name, value in self._labels.items() if value} if self._segments else self._labels
        model = {'type': 'segmentation' if self._segments else 'classification', 'labels': labels,
                 'dimension': 3, 'description': f'{self._app.service.family.name} by medjax {medjax.__version__}',
                 'config': {}}
        return JSONResponse({
            'name': 'medjax', 'description': model['description'], 'version': medjax.__version__,
            'labels': list(labels), 'models': {self._model: model}, 'trainers': self._trainers(),
            'strategies': {name: {'description': text} for name, text in STRATEGIES.items()}, 'scoring': {},
            'train_stats': {self._model: self._training.stats()} if self._training else {},
            'datastore': await self._app.in_thread(self._store.status), 'config': {}})

    def _trainers(self) -> dict[str, Any]:
        """What clients can train, with the parameters that they may send: a choice is a list of its values."""
        if self._training is None:
            return {}
        return {self._model: {'description': 'trains on the final labels; the service keeps its weights',
                              'config': {'start': list(STARTS), 'steps': self._training.steps}}}

    def close(self) -> None:
        """Stops a training."""
        if self._training:
            self._training.stop()

    async def _datastore(self, output: str = 'stats') -> Response:
        if output == 'train':
            found = self._store.labels().get('final', {})
            images = self._store.images()
            return JSONResponse([{'image': f'images/{images[name].name}', 'label': f'labels/{path.name}'}
                                 for name, path in found.items() if name in images])
        return JSONResponse(await self._app.in_thread(self._store.contents if output == 'all' else self._store.status))

    async def _image(self, image: str, check_only: bool = False) -> Response:
        path = self._store.image(image)
        if path.is_dir():
            raise Refused(404, 'a DICOM series, which is not sent as one file; expected it from the archive')
        return JSONResponse({}) if check_only else FileResponse(path, filename=path.name)

    async def _label(self, label: str, tag: str = 'final', check_only: bool = False) -> Response:
        path = self._store.label(label, tag)
        return JSONResponse({}) if check_only else FileResponse(path, filename=path.name)

    async def _add_image(self, request: Request, image: str = '') -> Response:
        with self._app.admitted(), request_folder(self._app.folder) as folder:
            upload, _ = await self._one_file(request, folder)
            return JSONResponse({'image': await self._in_thread(folder, self._store.add_image, image, upload)})

    async def _save_label(self, request: Request, image: str, tag: str = 'final') -> Response:
        with self._app.admitted(), request_folder(self._app.folder) as folder:
            upload, _ = await self._one_file(request, folder)
            found = await self._in_thread(folder, self._store.save_label, image, tag, upload,
                                          tuple(self._labels.values()))
        return JSONResponse({'image': image, 'label': found})

    async def _next_sample(self, strategy: str) -> Response:
        if strategy not in STRATEGIES:
            raise Refused(404, f'no such strategy; expected one of: {", ".join(STRATEGIES)}')
        names = await self._app.in_thread(self._store.unlabelled)
        if not names:
            return JSONResponse({})
        name = random.choice(names) if strategy == 'random' else names[0]
        path = self._store.image(name)
        return JSONResponse({'id': name, 'name': path.name, 'strategy': {strategy: {'ts': int(time.time())}}})

    async def _infer(self, request: Request, model: str, image: str = '', session_id: str = '',
                     output: str = 'all') -> Response:
        if model != self._model:
            raise Refused(404, f'no such model; expected {self._model}')
        with self._app.admitted(), request_folder(self._app.folder) as folder:
            uploads, fields = await self._app.receive(request, folder, True)
            params = _params(fields)
            ending = str(params.get('result_extension') or '.nii.gz')
            if ending not in ENDINGS:
                raise Refused(400, f'a result of another kind; expected one of: {", ".join(ENDINGS)}')
            if session_id:
                path = self._session_folder(session_id)
            elif image:
                path = self._store.image(image)
            else:
                path = None
            if path is None and not uploads:
                raise Refused(400, 'neither an image, a session nor a file; expected one of them')
            answer = await self._in_thread(folder, self._predict, path, uploads, folder)
            name, content = await self._in_thread(folder, _result, answer, ending, folder)
        result = {'label_names': {name: value for name, value in self._labels.items() if value},
                  'predictions': [{key: cell for key, cell in row.items() if key != 'image'} for row in answer.rows],
                  'latencies': {'total': answer.seconds}}  # without paths of this machine
        if output == 'json' or not content:
            return JSONResponse(result)
        if output == 'image':
            return Response(content, media_type='application/octet-stream')
        return _form(result, name, content)

    def _predict(self, path: pathlib.Path | None, uploads: list[pathlib.Path], folder: pathlib.Path) -> Answer:
        """The results for an image of the data store or a session, or for uploaded files."""
        if path is None:
            return self._app.predict_files(uploads, folder)
        return self._app.service.predict([path], folder)

    async def _create_session(self, request: Request) -> Response:
        self._expire()
        if len(self._sessions) >= SESSIONS:
            raise Refused(503, f'{SESSIONS} sessions, which is the limit; try again later', {'Retry-After': '60'})
        with self._app.admitted(), request_folder(self._app.folder) as folder:
            files, _ = await self._app.receive(request, folder, True)
            checked = await self._in_thread(folder, self._app.checked_files, files)
            if not checked:
                raise Refused(400, 'a form without files; expected at least one')
            kept = pathlib.Path(tempfile.mkdtemp(dir=self._app.folder, prefix='session-'))
            shutil.move(folder / 'input', kept / 'input')
        session = secrets.token_hex(16)
        self._sessions[session] = kept, time.monotonic() + EXPIRY
        asyncio.get_running_loop().call_later(EXPIRY + 1, self._expire)
        return JSONResponse({'session_id': session, 'session_info': self._described(session)})

    async def _session(self, session: str) -> Response:
        self._session_folder(session)
        return JSONResponse(self._described(session))

    async def _remove_session(self, session: str) -> Response:
        self._session_folder(session)
        found = self._described(session)
        shutil.rmtree(self._sessions.pop(session)[0])
        return JSONResponse(found)

    def _session_folder(self, session: str) -> pathlib.Path:
        """The image of a session: its only file, or the folder of its files."""
        self._expire()
        if session not in self._sessions:
            raise Refused(404, 'no such session; expected one that has not expired')
        folder = self._sessions[session][0] / 'input'
        files = list(folder.iterdir())
        return files[0] if len(files) == 1 else folder

    def _described(self, session: str) -> dict[str, Any]:
        return {'name': session, 'path': '', 'image': self._session_folder(session).name, 'meta': {},
                'create_ts': 0, 'last_access_ts': 0, 'expiry': EXPIRY}

    def _expire(self) -> None:
        """Removes the sessions whose time is over."""
        for session, (folder, end) in list(self._sessions.items()):
            if end < time.monotonic():
                shutil.rmtree(folder, ignore_errors=True)
                del self._sessions[session]

    async def _train_status(self, all: bool = False, check_if_running: bool = False) -> Response:
        running = self._training.running() if self._training else None
        if check_if_running:
            if running is None:
                raise Refused(404, 'no training is running')
            return JSONResponse(running)
        tasks = await self._app.in_thread(self._training.tasks) if self._training else []
        if all:
            return JSONResponse(tasks)
        return JSONResponse(tasks[-1] if tasks else {'id': '', 'status': 'NOT_STARTED', 'details': []})

    async def _train_stop(self) -> Response:
        return JSONResponse((await self._app.in_thread(self._training.stop) if self._training else None) or {})

    async def _train_all(self, request: Request) -> Response:
        """Trains the only model; clients of this path give options by the model's name."""
        params = (await _json_body(request)).get(self._model)
        task = await self._start_training(params if isinstance(params, dict) else {})
        return JSONResponse({self._model: {'result': task, 'detail': None}})

    async def _train(self, request: Request, model: str) -> Response:
        params = await _json_body(request)
        if model != self._model:
            raise Refused(404, f'no such model; expected {self._model}')
        return JSONResponse(await self._start_training(params))

    async def _start_training(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Starts a training with some of a client's parameters, those that `/info/` lists."""
        if self._training is None:
            raise Refused(501, 'this service does not train; expected one that was started with --train_folder')
        options = {name: params[name] for name in ('start', 'steps') if params.get(name) is not None}
        try:
            return await self._app.in_thread(lambda: self._training.start(**options))
        except BusyError as error:
            raise Refused(429, str(error)) from error

    async def _one_file(self, request: Request, folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, str]]:
        files, fields = await self._app.receive(request, folder, True)
        if len(files) != 1:
            raise Refused(400, f'a form with {len(files)} files; expected one')
        await self._in_thread(folder, self._app.checked_files, files)
        return files[0], fields

    async def _in_thread(self, folder: pathlib.Path, function: Any, *arguments: Any) -> Any:
        """The result of a function in a thread; paths in its errors are those of the upload."""
        try:
            return await self._app.in_thread(function, *arguments)
        except InputError as error:
            text = str(error).replace(f'{self._store.folder}/', '')
            raise InputError(without_folder(text, folder)) from error


async def _small_body(request: Request) -> bytes:
    """The body of a request that has no files."""
    body = b''
    async with asyncio.timeout(BODY_SECONDS):
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES:
                raise Refused(413, f'a body of more than {BODY_BYTES} bytes; expected less')
    return body


async def _json_body(request: Request) -> dict[str, Any]:
    """The object in the body of a request; empty without one."""
    return _params({'params': (await _small_body(request)).decode(errors='replace')})


def _params(fields: dict[str, str]) -> dict[str, Any]:
    try:
        params = json.loads(fields.get('params') or '{}')
    except ValueError as error:
        raise Refused(400, 'parameters that are not JSON; expected an object') from error
    return params if isinstance(params, dict) else {}


def _result(answer: Answer, ending: str, folder: pathlib.Path) -> tuple[str, bytes]:
    """The name and the bytes of a predicted image in the format that was asked for; empty where there is none."""
    found = [name for name in answer.files if name.endswith('.nii.gz')]
    if not found:
        return '', b''
    name = found[0].removesuffix('.nii.gz') + ending
    if ending == '.nii.gz':
        return name, answer.files[found[0]]
    (folder / 'predicted.nii.gz').write_bytes(answer.files[found[0]])
    sitk.WriteImage(sitk.ReadImage(str(folder / 'predicted.nii.gz')), str(folder / f'converted{ending}'))
    return name, (folder / f'converted{ending}').read_bytes()


def _form(result: dict[str, Any], name: str, content: bytes) -> Response:
    """A multipart answer with the parameters and the image."""
    boundary = secrets.token_hex(16)
    kind = mimetypes.guess_type(name)[0] or 'application/octet-stream'
    quoted = urllib.parse.quote(name, safe=' !#$&+-.^_`~@()=,')
    parts = (f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
             f'{json.dumps(result)}\r\n--{boundary}\r\nContent-Disposition: form-data; name="image"; '
             f'filename="{quoted}"\r\nContent-Type: {kind}\r\n\r\n')
    return Response(parts.encode() + content + f'\r\n--{boundary}--\r\n'.encode(),
                    media_type=f'multipart/form-data; boundary={boundary}')
