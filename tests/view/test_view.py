"""The viewer's routes, and its page in a real browser: the voxels of labels as the page has loaded them."""

import html
import json
import os
import re
import shutil
import subprocess

import httpx
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.view import app, routes
from medjax.view.cases import Cases
from tests.serve.conftest import served

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--headless', '--no-sandbox', '--use-angle=swiftshader', '--enable-unsafe-swiftshader',
         '--virtual-time-budget=60000', '--window-size=900,700']


def request(run, path, **more):
    """An answer of the viewer of a run."""
    transport = httpx.ASGITransport(app.application(Cases(run), more.pop('token', ''), ['localhost'], lambda _: None,
                                                    more.pop('archive', '')))

    async def ask():
        async with httpx.AsyncClient(transport=transport, base_url='http://localhost') as client:
            return await client.get(path, **more)
    import anyio
    return anyio.run(ask)


def test_routes_serve_the_run_alone(segmenter):
    found = request(segmenter, '/view/cases').json()
    assert found['family'] == 'segmentation' and not found['predicts'] and len(found['cases']) == 2
    layers = request(segmenter, '/view/cases/0').json()['layers']
    assert request(segmenter, layers[0]['url']).status_code == 200
    for path in ("/view/static/routes.py", "/view/static/..%2f..%2fconfig.json", "/view/../config.json",
                 "/config.json"):
        assert request(segmenter, path).status_code == 404
    for path, status in (('/view/cases/99', 422), ('/view/cases/-1', 422), ('/view/cases/0/99.nii', 422)):
        assert request(segmenter, path).status_code == status
    page = request(segmenter, '/view')
    assert "default-src 'none'" in page.headers['content-security-policy'] and '<canvas' in page.text
    assert request(segmenter, '/view/report').status_code == 422  # it was not drawn
    assert request(segmenter, '/view', headers={'Host': 'evil.example'}).status_code == 403
    assert request(segmenter, '/view', token='c' * 32).status_code == 401


def test_another_file_than_niivue_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(routes.VARIABLE, str(tmp_path))
    routes.niivue.cache_clear()
    with pytest.raises(InputError, match='no such file; expected NiiVue there: run `bash launch/viewer.sh`'):
        routes.niivue()
    (tmp_path / routes.NIIVUE).write_text('alert()')
    with pytest.raises(InputError, match='another checksum than that of NiiVue'):
        routes.niivue()


def browsed(url, folder):
    """The page after its scripts have run."""
    if not BROWSER:
        pytest.skip('needs Chromium')
    done = subprocess.run([BROWSER, *FLAGS, f'--user-data-dir={folder}', '--dump-dom', url], capture_output=True,
                          text=True, timeout=300, env={**os.environ, 'HOME': str(folder)})
    return done.stdout


@pytest.fixture
def niivue():
    """NiiVue as installed; the test is skipped where it is not."""
    try:
        routes.niivue.cache_clear()
        routes.niivue()
    except InputError as missing:
        pytest.skip(str(missing))


def voxels(page):
    """The numbers of voxels in the page, by layer and value."""
    cells = re.findall(r'data-layer="(\w+)" data-value="(\d+)" data-voxels="(\d+)"', page)
    return {(layer, int(value)): int(count) for layer, value, count in cells}


@pytest.mark.slow
@pytest.mark.usefixtures('niivue')
def test_pictures_are_counted_and_names_from_files_stay_text(tmp_path):
    run, script = tmp_path / 'run', '<script>document.title="run"</script>'
    (run / 'cases' / 'test').mkdir(parents=True)
    (run / 'config.json').write_text(json.dumps({'task': {'name': 'segmentation'}, 'name': script}))
    (run / 'results.json').write_text(json.dumps({'classes': ['background', f'{script}a', f'{script}b']}))
    (run / 'predictions.csv').write_text('split,id,patient\ntest,a,<i>p</i>\n')
    label = np.random.default_rng(0).integers(0, 3, (40, 30, 1)).astype(np.uint8)
    np.savez(run / 'cases' / 'test' / 'a.npz', image=np.ones((40, 30, 1), np.float32), label=label,
             pred=label[::-1] % 2, confidence=np.ones((40, 30, 1), np.float16), spacing=np.ones(3), kind='image')
    with served('view', f'--workdir={run}') as viewer:
        page = browsed(viewer.url, tmp_path / 'browser')
    assert voxels(page) == {('reference', 1): (label == 1).sum(), ('reference', 2): (label == 2).sum(),
                            ('prediction', 1): (label == 1).sum(), ('prediction', 2): 0}
    assert '<title>medjax viewer</title>' in page and html.escape(f'{script}a', quote=False) in page


@pytest.mark.slow
@pytest.mark.usefixtures('niivue')
def test_a_browser_reads_the_labels_back_voxel_by_voxel(segmenter, tmp_path):
    with served('view', f'--workdir={segmenter}') as viewer:
        page = browsed(f'{viewer.url}#1', tmp_path / 'browser')
        case = json.loads(httpx.get(viewer.url.replace('/view', '/view/cases')).text)['cases'][1]
    with np.load(segmenter / 'cases' / case['split'] / f'{case["id"]}.npz') as arrays:
        expected = {(name, value): int((arrays[key] == value).sum()) for name, key in (
            ('reference', 'label'), ('prediction', 'pred')) for value in (1,)}
    assert 'data-ready="1"' in page and voxels(page) == {key: n for key, n in expected.items()}
    assert html.escape(case['id']) in page
