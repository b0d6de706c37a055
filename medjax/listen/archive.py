"""An archive (PACS) over the network: results are sent by C-STORE or DICOMweb, studies are found by DICOMweb."""

import contextlib
import dataclasses
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from medjax.data.io.dicom_segmentation import LABEL_MAP
from medjax.errors import InputError

# Both log what the messages hold, such as names of patients; errors are raised too.
for _name in ('pynetdicom', 'dicomweb_client'):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

PEER = re.compile(r'(?P<aet>[^@\s\\]{1,16})@(?P<host>[^@:/\s]+):(?P<port>\d{1,5})')
TIMEOUT = 60  # seconds without an answer
PAGE = 500  # studies of one answer
BUSY = (408, 425, 429)  # HTTP status of what may work later, beside those from 500 on
STUDY_TAG, SERIES_TAG = '0020000D', '0020000E'


class ArchiveError(Exception):
    """The archive did not take, or give, something.

    Attributes:
      lasting: whether it is of no use to try again.
    """

    def __init__(self, message: str, lasting: bool = False):
        super().__init__(message)
        self.lasting = lasting


@dataclasses.dataclass(frozen=True)
class Peer:
    """An archive that takes objects by C-STORE.

    Attributes:
      aet: its title.
      host: its name.
      port: of its DICOM service.
      own: the title of this end.
    """

    aet: str
    host: str
    port: int
    own: str

    def store(self, datasets: Sequence[pydicom.Dataset]) -> None:
        """Sends objects, all over one association.

        Raises:
          ArchiveError: the archive cannot be reached, or refuses one of them.
        """
        from pynetdicom import AE

        title = AE(ae_title=self.own)
        title.connection_timeout = title.acse_timeout = title.dimse_timeout = title.network_timeout = TIMEOUT
        for kind, syntax in {(data.SOPClassUID, data.file_meta.TransferSyntaxUID) for data in datasets}:
            title.add_requested_context(kind, syntax)
        peer = title.associate(self.host, self.port, ae_title=self.aet)
        where = f'{self.aet}@{self.host}:{self.port}'
        if not peer.is_established:
            if peer.rejected_contexts and not peer.accepted_contexts:
                names = ', '.join(sorted({_name(one.abstract_syntax) for one in peer.rejected_contexts}))
                raise ArchiveError(f'{where}: does not take {names}', lasting=True)
            if peer.is_rejected:
                raise ArchiveError(f'{where}: refuses the association of {self.own}')
            raise ArchiveError(f'{where}: cannot be reached')
        try:
            for data in datasets:
                name = _name(data.SOPClassUID)
                try:
                    status = peer.send_c_store(data)
                except ValueError as error:  # no context for it was accepted
                    raise ArchiveError(f'{where}: does not take {name}', lasting=True) from error
                code = status.get('Status')
                if code is None:
                    raise ArchiveError(f'{where}: no answer to {name}')
                if code >> 8 == 0xA7 or code == 0x0110:  # out of resources, or a failure in processing
                    raise ArchiveError(f'{where}: {name}: status {code:04X}')
                if code and code >> 12 != 0xB:
                    raise ArchiveError(f'{where}: {name} is refused with status {code:04X}', lasting=True)
        finally:
            peer.release()


@dataclasses.dataclass(frozen=True)
class Web:
    """An archive with DICOMweb (PS3.18).

    Attributes:
      url: of the service's root.
      headers: of each request, such as for authorisation.
    """

    url: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def _client(self) -> Any:
        from dicomweb_client.api import DICOMwebClient

        client = DICOMwebClient(self.url, headers=dict(self.headers), timeout=TIMEOUT)
        client.set_http_retry_params(retry=False)  # the listener tries again, and says so
        return client

    @contextlib.contextmanager
    def _requests(self) -> Iterator[Any]:
        """A client whose errors are those of an archive."""
        import requests

        try:
            yield self._client()
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            lasting = 400 <= code < 500 and code not in BUSY
            raise ArchiveError(f'{self.url}: HTTP status {code}', lasting=lasting) from error
        except requests.RequestException as error:
            raise ArchiveError(f'{self.url}: cannot be reached ({type(error).__name__})') from error

    def store(self, datasets: Sequence[pydicom.Dataset]) -> None:
        """Sends objects by STOW.

        Raises:
          ArchiveError: the archive cannot be reached, or refuses one of them.
        """
        for data in datasets:
            del data[0x00000000:0x00010000]  # elements of a message (PS3.7), which no stored object may have
        with self._requests() as client:
            answer = client.store_instances(datasets)
        refused = answer.get('FailedSOPSequence') or ()
        if refused:
            names = ', '.join(sorted({_name(item.ReferencedSOPClassUID) for item in refused}))
            raise ArchiveError(f'{self.url}: {len(refused)} of {len(datasets)} objects are refused ({names}), reason '
                               f'{refused[0].get("FailureReason", 0):04X}', lasting=True)

    def studies(self, query: Mapping[str, str]) -> list[str]:
        """The StudyInstanceUIDs of the studies that a query finds."""
        out: dict[str, None] = {}
        with self._requests() as client:
            while True:
                page = client.search_for_studies(limit=PAGE, offset=len(out), search_filters=dict(query))
                new = {item[STUDY_TAG]['Value'][0]: None for item in page}
                if new.keys() <= out.keys():  # some archives pass over the offset, and answer the same again
                    return list(out)
                out |= new

    def series(self, study: str, fields: Sequence[str]) -> dict[str, tuple[Dataset, int]]:
        """For each series of a study its attributes and the number of its images."""
        with self._requests() as client:
            found = client.search_for_series(study, fields=['NumberOfSeriesRelatedInstances', *fields])
        out = {}
        for item in found:
            data = Dataset.from_json(item)
            out[item[SERIES_TAG]['Value'][0]] = data, int(data.get('NumberOfSeriesRelatedInstances') or 0)
        return out

    def retrieve(self, study: str, series: str) -> Iterator[pydicom.Dataset]:
        """The images of a series, one after the other, as they are stored."""
        with self._requests() as client:
            yield from client.iter_series(study, series)


def _name(kind: str) -> str:
    """The name of a SOP class; pydicom does not know the latest one."""
    return 'Label Map Segmentation Storage' if kind == LABEL_MAP else pydicom.uid.UID(kind).name


def connect(address: str, own: str, token: str = '') -> Peer | Web:
    """The archive of an address.

    Args:
      address: `TITLE@HOST:PORT` for C-STORE, or the URL of a DICOMweb service, such as `http://host:8042/dicom-web`.
      own: the application entity title of this end.
      token: sent to a DICOMweb service as a bearer token.

    Raises:
      InputError: another address.
    """
    if re.match(r'https?://[^\s@]+$', address):
        return Web(address.rstrip('/'), {'Authorization': f'Bearer {token}'} if token else {})
    found = PEER.fullmatch(address)
    if not found or not 0 < int(found['port']) < 2**16:
        raise InputError(f'--pacs={address}: expected TITLE@HOST:PORT, or the URL of a DICOMweb service, without a '
                         'password')
    return Peer(found['aet'], found['host'], int(found['port']), own)
