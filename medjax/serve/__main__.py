"""Serves predictions of a trained run over HTTP.

    python -m medjax.serve --workdir=RUN [--port=8000] [--token_file=FILE]

`POST /predict` takes files as a form and returns labels or JSON, `GET /model` the model card; `/health` and `/metrics`
are for monitoring. It listens on loopback unless `--host` says otherwise, which needs a token.
"""

import os
import pathlib
import tempfile
import time
from collections.abc import Sequence

from medjax import cli

cli.prepare()

from absl import flags  # noqa: E402

from medjax.data.io import data_paths  # noqa: E402
from medjax.errors import InputError  # noqa: E402

try:
    from medjax.serve import access, folders, http_server
    from medjax.serve.app import Application
    from medjax.serve.service import Service
    from medjax.serve.uploads import Limits
    MISSING = ''
except ModuleNotFoundError as missing:
    MISSING = missing.name or ''


def main(_: Sequence[str]) -> None:
    """Reads the flags, restores and compiles the run, and serves until a signal."""
    cli.check_imports(MISSING, 'serve')
    began = time.monotonic()
    if TRAIN.value and not DATASTORE.value:
        raise InputError(f'--train_folder={TRAIN.value}: without --datastore; expected the folder of the labels too')
    token = access.token_for(HOST.value, TOKEN_FILE.value)
    bound = http_server.bind(HOST.value, PORT.value)
    address = f'http://{HOST.value}:{bound.getsockname()[1]}'
    parent = pathlib.Path(TMP.value or pathlib.Path(tempfile.gettempdir()) / f'medjax-serve-{os.getuid()}')
    folder, _ = claimed = folders.claim(parent)
    try:
        tempfile.tempdir = str(folder)  # readers of images may write there
        os.environ.pop(data_paths.VARIABLE, None)  # tables of clients name files of their own upload alone
        service = Service(pathlib.Path(WORKDIR.value).resolve(), Limits(UPLOAD.value, PIXELS.value),
                          WAIT.value / 1000, BATCH.value)
        service.warm()
        app = Application(service, folder, queue=QUEUE.value, upload_seconds=UPLOAD_SECONDS.value, token=token,
                          hosts=HOSTS.value or [*access.LOOPBACK, HOST.value], origins=ORIGINS.value,
                          datastore=pathlib.Path(DATASTORE.value).resolve() if DATASTORE.value else None,
                          train_folder=pathlib.Path(TRAIN.value).resolve() if TRAIN.value else None, say=cli.say)
        for example in EXAMPLE.value:
            with folders.request_folder(folder) as place:
                try:
                    service.predict([pathlib.Path(example).resolve()], place)
                except InputError as error:
                    raise InputError(f'--example={example}: not predicted: {error}') from error
        try:
            http_server.run(app, bound, lambda: cli.say(
                f'ready: {address}   {service.family.name}, weights of step {service.run.step}, '
                f'{service.together} together   {time.monotonic() - began:.1f} s'))
        finally:
            app.close()
        cli.say('stopped')
    finally:
        folders.release(*claimed)


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    PORT = flags.DEFINE_integer('port', 8000, 'The port; 0 for a free one.', 0, 65535)
    HOST = flags.DEFINE_string('host', '127.0.0.1', 'The address to listen on; other than loopback needs a token.')
    HOSTS = flags.DEFINE_list('hosts', [], 'Names under which clients reach the service, or *; by default loopback and '
                              '--host.')
    ORIGINS = flags.DEFINE_list('origins', [], 'Other sites whose pages may use the service, such as that of OHIF.')
    TOKEN_FILE = flags.DEFINE_string('token_file', '', 'A file with the token that requests must have; mode 0600.')
    QUEUE = flags.DEFINE_integer('queue', 16, 'The most requests at a time; others get 503.', 1)
    WAIT = flags.DEFINE_float('batch_wait_ms', 5, 'How long an input waits for others to be predicted with.', 0)
    BATCH = flags.DEFINE_integer('batch', 8, 'The most inputs that are predicted together, up to 8; 1 for none.', 1, 8)
    UPLOAD = flags.DEFINE_integer('upload_mb', 512, 'The most MB of an upload, packed and unpacked.', 1)
    PIXELS = flags.DEFINE_integer('pixels', 536870912, 'The most pixels of an upload, by the headers of its files.', 1)
    UPLOAD_SECONDS = flags.DEFINE_float('upload_seconds', 300, 'The longest time of an upload.', 0.1)
    TMP = flags.DEFINE_string('tmp', '', 'The folder for uploads, your own with mode 0700; by default one in the '
                              "system's folder for temporary files.")
    DATASTORE = flags.DEFINE_string('datastore', '', 'A folder of images to annotate, for the plugins of MONAI Label.')
    TRAIN = flags.DEFINE_string('train_folder', '', 'With --datastore: a folder for runs that clients may train on its '
                                'labels; without it they may not.')
    EXAMPLE = flags.DEFINE_multi_string('example', [], 'A file like those that will come: predicted before the service '
                                        'is ready, so that its shapes are compiled.')
    flags.mark_flag_as_required('workdir')
    cli.run(main)
