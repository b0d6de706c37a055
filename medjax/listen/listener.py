"""The work of a listener: studies that came are predicted for, and their results sent, each one once."""

import dataclasses
import pathlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from medjax.clinic.predictor import DicomPredictor, encoded
from medjax.errors import InputError, is_full
from medjax.listen.archive import ArchiveError, Peer, Web
from medjax.listen.journal import Journal, Study
from medjax.listen.spool import FIELDS, Spool, choose, is_input

FIRST, MOST = 5.0, 600.0  # seconds until a failed sending is tried again: doubled each time, up to the second
PAUSE = 0.5  # seconds between looks at the journal
PRUNE = 3600.0  # seconds between looks for files that are not kept any longer
LOW = 100 * 2**20  # bytes: with less left on the disk no image is accepted


@dataclasses.dataclass
class Listener:
    """Takes images, predicts for complete studies and sends the results.

    Attributes:
      predictor: of DICOM objects.
      variables: of the network.
      folder: of the journal and the files.
      archive: gets the results.
      quiet: seconds without a new image after which a study is complete.
      rules: which series of a study is predicted for; see `spool.choose`.
      say: takes a line for each event; no line has a patient's name.
      query: filters of the studies that are polled for.
      keep_days: for which the files of an answered study are kept after its last image; None for ever.
      take_notes: returns warnings about the images that were read since its last call.
    """

    predictor: DicomPredictor
    variables: Any
    folder: pathlib.Path
    archive: Peer | Web
    quiet: float
    rules: Mapping[str, str]
    say: Callable[[str], None]
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    take_notes: Callable[[], list[str]] = list
    keep_days: float | None = None

    def __post_init__(self):
        self.journal, self.spool = Journal(self.folder), Spool(self.folder)
        self.stop = threading.Event()
        self._lock = threading.Lock()  # the threads of several associations note images

    def receive(self, header: Any, content: bytes) -> None:
        """Keeps an image that came, and notes that its study is not complete yet; other objects are passed over.

        Args:
          header: its elements.
          content: the file.

        Raises:
          InputError: it cannot be kept.
        """
        if not is_input(header):
            return
        uids = [str(header.get(name, '')) for name in ('StudyInstanceUID', 'SeriesInstanceUID', 'SOPInstanceUID')]
        if self.spool.free() < LOW + len(content):
            raise InputError(f'{self.folder}: no space left; expected more than {LOW >> 20} MiB')
        with self._lock:
            if not self.spool.has(*uids, content):
                # Noted first: after a kill in between the image comes again, and its study is due in any case.
                now = time.time()
                self.journal.changed(uids[0], now, now + self.quiet)
                self.spool.add(*uids, content)

    def poll(self) -> None:
        """Looks for studies in the archive, and fetches the series of those that have not changed for a while.

        Raises:
          ArchiveError: the archive cannot be reached.
        """
        assert isinstance(self.archive, Web)
        for uid in self.archive.studies(self.query):
            if self.stop.is_set():
                return
            known = self.journal.study(uid)
            fields = list(dict.fromkeys([*FIELDS, *self.rules]))
            own = self.spool.own_series(uid)
            series = {name: found for name, found in self.archive.series(uid, fields).items() if name not in own}
            images = sum(count for header, count in series.values() if is_input(header))
            now = time.time()
            if known is None or images != known.images:
                if images:
                    self.journal.changed(uid, now, now + self.quiet, images)
            elif known.state == 'receiving' and known.due <= now and not known.series:
                try:
                    chosen = choose(uid, {name: header for name, (header, _) in series.items()}, self.rules)
                    self._fetch(known, chosen, series[chosen][1])
                except ArchiveError as error:
                    self._later(known, str(error))
                except InputError as error:
                    if is_full(error):
                        self._later(known, f'{self.folder}: no space left')
                    else:
                        self._fail(known, str(error))

    def _fetch(self, study: Study, series: str, expected: int) -> None:
        """Fetches a series of a study."""
        assert isinstance(self.archive, Web)
        count = 0
        for image in self.archive.retrieve(study.uid, series):
            self.spool.add(study.uid, series, str(image.SOPInstanceUID), encoded(image))
            count += 1
        if count != expected:
            raise ArchiveError(f'{count} of {expected} images of a series of study {study.uid} came')
        self.journal.set(study.uid, 'receiving', series=series, since=study.changed)

    def work(self, polled: bool = False) -> None:
        """Works at all studies that are due.

        Args:
          polled: whether only studies whose series was fetched are complete.
        """
        for study in self.journal.studies(('receiving', 'sending'), time.time()):
            if self.stop.is_set():
                return
            if study.state == 'receiving' and (study.series or not polled):
                self._predict(study)
        for study in self.journal.studies(('sending',), time.time()):
            if self.stop.is_set():
                return
            self._send(study)

    def _predict(self, study: Study) -> None:
        """Predicts for a study; a failure is kept in the journal and reported."""
        began = time.monotonic()
        try:
            headers = self.spool.series(study.uid)
            if not headers:
                self.journal.forget(study.uid, study.changed)
                return
            chosen = study.series or choose(study.uid, headers, self.rules)
            objects, line = self.predictor.make(self.variables, self.spool.path(study.uid, chosen))
            self.spool.keep_results(study.uid, [encoded(made) for made in objects])
        except Exception as error:
            if is_full(error):
                self._later(study, f'{self.folder}: no space left')
                return
            self._fail(study, str(error) if isinstance(error, InputError) else _described(error))
            return
        notes = self.take_notes()
        if self.journal.set(study.uid, 'sending', series=chosen, since=study.changed):
            self.say(f'study {study.uid}: predicted in {time.monotonic() - began:.1f} s   {line}')
            for note in notes:
                self.say(note)

    def _send(self, study: Study) -> None:
        """Sends the results of a study."""
        results = self.spool.results(study.uid)
        try:
            self.archive.store(results)
        except ArchiveError as error:
            if error.lasting:
                self._fail(study, str(error))
            else:
                self._later(study, str(error))
            return
        if self.journal.set(study.uid, 'sent', series=study.series, since=study.changed):
            self.say(f'study {study.uid}: {len(results)} objects sent')

    def _later(self, study: Study, why: str) -> None:
        """Puts a study off, for longer each time."""
        wait = min(FIRST * 2**study.attempts, MOST)
        self.journal.set(study.uid, study.state, due=time.time() + wait, attempts=study.attempts + 1, message=why,
                         series=study.series, since=study.changed)
        self.say(f'warning: study {study.uid}: {why}; attempt {study.attempts + 1}, again in {wait:.0f} s')

    def _fail(self, study: Study, why: str) -> None:
        """Notes that a study failed; its files stay."""
        if self.journal.set(study.uid, 'failed', message=why, since=study.changed):
            self.say(f'failed: study {study.uid}: {why}; its files stay in {self.folder}')

    def prune(self) -> None:
        """Removes the files of studies that were answered, `keep_days` after their last image; others stay."""
        if self.keep_days is None:
            return
        before = time.time() - self.keep_days * 86400
        count = sum(self.spool.remove(study.uid) for study in self.journal.studies(('sent',))
                    if study.changed <= before)
        if count:
            self.say(f'removed: the files of {count} answered studies, {self.keep_days:g} days after their last image')

    def run(self, poll: float = 0.0, until_idle: bool = False) -> None:
        """Works until it is stopped.

        Args:
          poll: seconds between looks into the archive; 0 where images come by C-STORE.
          until_idle: end as soon as every known study is sent or failed.
        """
        next_poll, attempts, polled, next_prune, full = 0.0, 0, False, 0.0, 0
        while not self.stop.is_set():
            if time.time() >= next_prune:
                self.prune()
                next_prune = time.time() + PRUNE
            if poll and time.time() >= next_poll:
                wait = poll
                try:
                    self.poll()
                    attempts, polled = 0, True
                except (ArchiveError, InputError) as error:
                    wait = min(FIRST * 2**attempts, MOST)
                    attempts += 1
                    self.say(f'warning: {error}; attempt {attempts}, again in {wait:.0f} s')
                next_poll = time.time() + wait
            try:
                self.work(bool(poll))
                full = 0
            except InputError as error:  # of the journal
                if not is_full(error):
                    raise
                wait = min(FIRST * 2**full, MOST)
                full += 1
                self.say(f'warning: {error}; attempt {full}, again in {wait:.0f} s')
                self.stop.wait(wait)
                continue
            open_studies = self.journal.studies(('receiving', 'sending'))
            if until_idle and not open_studies and (not poll or polled) and self.journal.studies():
                return
            self.stop.wait(PAUSE)


def _described(error: Exception) -> str:
    """An unexpected error by its type and place; its text may have a patient's name."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f'unexpected {type(error).__name__} in {pathlib.Path(last.filename).name}, line {last.lineno}'
