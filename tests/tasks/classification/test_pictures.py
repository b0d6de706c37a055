"""Example cases of classification: their choice, captions and tests of maps."""

import dataclasses

import numpy as np

from medjax.report import run_files
from medjax.tasks.classification import pictures
from medjax.tasks.classification.split import read_split
from tests.tasks.classification import diagnoses


def shown(folder, split='test'):
    return read_split(run_files.read(folder), split)


def test_the_cases_drawn_are_the_confident_correct_uncertain_and_confident_wrong_ones(folders):
    of = shown(folders['binary'])
    chosen = {kind: (number, case) for kind, number, case in pictures.choose_examples(of)}
    assert list(chosen) == [pictures.CORRECT, pictures.UNSURE, pictures.WRONG]
    sure, right = of.table.probs.max(1), of.table.probs.argmax(1) == of.table.targets
    assert sure[chosen[pictures.CORRECT][0]] == sure[right].max()
    assert sure[chosen[pictures.WRONG][0]] == sure[~right].max()
    assert sure[chosen[pictures.UNSURE][0]] == sure.min()
    assert all(case.name == of.table.ids[number] for number, case in chosen.values())
    section = pictures.example_cases(of)
    number, case = chosen[pictures.WRONG]
    truth, said = (diagnoses.KINDS['binary'][k] for k in (of.table.targets[number], of.table.probs[number].argmax()))
    assert section.groups[2].heading == f'Most confident, wrong: {case.name}'
    assert section.groups[2].text == (
        f'Truth: {truth}. Predicted: {said}. Probabilities: {said} {sure[number]:.3f}, {truth} {1 - sure[number]:.3f}. '
        'Maps of pneumonia.')
    assert [tile.title for tile in section.groups[0].tiles] == [
        'Image', 'Grad-CAM', 'Integrated gradients', 'Occlusion']
    mean = np.mean([case.tests['similarity'] for _, case in chosen.values()], 0)
    assert [row[2][2].text for row in section.tables[0].rows] == [f'{value:.3f}' for value in mean]
    # A case that has one of the methods alone counts for that one.
    kind, number, case = pictures.choose_examples(of)[0]
    fewer = dataclasses.replace(case, methods=case.methods[:1], maps=case.maps[:1],
                                tests={name: values[:1] for name, values in case.tests.items()})
    rows = pictures.test_tables([(kind, number, fewer), *pictures.choose_examples(of)[1:]])[0].rows
    assert [cells[-1].text for _, _, cells in rows] == ['3', '2', '2']
