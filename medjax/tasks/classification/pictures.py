"""Example cases of classification in the report, with saliency maps and tests of the maps."""

from collections.abc import Sequence

import numpy as np

from medjax.report import style
from medjax.report.chapter import Group, Section
from medjax.report.tables import Cell, Table, format_number
from medjax.tasks.classification import overlay, snapshot
from medjax.tasks.classification.snapshot import Snapshot
from medjax.tasks.classification.split import ClassificationSplit

CASES_PER_KIND = 3
LISTED = 3  # classes whose probability is listed
CORRECT, UNSURE, WRONG = 'Most confident, correct', 'Least confident', 'Most confident, wrong'
TESTS = {
    'deletion': ('Deletion\N{NO-BREAK SPACE}↓', 'area under the probability of the class while places are deleted, '
                 'those with the largest values of the map first'),
    'insertion': ('Insertion\N{NO-BREAK SPACE}↑', 'the same while places are inserted into a blurred image'),
    'similarity': ('Random weights\N{NO-BREAK SPACE}→ 0', 'rank correlation with the map of the same network with '
                   'shuffled weights; near 1 the map depends on the image alone'),
    'incomplete': ('Completeness error\N{NO-BREAK SPACE}→ 0', 'difference between the sum of integrated gradients and '
                   'the change of the logit')}

Example = tuple[str, int, Snapshot]  # the kind of a case, its number in the table, and its snapshot


def example_cases(split: ClassificationSplit) -> Section:
    """The section with the most confident correct, the least confident and the most confident wrong cases."""
    examples, groups = choose_examples(split), []
    for kind, number, case in examples:
        for first, where in enumerate(overlay.slices(case)):
            heading = f'{kind}: {case.name}'
            if where:
                heading += f', {overlay.slice_name(case, where)}'
            groups.append(Group(heading, overlay.tiles(case, where), '' if first else _caption(split, number, case)))
    if not any(case.methods for _, _, case in examples):
        return Section('Example cases', _text(examples), groups=groups)
    keys = [('Maps', [('supports the class', style.SUPPORTING[1]), ('opposes it', style.OPPOSING[1])])]
    return Section('Saliency maps', _text(examples), keys, test_tables(examples), groups)


def choose_examples(split: ClassificationSplit) -> list[Example]:
    """The cases of each kind that have a snapshot; each is of the kind in which it ranks higher."""
    order, last = np.argsort(-split.confidence, kind='stable'), len(split.table)
    kinds = {CORRECT: order[split.correct[order]], UNSURE: order[::-1], WRONG: order[~split.correct[order]]}
    ranks = {kind: {int(number): rank for rank, number in enumerate(numbers)} for kind, numbers in kinds.items()}
    paths = {number: split.run.folder / 'cases' / split.split / f'{name}.npz'
             for number, name in enumerate(split.table.ids)}
    found: dict[str, list[tuple[int, int]]] = {kind: [] for kind in kinds}
    for number in (number for number, path in paths.items() if path.is_file()):
        kind = min(kinds, key=lambda kind: ranks[kind].get(number, last))
        found[kind].append((ranks[kind][number], number))
    return [(kind, number, snapshot.load(paths[number])) for kind, pairs in found.items()
            for _, number in sorted(pairs)[:CASES_PER_KIND]]


def test_tables(examples: Sequence[Example]) -> list[Table]:
    """Means over the examples of the tests of their maps, by method; none where no map was tested."""
    values: dict[str, dict[str, list[float]]] = {}
    for _, _, case in examples:
        for name, array in case.tests.items():
            for method, value in zip(case.methods, array):
                values.setdefault(method, {}).setdefault(name, []).append(float(value))
    names = [name for name in TESTS if any(x == x for tests in values.values() for x in tests.get(name, ()))]
    rows = []
    for method, tests in values.items():
        cells = [Cell(format_number(_mean(tests.get(name, [])))) for name in names]
        rows.append((overlay.method_name(method), '', [*cells, Cell(str(max(map(len, tests.values()))))]))
    headers = [*(TESTS[name] for name in names), ('cases', 'shown, with a tested map by this method')]
    return [Table('Faithfulness of the maps, means over the cases shown', headers, rows)] if rows else []


def _text(examples: Sequence[Example]) -> str:
    sentences = ['Cases of three kinds: the most confident correct, the least confident and the most confident wrong '
                 'predictions.']
    cases = [case for _, _, case in examples]
    if any(case.methods for case in cases):
        sentences.append('Maps show what changed the network\'s output for a class. They show neither where a disease '
                         'is nor why it is predicted. Each map has its own scale.')
    if any(case.is_volume for case in cases):
        sentences.append('Volumes are shown in the three slices through the first map\'s maximum.')
        oriented = all(case.spacing for case in cases)
        sentences.append('The patient\'s right is on the left of the picture.' if oriented else
                         'The patient\'s side is not known.')
    return ' '.join(sentences)


def _caption(split: ClassificationSplit, number: int, case: Snapshot) -> str:
    """Truth, prediction, the largest probabilities and that of the truth, and the class that the maps explain."""
    probs, target, names = split.table.probs[number], split.table.targets[number], split.table.classes
    true = np.flatnonzero(target == 1).tolist() if split.table.multilabel else [int(target)]
    listed = dict.fromkeys([*np.argsort(-probs, kind='stable')[:LISTED].tolist(), *true])
    truth, predicted = split.truth_and_prediction(number)
    text = (f'Truth: {truth}. Predicted: {predicted}. Probabilities: '
            f'{", ".join(f"{names[k]} {format_number(float(probs[k]))}" for k in listed)}.')
    if case.methods and case.explained:
        text += f' Maps of {case.explained}.'
    constant = [overlay.method_name(method) for method, array in zip(case.methods, case.maps) if not np.ptp(array)]
    return f'{text} Constant: {", ".join(constant)}.' if constant else text


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float('nan')
