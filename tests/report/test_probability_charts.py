import io

import numpy as np
import pytest
from PIL import Image as Picture
from sklearn import metrics

from medjax.report import probability_charts, style
from medjax.report.style import short_name

TRUTH = np.array([1, 0, 1, 1, 0, 0, 1], bool)
SCORE = np.array([0.9, 0.8, 0.8, 0.6, 0.4, 0.3, 0.1])


def test_roc_by_hand_goes_diagonally_where_scores_are_equal():
    false, true = probability_charts.roc_curve(TRUTH, SCORE)
    np.testing.assert_allclose(false, np.array([0, 0, 1, 1, 2, 3, 3]) / 3)
    np.testing.assert_allclose(true, np.array([0, 1, 2, 3, 3, 3, 4]) / 4)


def test_precision_at_a_recall_by_hand():
    recall, precision = probability_charts.precision_recall_curve(TRUTH, SCORE)
    np.testing.assert_allclose(recall, np.array([0, 1, 2, 3, 3, 3, 4]) / 4)
    np.testing.assert_allclose(precision, [1, 1, 2 / 3, 3 / 4, 3 / 5, 3 / 6, 4 / 7])


@pytest.mark.parametrize('digits', [1, 8])
def test_areas_under_the_drawn_curves_are_scikit_learns(digits):
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.3
    score = np.round(rng.random(200) + 0.4 * truth, digits)  # many ties, or none
    false, true = probability_charts.roc_curve(truth, score)
    assert np.trapezoid(true, false) == pytest.approx(metrics.roc_auc_score(truth, score))
    recall, precision = probability_charts.precision_recall_curve(truth, score)
    assert (np.diff(recall) * precision[1:]).sum() == pytest.approx(metrics.average_precision_score(truth, score))


def pixels(png):
    return np.asarray(Picture.open(io.BytesIO(png)).convert('RGBA'), float)


def share_of(png, colour):
    """Of the solid pixels, how many have a colour."""
    picture = pixels(png)
    solid = picture[picture[..., 3] > 250][:, :3]
    return (np.abs(solid - np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)])).max(-1) < 12).mean()


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_confusion_is_coloured_by_the_share_of_the_row(theme):
    table = np.array([[90, 10], [1, 0]])
    drawn = pixels(probability_charts.confusion_chart(table, ('a', 'b'), theme))
    rows, columns = np.nonzero(drawn[..., 3] > 250)
    box = drawn[rows.min():rows.max(), columns.min():columns.max()]
    height, width = box.shape[:2]
    right, wrong = (box[int(0.1 * height), int(x * width), :3] for x in (0.5, 0.9))
    ink = style.PALETTE[3 if theme == 'light' else 0]

    def distance(colour):
        return np.abs(colour - np.array([int(ink[i:i + 2], 16) for i in (1, 3, 5)])).max()
    assert distance(right) < distance(wrong)
    # A row of one case is as strong as one of a hundred: it is its share that is drawn.
    full = probability_charts.confusion_chart(np.array([[100, 0], [0, 1]]), ('a', 'b'), theme)
    assert share_of(full, ink) > 0.2


def test_the_operating_point_and_the_level_of_chance_are_drawn():
    line = probability_charts.Line(*probability_charts.roc_curve(TRUTH, SCORE))
    axes = ('x', 'y')
    plain = probability_charts.discrimination_chart([line], axes, 'light')
    point = probability_charts.Point(0.3, 0.75, 'here')
    marked = probability_charts.discrimination_chart([line], axes, 'light', point=point)
    assert share_of(marked, style.INK['light']) > share_of(plain, style.INK['light'])
    levels = {probability_charts.discrimination_chart([line], axes, 'light', level=level)
              for level in (0.3, 0.6, float('nan'))}
    assert len(levels) == 3


def test_a_long_name_is_cut():
    assert short_name('mucus') == 'mucus'
    assert short_name('colorectal adenocarcinoma epithelium') == 'colorectal adenocarcinoma…'


def test_a_decision_curve_without_intervals_has_no_band():
    thresholds, model = [0.1, 0.2, 0.3], [0.3, 0.25, 0.2]
    curve = {'thresholds': thresholds, 'model': model, 'all': [0.25, 0.1, -0.1]}
    banded = probability_charts.decision_chart({**curve, 'low': [0.1, 0.1, 0.1], 'high': [0.4, 0.4, 0.4]}, 'light')
    plain = probability_charts.decision_chart({**curve, 'low': [None] * 3, 'high': [None] * 3}, 'light')
    white = [(pixels(png)[..., :3] == pixels(png)[2, 2, :3]).all(-1).mean() for png in (banded, plain)]
    assert white[1] - white[0] > 0.2
