"""A patient's lesions over visits: what became of each, and the response at each visit by the rules of `recist`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics.lesions import Finding, Visit
from medjax.tasks.response import recist
from medjax.tasks.response.recist import Key

DISEASE = ('target', 'nontarget', 'new')  # the roles that count


def follow(patient: str, visits: Sequence[Visit], most: int = 5, confirm: bool = False,
           stable: float = 6.0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Follows a patient over visits, of which the first is the baseline.

    A lesion that was not there at the baseline is new, and stays so while it is there. A new node counts from 15 mm
    short axis (EORTC's advice on a node that passes 10 mm), another as soon as it can be measured; what is less is
    'equivocal', a node below 10 mm 'normal', and neither is disease yet.

    Args:
      patient: name.
      visits: in order of time.
      most: targets, see `recist.roles`.
      confirm: see `recist.best`.
      stable: weeks, see `recist.best`.

    Returns:
      A row for each visit (lengths in mm, volumes in ml, changes in percent; NaN where there is no figure; the peak is
      the hottest lesion's, 0 where none is left), and one for each lesion known at each visit.

    Raises:
      InputError: no lesion at the first visit.
    """
    first = recist.roles(visits[0].findings, most)
    if not set(DISEASE) & set(first.values()):
        raise InputError(f'patient {patient}: no lesion at the first visit, {visits[0].name}; expected disease there, '
                         'nodes from 10 mm short axis')
    rows, lesions = [], []
    role, known = dict(first), dict(visits[0].findings)
    for visit in visits:
        found = {key: _seen(visit, key, known) for key in {**known, **visit.findings}}
        role |= {key: _later(of, role.get(key)) for key, of in found.items() if first.get(key) not in DISEASE[:2]
                 and of.state == 'there' and visit is not visits[0]}
        known = found
        about = {'patient': patient, 'visit': visit.name, 'weeks': visit.weeks}
        lesions += [{**about, 'kind': key[0], 'lesion': key[1], 'role': role[key], 'state': of.state,
                     'longest_mm': of.longest, 'short_mm': of.short, 'recorded_mm': recist.size(of),
                     'volume_ml': of.volume, 'peak': of.peak} for key, of in found.items()]
        rows.append(about | _row(rows, found, role))
        told = rows[1:]
        rows[-1]['best'] = recist.best([row['response'] for row in told], [row['weeks'] for row in told], confirm,
                                       stable) if told else ''
    return rows, lesions


def _seen(visit: Visit, key: Key, known: Mapping[Key, Finding]) -> Finding:
    """A lesion at a visit, also one that is not there."""
    if key in visit.findings:
        return visit.findings[key]
    kind = known[key].kind
    return Finding(kind, state='gone') if kind in visit.kinds else Finding(kind, *[math.nan] * 3, state='not evaluated')


def _later(of: Finding, role: str | None) -> str:
    """The role of a lesion that the baseline did not have, or as a normal node."""
    if role == 'new':
        return role
    if of.kind == 'node':
        short = recist.size(of)
        return 'new' if short >= recist.NODE else 'equivocal' if short >= recist.PATHOLOGICAL else 'normal'
    return 'new' if of.longest > 0 else 'equivocal'


def _row(before: Sequence[Mapping[str, Any]], found: Mapping[Key, Finding], role: Mapping[Key, str]) -> dict[str, Any]:
    """What a visit's lesions say, given the rows of the visits before."""
    part = {name: [of for key, of in found.items() if role[key] == name] for name in DISEASE}
    disease = [of for name in DISEASE for of in part[name]]
    sizes, nodes = _sizes(part['target'])
    total = float(sizes.sum()) if len(sizes) else math.nan
    volume, burden = _volume(disease), _volume(part['nontarget'])
    left = any(of.state in ('there', 'not evaluated') for of in disease)
    peak = max((of.peak for of in disease if of.peak == of.peak), default=math.nan)
    if before and not left and before[0]['peak'] == before[0]['peak']:
        peak = 0.0
    row = {'targets': len(sizes), 'nontargets': len(part['nontarget']), 'sum_mm': total, 'volume_ml': volume,
           'nontarget_ml': burden, 'peak': peak,
           'new': sum(of.state == 'there' for of in part['new'])}
    base = before[0] if before else row
    nadir = {name: _least(of[name] for of in before or [row]) for name in ('sum_mm', 'volume_ml', 'nontarget_ml')}
    row |= {'nadir_mm': nadir['sum_mm'], 'change_percent': _change(total, base['sum_mm']),
            'nadir_change_percent': _change(total, nadir['sum_mm']), 'nadir_change_mm': total - nadir['sum_mm'],
            'volume_change_percent': _change(volume, base['volume_ml']),
            'peak_change_percent': _change(peak, base['peak']), 'target': '', 'nontarget': '', 'response': 'baseline',
            'volumetric': '', 'percist': ''}
    if before:
        relapse = any(earlier['response'] == 'CR' for earlier in before)
        gone, new = recist.vanished(*_sizes(disease)), row['new'] > 0
        target = recist.target_response(sizes, nodes, base['sum_mm'], nadir['sum_mm'], relapse) if len(sizes) else None
        seen = [of for of in part['nontarget'] if of.state != 'not evaluated']
        nontarget = recist.nontarget_response(
            *_sizes(part['nontarget']), _volume(seen), nadir['nontarget_ml'], relapse) if part['nontarget'] else None
        row |= {'target': target or '', 'nontarget': nontarget or '',
                'response': recist.overall(target, nontarget, new),
                'volumetric': recist.volumetric(volume, base['volume_ml'], nadir['volume_ml'], gone, new)}
        if base['peak'] == base['peak']:
            row['percist'] = recist.percist(peak, base['peak'], not left, new)
    return row


def _sizes(of: Sequence[Finding]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([recist.size(one) for one in of]), np.array([one.kind == 'node' for one in of], bool)


def _volume(of: Sequence[Finding]) -> float:
    return float(sum(one.volume for one in of))


def _least(values: Iterable[float]) -> float:
    return min((value for value in values if value == value), default=math.nan)


def _change(value: float, reference: float) -> float:
    """In percent; NaN where there is nothing to compare with."""
    return 100 * (value / reference - 1) if reference else math.nan
