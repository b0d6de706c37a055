"""A small run of the tests of the service, which are skipped under the same conditions."""

from tests.serve.conftest import pytest_pycollect_makemodule, segmenter  # noqa: F401 - fixtures and hooks
