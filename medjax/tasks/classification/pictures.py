"""Which classified cases go to the report as pictures, and what is written about them."""

from collections.abc import Sequence

import numpy as np

from medjax.report import style
from medjax.report.chapter import Group, Section
from medjax.report.tables import Cell, Table, format_number
from medjax.tasks.classification import overlay
from medjax.tasks.classification.split import Judged

DRAWN = 3  # cases of a kind
LIKELIEST = 3  # classes whose probability is told
TESTS = {'deletion': ('Deletion\N{NO-BREAK SPACE}↓', 'area under the class\'s probability as places go, those first in '
                      'which the map is largest'),
         'insertion': ('Insertion\N{NO-BREAK SPACE}↑', 'the same as places come over a blurred image'),
         'similarity': ('Random weights\N{NO-BREAK SPACE}→ 0', 'rank correlation with the map of the same network with '
                        'its weights shuffled: where it is near 1 the map hangs on the image alone'),
         'incomplete': ('Incomplete\N{NO-BREAK SPACE}→ 0', 'by how much integrated gradients miss the change of the '
                        'logit to which they should sum')}

Chosen = tuple[str, int, overlay.Snapshot]


def pictures(of: Judged) -> Section:
    """The surest right, the least sure and the surest wrong cases; the picture beside what the network looked at."""
    chosen, groups = choose(of), []
    for kind, number, case in chosen:
        for first, cut in enumerate(overlay.cuts(case)):
            heading = f'{kind}: {case.name}' + (f', {overlay.cut_name(case, cut)}' if cut else '')
            groups.append(Group(heading, overlay.tiles(case, cut), '' if first else _told(of, number, case)))
    mapped = any(case.methods for _, _, case in chosen)
    keys = [('Maps', [('speaks for the class', style.SUPPORTING[1]), ('speaks against it', style.OPPOSING[1])])]
    return Section('What it looks at' if mapped else 'Cases', _text(of, chosen), keys if mapped else [], tests(chosen),
                   groups)


def choose(of: Judged) -> list[Chosen]:
    """The cases that have a snapshot, a few of each kind: the kind, the case's number, and the snapshot.

    A case is of the kind of which it is the better example.
    """
    order, most = np.argsort(-of.confidence, kind='stable'), len(of.table)
    kinds = {'Surest right': order[of.right[order]], 'Least sure': order[::-1],
             'Surest wrong': order[~of.right[order]]}
    ranks = {kind: {int(number): rank for rank, number in enumerate(numbers)} for kind, numbers in kinds.items()}
    paths = {number: of.run.folder / 'cases' / of.split / f'{name}.npz' for number, name in enumerate(of.table.ids)}
    found: dict[str, list[tuple[int, int]]] = {kind: [] for kind in kinds}
    for number in (number for number, path in paths.items() if path.is_file()):
        kind = min(kinds, key=lambda kind: ranks[kind].get(number, most))
        found[kind].append((ranks[kind][number], number))
    return [(kind, number, overlay.load(paths[number])) for kind, pairs in found.items()
            for _, number in sorted(pairs)[:DRAWN]]


def tests(chosen: Sequence[Chosen]) -> list[Table]:
    """Means over the drawn cases of what was tested of the maps, where that was."""
    values: dict[str, dict[str, list[float]]] = {}
    for _, _, case in chosen:
        for name, array in case.tests.items():
            for method, value in zip(case.methods, array):
                values.setdefault(method, {}).setdefault(name, []).append(float(value))
    names = [name for name in TESTS if any(x == x for of in values.values() for x in of.get(name, ()))]
    rows = [(overlay.method_name(method), '', [*(Cell(format_number(_mean(of.get(name, [])))) for name in names),
                                               Cell(str(max(map(len, of.values()))))])
            for method, of in values.items()]
    heads = [*(TESTS[name] for name in names), ('cases', 'drawn, with a map by this method that was tested')]
    return [Table('Are the maps to be trusted? Means over the cases drawn', heads, rows)] if rows else []


def _text(of: Judged, chosen: Sequence[Chosen]) -> str:
    said = ['Cases of three kinds: the surest that are right, the least sure, and the surest that are wrong.']
    if any(case.methods for _, _, case in chosen):
        said.append('Maps show what moved the network\'s output for a class; they show neither where a disease is nor '
                    'why. Each has a scale of its own.')
    if any(case.volume for _, _, case in chosen):
        said.append('Volumes are cut in the three planes through the first map\'s maximum.')
        said.append('The patient\'s right is on the left of the picture.' if all(
            case.spacing for _, _, case in chosen) else 'Which side is the patient\'s right is not known.')
    return ' '.join(said)


def _told(of: Judged, number: int, case: overlay.Snapshot) -> str:
    """Truth, prediction, the largest probabilities and that of the truth, and what the maps are of."""
    probs, target, names = of.table.probs[number], of.table.targets[number], of.table.classes
    true = np.flatnonzero(target == 1).tolist() if of.table.multilabel else [int(target)]
    shown = list(dict.fromkeys([*np.argsort(-probs, kind='stable')[:LIKELIEST].tolist(), *true]))
    truth, said = of.said(number)
    text = (f'Truth: {truth}. Predicted: {said}. Probabilities: '
            f'{", ".join(f"{names[k]} {format_number(float(probs[k]))}" for k in shown)}.')
    text += f' Maps of {case.explained}.' if case.methods and case.explained else ''
    flat = [overlay.method_name(method) for method, array in zip(case.methods, case.maps) if not np.ptp(array)]
    return text + (f' Flat: {", ".join(flat)}.' if flat else '')


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float('nan')
