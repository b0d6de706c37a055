"""The journal of a listener: which studies came, how far each one is, and when it is due again; SQLite."""

import contextlib
import errno
import os
import pathlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from medjax import atomic_files
from medjax.errors import InputError

NAME = 'journal.sqlite'
# A study is `receiving` until nothing came for a while, `sending` when its results are on the disk, then `sent`; or
# `failed`.
STATES = ('receiving', 'sending', 'sent', 'failed')
# What SQLite reports of a full disk: also files of its own that cannot be written to the end.
FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE)
TABLES = """
CREATE TABLE IF NOT EXISTS studies (uid TEXT PRIMARY KEY, state TEXT NOT NULL, changed REAL NOT NULL, due REAL NOT NULL,
                                    attempts INTEGER NOT NULL, message TEXT NOT NULL, images INTEGER NOT NULL,
                                    series TEXT NOT NULL)
"""


class Study(NamedTuple):
    """A study in the journal.

    Attributes:
      uid: StudyInstanceUID.
      state: one of STATES.
      changed: when an image came, or the archive was seen to have more of them, in seconds since 1970.
      due: when it may be worked at.
      attempts: how often the current state was tried in vain.
      message: why it failed, or the last attempt did.
      images: how many there are.
      series: SeriesInstanceUID of those that were predicted for; '' before.
    """

    uid: str
    state: str
    changed: float
    due: float
    attempts: int = 0
    message: str = ''
    images: int = 0
    series: str = ''


class Journal:
    """The studies of a listener; every change is on the disk when the call returns.

    Args:
      folder: of the journal's file, created where it is missing.

    Raises:
      InputError: the file is damaged.
    """

    def __init__(self, folder: pathlib.Path):
        self._path = folder / NAME
        atomic_files.make_folder(folder)
        self._path.touch(0o600)
        try:
            with self._open() as database:
                database.execute(TABLES)
                sound = database.execute('PRAGMA quick_check').fetchone()[0] == 'ok'
        except sqlite3.DatabaseError as error:
            raise InputError(f'{self._path}: damaged, not readable as a journal ({error}); expected the file of a '
                             'listener, or none') from error
        if not sound:
            raise InputError(f'{self._path}: damaged; expected the file of a listener, or none')

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one change, which is whole or does not happen; threads have one each.

        Raises:
          InputError: the disk is full.
        """
        database = sqlite3.connect(self._path, timeout=60)
        try:
            with database:
                yield database
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in FULL:
                raise
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            full.__cause__ = error
            raise InputError(f'{self._path}: no space left; expected some for the journal') from full
        finally:
            database.close()

    def changed(self, uid: str, now: float, due: float, images: int | None = None) -> None:
        """Notes that images of a study came: it is receiving, also where it was sent or failed before.

        Args:
          uid: of the study.
          now: the time.
          due: when it may be worked at, if no more come.
          images: how many there are; None for one more.
        """
        with self._open() as database:
            database.execute(
                "INSERT INTO studies VALUES (?, 'receiving', ?, ?, 0, '', ?, '') ON CONFLICT (uid) DO UPDATE SET "
                "state = 'receiving', changed = excluded.changed, due = excluded.due, attempts = 0, "
                "message = '', series = '', "
                'images = CASE WHEN ? THEN images + 1 ELSE excluded.images END',
                (uid, now, due, 1 if images is None else images, images is None))

    def set(self, uid: str, state: str, *, due: float = 0.0, attempts: int = 0, message: str = '', series: str = '',
            since: float | None = None) -> bool:
        """Sets the state of a study; False where images came after a time, so that it stays as it is.

        Args:
          uid: of the study.
          state: one of STATES.
          due: when it may be worked at.
          attempts: see `Study`, as for message and series.
          message: …
          series: …
          since: the time that `changed` had when the work began; None for any.
        """
        with self._open() as database:
            return database.execute(
                'UPDATE studies SET state = ?, due = ?, attempts = ?, message = ?, series = ? '
                'WHERE uid = ? AND (? IS NULL OR changed = ?)',
                (state, due, attempts, message, series, uid, since, since)).rowcount == 1

    def forget(self, uid: str, since: float) -> None:
        """Removes a study of which no image could be kept, unless some came after a time."""
        with self._open() as database:
            database.execute('DELETE FROM studies WHERE uid = ? AND changed = ?', (uid, since))

    def studies(self, states: Sequence[str] = STATES, due: float | None = None) -> list[Study]:
        """The studies in some states that are due, the one that waits longest first; all where no time is given."""
        marks = ', '.join('?' for _ in states)
        with self._open() as database:
            rows = database.execute(f'SELECT * FROM studies WHERE state IN ({marks}) AND (? IS NULL OR due <= ?) '
                                    'ORDER BY changed, uid', (*states, due, due)).fetchall()
        return [Study(*row) for row in rows]

    def study(self, uid: str) -> Study | None:
        """A study; None where it is not known."""
        return next((study for study in self.studies() if study.uid == uid), None)
