"""Static types of the core and of the contracts."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def test_pyright_finds_no_error():
    pytest.importorskip('pyright')
    done = subprocess.run([sys.executable, '-m', 'pyright', '--outputjson', '--pythonpath', sys.executable],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report['summary']['filesAnalyzed'] > 15
    found = [f'{of["file"]}:{of["range"]["start"]["line"] + 1}: {of["message"]}' for of in report['generalDiagnostics']]
    assert not found
