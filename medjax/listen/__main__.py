"""Predicts for studies of an archive as they come, and sends the results back as DICOM objects.

    python -m medjax.listen --workdir=DIR --folder=DIR --pacs=TITLE@HOST:PORT [--port=11112] [--series=NAME=PATTERN …]
    python -m medjax.listen --workdir=DIR --folder=DIR --pacs=http://HOST:PORT/dicom-web --poll=30 …

Images come by C-STORE, or are fetched by DICOMweb. A study is complete when no image has come for a while.
"""

import pathlib
import re
import signal
from collections.abc import Sequence

from medjax import cli

cli.prepare()

from absl import flags  # noqa: E402
from pydicom.datadict import tag_for_keyword  # noqa: E402

from medjax import atomic_files, outputs, restore  # noqa: E402
from medjax.clinic import predictor as clinic  # noqa: E402
from medjax.core import lock  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from medjax.listen import archive, journal, listener, receiver  # noqa: E402
from medjax.tasks.family import of_config  # noqa: E402

LOCK = 'listen.lock'
TITLE = re.compile(r'[^\\\s][^\\]{0,15}')


def pairs(given: Sequence[str], option: str, patterns: bool) -> dict[str, str]:
    """Names of DICOM elements with what follows their equals sign.

    Args:
      given: such as `Modality=CT`.
      option: for messages.
      patterns: whether the values are regular expressions.

    Raises:
      InputError: another form, an unknown element, or an invalid pattern.
    """
    out = {}
    for text in given:
        name, _, value = text.partition('=')
        if not value or tag_for_keyword(name) is None:
            raise InputError(f'--{option}={text}: expected a DICOM element by name and a value, such as Modality=CT')
        if not patterns and name == 'Modality':  # which only series have: archives find no study by it
            raise InputError(f'--{option}={text}: studies have no Modality; expected ModalitiesInStudy={value}')
        if patterns:
            try:
                re.compile(value)
            except re.error as error:
                raise InputError(f'--{option}={text}: no pattern ({error}); expected a regular expression') from error
        out[name] = value
    return out


def main(_: Sequence[str]) -> None:
    """Reads the flags and listens until it is stopped."""
    if not TITLE.fullmatch(AET.value):
        raise InputError(f'--aet={AET.value}: expected a title of 1 to 16 characters')
    rules, query = pairs(SERIES.value, 'series', True), pairs(QUERY.value, 'query', False)
    token = pathlib.Path(TOKEN.value).read_text().strip() if TOKEN.value else ''
    try:
        peer = archive.connect(PACS.value, AET.value, token)
        import dicomweb_client  # noqa: F401
        import pynetdicom  # noqa: F401
    except ImportError as error:
        raise InputError(f'medjax.listen: needs pynetdicom and dicomweb-client: {clinic.INSTALL}') from error
    if POLL.value and not isinstance(peer, archive.Web):
        raise InputError(f'--poll={POLL.value:g} with --pacs={PACS.value}: expected the URL of a DICOMweb service')
    if POLL.value and not query:
        raise InputError(f'--poll={POLL.value:g} without --query: expected which studies are looked for, such as '
                         '--query=StudyDate=20260101-')
    if not 0 < QUIET.value < 86400 or not 0 <= POLL.value < 86400:
        raise InputError(f'--quiet={QUIET.value:g} --poll={POLL.value:g}: expected seconds above 0')
    workdir, folder = pathlib.Path(WORKDIR.value).resolve(), pathlib.Path(FOLDER.value).resolve()
    outputs.check_outputs([folder / journal.NAME], [], f'--folder={FOLDER.value}')
    run = restore.restore(workdir)
    of_config(run.config).check('listen')
    run = clinic.of_run(workdir, run, DICOM_OPTIONS.value, DICOM_OBJECTS.value, cli.say)
    atomic_files.make_folder(folder)
    with lock.locked(folder, cli.say, LOCK, '--folder',
                     'is listening there; expected one listener in a folder'):
        work = listener.Listener(run.predictor, run.variables, folder, peer, QUIET.value, rules, cli.say, query,
                                 run.take_notes, KEEP.value)
        kept = 'the files of answered studies stay; see --keep_days' if KEEP.value is None else (
            f'the files of answered studies stay for {KEEP.value:g} days')
        cli.say(f'{folder}: {len(work.journal.studies())} studies, {work.spool.size() / 1e6:.1f} MB; {kept}')
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: work.stop.set())
        for study in work.journal.studies(('failed',)):
            if RETRY.value:
                work.journal.set(study.uid, 'receiving')
            else:
                cli.say(f'failed before: study {study.uid}: {study.message}; again by --retry_failed')
        service = None
        if not POLL.value:
            service = receiver.start(HOST.value, PORT.value, AET.value, work.receive, cli.say)
            cli.say(f'{AET.value} listens on {HOST.value}:{service.server_address[1]} for C-STORE; results go to '
                    f'{PACS.value}')
        else:
            cli.say(f'polls {PACS.value} every {POLL.value:g} s')
        try:
            work.run(POLL.value, UNTIL_IDLE.value)
        finally:
            if service is not None:
                service.shutdown()
        counts = {state: len(work.journal.studies((state,))) for state in journal.STATES}
        cli.say('studies: ' + ', '.join(f'{count} {state}' for state, count in counts.items() if count))


if __name__ == '__main__':
    WORKDIR = flags.DEFINE_string('workdir', None, 'The trained run.')
    FOLDER = flags.DEFINE_string('folder', None, 'Keeps the images that came, the results, and the journal.')
    PACS = flags.DEFINE_string('pacs', None, 'The archive that gets the results: TITLE@HOST:PORT, or the URL of a '
                               'DICOMweb service.')
    POLL = flags.DEFINE_float('poll', 0.0, 'Seconds between looks for new studies by DICOMweb; 0 to take images by '
                              'C-STORE.')
    QUERY = flags.DEFINE_multi_string('query', [], 'With --poll: which studies, such as StudyDate=20260101-.')
    HOST = flags.DEFINE_string('host', '127.0.0.1', 'The address that the receiver is bound to; by default this '
                               'machine alone.')
    PORT = flags.DEFINE_integer('port', 11112, 'The port of the receiver; 0 for any free one.', 0, 65535)
    AET = flags.DEFINE_string('aet', 'MEDJAX', 'The application entity title of this end.')
    QUIET = flags.DEFINE_float('quiet', 30.0, 'Seconds without a new image after which a study is complete.')
    SERIES = flags.DEFINE_multi_string('series', [], 'Which series of a study: an element and a pattern that its whole '
                                       'value matches, such as Modality=CT; several must all match.')
    TOKEN = flags.DEFINE_string('token_file', None, 'A file with the bearer token of the DICOMweb service.')
    RETRY = flags.DEFINE_bool('retry_failed', False, 'Work again at the studies that failed before.')
    KEEP = flags.DEFINE_float('keep_days', None, 'Remove the images and results of a study so many days after its last '
                              'image, once its results are sent; by default they stay. Failed studies stay always.', 0)
    UNTIL_IDLE = flags.DEFINE_bool('until_idle', False, 'End when at least one study came and all are sent or failed.')
    DICOM_OBJECTS = flags.DEFINE_list('dicom_objects', [], 'See medjax.predict.')
    DICOM_OPTIONS = flags.DEFINE_string('dicom_options', None, 'See medjax.predict.')
    flags.mark_flags_as_required(['workdir', 'folder', 'pacs'])
    cli.run(main)
