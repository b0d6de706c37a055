"""A C-STORE receiver (PS3.4, B), by pynetdicom."""

import errno
from collections.abc import Callable
from typing import Any

from medjax.errors import InputError

OUT_OF_RESOURCES, CANNOT_UNDERSTAND, SUCCESS = 0xA700, 0xC000, 0x0000


def start(host: str, port: int, title: str, take: Callable[[Any, bytes], None], say: Callable[[str], None]) -> Any:
    """Starts a receiver in threads of its own; its `shutdown` ends it.

    Args:
      host: the address that it is bound to.
      port: of the service; 0 for any free one.
      title: the application entity title.
      take: keeps an image, given its elements and the content of its file as it came.
      say: takes a line about an image that could not be kept.

    Raises:
      InputError: the port is in use, or not allowed.
    """
    from pydicom.uid import AllTransferSyntaxes
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification

    entity = AE(ae_title=title)
    entity.supported_contexts = AllStoragePresentationContexts
    for context in entity.supported_contexts:
        context.transfer_syntax = list(AllTransferSyntaxes)
    entity.add_supported_context(Verification)

    def store(event: Any) -> int:
        try:
            take(event.dataset, event.encoded_dataset())
        except InputError as error:
            say(f'warning: an image was not taken: {error}')
            return OUT_OF_RESOURCES if 'no space left' in str(error) else CANNOT_UNDERSTAND
        except Exception as error:
            say(f'warning: an image was not taken: {type(error).__name__}')
            return CANNOT_UNDERSTAND
        return SUCCESS

    try:
        return entity.start_server((host, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    except OSError as error:
        why = {errno.EADDRINUSE: 'the port is in use', errno.EACCES: 'no permission for this port',
               errno.EADDRNOTAVAIL: 'no address of this machine'}.get(error.errno or 0, error.strerror or str(error))
        raise InputError(f'--host={host} --port={port}: {why}; expected a free port of this machine') from error
