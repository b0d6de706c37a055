"""The site builds without a warning and loads nothing from another host."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_site_builds_strictly_and_is_self_contained(tmp_path):
    pytest.importorskip('mkdocs')
    done = subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--strict', f'--site-dir={tmp_path}'], cwd=ROOT,
                          capture_output=True, text=True, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'})
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = [f'{path.name}: {found}' for path in pathlib.Path(tmp_path).rglob('*.html') for found in
              re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://[^"]+', path.read_text(encoding='utf-8'))]
    assert not loaded
