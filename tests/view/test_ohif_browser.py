"""OHIF in a real browser, with the images and a segmentation of a real Orthanc."""

import time

import numpy as np
import pytest

pytest.importorskip('highdicom')

from medjax.clinic.predictor import encoded
from medjax.errors import InputError
from medjax.view import ohif, routes
from tests.clinic import scans, threshold
from tests.clinic.orthanc import Orthanc
from tests.serve.conftest import served
from tests.view.browser import browser
from tests.view.test_view import BROWSER

THUMBNAIL = """(() => {
  const found = [...document.querySelectorAll('[data-cy^="study-browser-thumbnail"]')].find(
    one => one.innerText.includes('SEG'))
  if (!found) return null
  const box = found.getBoundingClientRect()
  return [box.x + box.width / 2, box.y + box.height / 2]
})()"""


@pytest.mark.clinic
@pytest.mark.filterwarnings('ignore')
def test_a_browser_draws_a_segmentation_from_orthanc(segmenter, tmp_path):
    """The segmentation of a rod through all slices, in the colour that its file recommends, and no other server."""
    if not BROWSER:
        pytest.skip('needs Chromium')
    try:
        ohif.installed(routes.viewers())
    except InputError as missing:
        pytest.skip(str(missing))
    array = np.random.default_rng(0).integers(-50, 50, (64, 64, 6)).astype(np.int16)
    array[20:40, 24:44] += 300
    scans.series(tmp_path / 'scan', array, axes=scans.PLAIN, SpacingBetweenSlices=scans.STEP)
    made, _ = threshold.predictor(('seg',)).make(200, tmp_path / 'scan')
    pacs = Orthanc(tmp_path / 'orthanc').start()
    try:
        pacs.upload(tmp_path / 'scan')
        pacs.get('/instances', encoded(made[0]))
        with served('view', f'--workdir={segmenter}', f'--dicomweb={pacs.web}') as viewer, \
                browser(BROWSER, tmp_path / 'browser') as page:
            address = viewer.url.removesuffix('/view')
            page.call('Page.navigate', url=f'{address}/ohif/segmentation?StudyInstanceUIDs={scans.UIDS}.1')
            place = page.wait(THUMBNAIL)
            page.wait("document.body.innerText.includes('(1/6)')")  # the images are drawn
            before = blue(page.picture())
            page.double_click(*place)
            page.wait("document.body.innerText.includes('lesion')")
            drawn = before
            for _ in range(60):
                drawn = blue(page.picture())
                if drawn.sum() > before.sum() + 10000:
                    break
                time.sleep(1)
            new = drawn & ~before
            assert new.sum() > 10000
            # The rod is a fifth of the image's width and height times the screen's scale: a rectangle without gaps.
            rows, columns = np.nonzero(new[60:, 400:900])
            assert len(rows) > 0.6 * np.ptp(rows) * np.ptp(columns)
            assert not [url for url in page.requests if not url.startswith((address, 'data:', 'blob:', 'about:'))]
    finally:
        pacs.stop()


def blue(picture):
    """The pixels that are clearly blue, as the first segment and its border are."""
    return (picture[..., 2] - picture[..., 0] > 40) & (picture[..., 1] > 90)
