import dataclasses
import io

import numpy as np
import pytest
from PIL import Image as Picture

from medjax.report import chapter, charts, draw, run_files
from medjax.tasks.segmentation import chapter as segmentation_chapter
from medjax.tasks.segmentation.examples import choose_examples, groups, training_samples


def test_best_median_and_worst_of_many_cases(many):
    run = run_files.read(many)
    chosen = choose_examples(run, 'test')
    assert [(place, case.name) for place, _, case in chosen.cases] == [
        ('Best', 'p1_first'), ('Median', 'p3'), ('Worst', 'p4')]
    assert [path.stem for path in chosen.ranking] == ['p1_first', '<b>p6&', 'p2', 'p3', 'p1_second', 'p5', 'p4']
    scores = {row['id']: float(row['dice_mean']) for row in run.rows('test')}
    assert all(score == scores[case.name] for _, score, case in chosen.cases)
    headings = [group.heading for group in groups(run, chosen)]
    assert headings[0] == 'Best case: p1_first, mean Dice 1.000' and headings[2].startswith('Worst case: p4')


def test_two_cases_are_best_and_worst(many):
    chosen = choose_examples(run_files.read(many), 'val')
    assert [(place, case.name) for place, _, case in chosen.cases] == [('Best', 'p7'), ('Worst', 'p8')]


def test_cases_without_a_score_are_not_ranked(many):
    run = run_files.read(many)
    blank = [{k: '' if k.startswith('dice') and row['id'] == 'p4' else v for k, v in row.items()}
             for row in run.predictions]
    chosen = choose_examples(dataclasses.replace(run, predictions=blank), 'test')
    assert len(chosen.ranking) == 6 and chosen.cases[-1][2].name == 'p5'


def test_a_single_volume_is_shown_in_three_planes_and_its_extreme_slices(one):
    run = run_files.read(one)
    pictures = groups(run, choose_examples(run, 'test'))
    starts = ['only, mean Dice', 'only, mean Dice', 'only, mean Dice', 'Best axial', 'Median axial', 'Worst axial']
    assert [group.heading.startswith(start) for group, start in zip(pictures, starts, strict=True)] == [True] * 6
    assert [group.heading.split(': ')[1] for group in pictures[:3]] == [
        'axial plane', 'coronal plane', 'sagittal plane']
    assert 'voxels of 1 × 1.5 × 3 mm' in pictures[0].text
    assert [tile.title for tile in pictures[0].tiles] == ['Image', 'Truth', 'Prediction', 'Errors']


def test_calibration_is_over_all_cases_and_not_those_drawn(many, monkeypatch):
    run = run_files.read(many)
    caption = segmentation_chapter.case_charts(run, 'test', choose_examples(run, 'test'))[-1].caption
    assert 'Calibration over all 7 cases' in caption
    monkeypatch.setattr(segmentation_chapter, 'CALIBRATION_CASES', 3)
    caption = segmentation_chapter.case_charts(run, 'test', choose_examples(run, 'test'))[-1].caption
    assert 'Calibration over 3 of 7 cases' in caption


def size(tile):
    return Picture.open(io.BytesIO(tile.png)).size


def test_augmented_patches_keep_the_proportions_of_the_body(many, photographs):
    for folder, want in ((many, (24 * 1.0, 20 * 1.5)), (photographs, (24, 20))):
        run = run_files.read(folder)
        pairs = training_samples(run, choose_examples(run, 'test'))
        assert len(pairs) == 3 and [tile.title for tile in pairs[0]] == ['As read', 'As trained on']
        width, height = size(pairs[0][0])
        assert width / height == pytest.approx(want[0] / want[1], abs=0.02)


def test_augmented_patches_are_turned_like_slices():
    original = np.zeros((1, 12, 12, 3), np.float32)
    original[:, 8:, :, 1] = 1  # the patient's right third, on the middle slice alone
    arrays = {'original': original, 'image': original[:, ::-1], 'label': np.zeros((1, 12, 12, 3), int)}
    for flip in (True, False):
        read, trained = (np.asarray(Picture.open(io.BytesIO(tile.png)).convert('L'))
                         for tile in draw.augmented_tiles(arrays, (1, 1), flip)[0])
        third = read.shape[1] // 4
        assert (read[:, :third].min() > 200) == (trained[:, -third:].min() > 200) == flip
        assert (read[:, -third:].min() > 200) == (trained[:, :third].min() > 200) == (not flip)


def test_the_validation_curve_marks_the_step_whose_weights_were_evaluated(many, monkeypatch):
    run, lines = run_files.read(many), {'val/dice_organ': 'organ', 'val/dice_mean': 'mean'}
    drawn = [charts.training_curve(run.history, lines, 'Dice', 'light', chosen) for chosen in (40, 40, 20, None)]
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3
    monkeypatch.setattr(charts, 'training_curve',
                        lambda _, lines, title, theme, evaluated: f'{[*lines]} {evaluated}'.encode())
    got = {chart.alt.removesuffix(' by training step'): chart.light.decode()
           for chart in chapter.training_charts(run, segmentation_chapter.training_curves(run))}
    assert got == {
        'Training loss': "['train/loss'] None", 'Learning rate': "['lr'] None",
        'Validation Dice': "['val/dice_mean', 'val/dice_organ', 'val/dice_lesion'] 40",
        'Gradient norm': "['train/grad_norm'] None"}


def test_a_photograph_says_that_one_channel_is_shown(photographs):
    run = run_files.read(photographs)
    pictures = groups(run, choose_examples(run, 'test'))
    assert len(pictures) == 3 and all(group.text.startswith('The first channel, in grey.') for group in pictures)
