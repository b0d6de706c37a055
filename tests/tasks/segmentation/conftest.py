"""Runs of segmentation with their reports: many cases, a single volume, and 2D images."""

from tests.report.conftest import many, one, photographs  # noqa: F401
