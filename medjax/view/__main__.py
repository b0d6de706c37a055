"""Shows the evaluated cases of a run in a browser: images with reference, prediction and uncertainty.

    python -m medjax.view --workdir=RUN [--port=8001] [--dicomweb=http://127.0.0.1:8042/dicom-web]

It reads the files in the run's folder alone, and listens on loopback unless `--host` says otherwise, which needs a
token.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from medjax import cli
from medjax.errors import InputError

try:
    from medjax.serve import access, http_server
    from medjax.view import app, ohif, routes
    from medjax.view.cases import Cases
    MISSING = ''
except ModuleNotFoundError as missing:
    MISSING = missing.name or ''


def main(_: Sequence[str]) -> None:
    """Reads the flags and serves the page until a signal."""
    cli.check_imports(MISSING, 'serve')
    token = access.token_for(HOST.value, TOKEN_FILE.value)
    routes.niivue()
    cases = Cases(pathlib.Path(WORKDIR.value).resolve())
    if not len(cases):
        raise InputError(f'--workdir={WORKDIR.value}: no predictions.csv there; expected an evaluated run')
    viewer = app.application(cases, token, [*access.LOOPBACK, HOST.value], archive=ARCHIVE.value)
    bound = http_server.bind(HOST.value, PORT.value)
    address = f'http://{HOST.value}:{bound.getsockname()[1]}/view'
    beside = f'   OHIF: {address.removesuffix("/view")}{ohif.BASE}' if ARCHIVE.value else ''
    http_server.run(viewer, bound, lambda: cli.say(f'ready: {address}{beside}'))


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The evaluated run.')
    PORT = flags.DEFINE_integer('port', 8001, 'The port; 0 for a free one.', 0, 65535)
    HOST = flags.DEFINE_string('host', '127.0.0.1', 'The address to listen on; other than loopback needs a token.')
    TOKEN_FILE = flags.DEFINE_string('token_file', '', 'A file with the token that requests must have; mode 0600.')
    ARCHIVE = flags.DEFINE_string('dicomweb', '', 'The URL of the DICOMweb service of an archive, whose studies '
                                  'OHIF then shows at /ohif.')
    flags.mark_flag_as_required('workdir')
    cli.run(main)
