"""Hand-made measurements of patients under treatment, for the tests of tables and pages."""

import math

from medjax.metrics.lesions import Finding, Visit
from medjax.tasks.response import timeline

KINDS = frozenset((kind, '') for kind in ('target', 'node', 'nontarget'))


def ball(diameter, kind='target', **more):
    """The finding of a sphere."""
    return Finding(kind, diameter, diameter, math.pi / 6 * diameter**3 / 1000, **more)


def visits(*columns, kinds=KINDS, **named):
    """Visits every eight weeks from diameters of spheres in mm; None where a lesion is absent."""
    kind_of = lambda name: name.rstrip('0123456789')
    lesions = {('target', '', number): of for number, of in enumerate(columns, 1)} | {
        (kind_of(name), '', int(name[len(kind_of(name)):])): of for name, of in named.items()}
    count = len(next(iter(lesions.values())))
    return [Visit(f'week {8 * n}', 8.0 * n, kinds, {
        key: ball(of[n], key[0]) for key, of in lesions.items() if of[n] is not None}) for n in range(count)]


def assessed():
    """Rows and lesions of a CR, a PR that progresses, an SD, a PD, one without targets and one with a single visit."""
    patients = {'a': visits((30, 12, None, None)), 'b': visits((40, 25, 20, 30), (20, 10, 9, 14)),
            'c': visits((50, 48, 45)), 'd': visits((30, 33), target2=(None, 15)),
            'e': visits(nontarget1=(30, 28)), 'f': visits((22,))}
    rows, lesions = [], []
    for patient, its in patients.items():
        visit_rows, lesion_rows = timeline.assess_patient(patient, its)
        rows += visit_rows
        lesions += lesion_rows
    return rows, lesions
