"""A small run of the tests of the service."""

from tests.serve.conftest import segmenter  # noqa: F401 - fixtures
