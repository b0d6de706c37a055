"""The small runs of the service's tests."""

from tests.serve.conftest import classifier, segmenter  # noqa: F401 - fixtures
