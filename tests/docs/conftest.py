"""The folder `docs` on Python's path: its generators are scripts, and no package of their own."""

import sys

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / 'docs'))
