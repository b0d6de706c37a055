"""The viewer as an application of its own."""

from collections.abc import Callable, Sequence

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from medjax import cli
from medjax.serve.gate import Gate
from medjax.view import ohif
from medjax.view.cases import Cases
from medjax.view.routes import router, viewers


def application(cases: Cases, token: str, hosts: Sequence[str], say: Callable[[str], None] = cli.say,
                archive: str = '') -> Gate:
    """The viewer as an ASGI application; `/` leads to its page.

    Args:
      cases: of the run.
      token: see `Gate`, also for hosts and say.
      hosts: …
      say: …
      archive: the URL of a DICOMweb service, whose images OHIF shows at `/ohif`; '' for none.

    Raises:
      InputError: OHIF is not installed, or another URL.
    """
    api = FastAPI(title='medjax viewer', docs_url=None, redoc_url=None, openapi_url=None)
    api.include_router(router(cases, predicts=False))

    @api.get('/')
    def _root() -> RedirectResponse:
        return RedirectResponse('/view')

    if archive:
        api.include_router(ohif.router(ohif.installed(viewers()), archive))
    return Gate(api, token=token, hosts=hosts, say=say)
