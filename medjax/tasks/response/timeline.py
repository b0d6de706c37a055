"""The lesions of a patient over visits, and the response at each visit by the criteria of `recist`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics.lesions import Finding, Key, Visit
from medjax.tasks.response import recist

DISEASE = ('target', 'nontarget', 'new')  # roles of lesions that count as disease


def assess_patient(patient: str, visits: Sequence[Visit], most: int = 5, confirm: bool = False, stable: float = 6.0,
                   least: float = recist.MEASURABLE) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The measurements and responses of a patient over visits, the first of which is the baseline.

    A lesion that was absent at the baseline is new once it is measurable, a node from 15 mm short axis (EORTC's advice
    on a node that exceeds 10 mm), and stays new while it is present. Smaller ones are 'equivocal', and nodes below 10
    mm 'normal'; neither counts as disease. As the guideline asks for, a lesion that is confirmed counts as new from the
    visit on at which it was first seen, without a gap; a node does not, as its growth is what makes it new.

    Args:
      patient: name.
      visits: in order of time.
      most: targets, see `recist.lesion_roles`.
      confirm: see `recist.best_response`.
      stable: weeks, see `recist.best_response`.
      least: mm from which a lesion is new, see `recist.is_measurable`.

    Returns:
      A row for each visit (lengths in mm, volumes in ml, changes in percent; NaN where there is no value; the peak is
      the hottest lesion's, 0 where no lesion is left), and a row for each known lesion at each visit.

    Raises:
      InputError: there is no lesion at the first visit.
    """
    first = recist.lesion_roles(visits[0].findings, most)
    if not set(DISEASE) & set(first.values()):
        raise InputError(f'patient {patient}: no lesion at the first visit, {visits[0].name}; expected disease there, '
                         'nodes from 10 mm short axis')
    rows, lesions = [], []
    for visit, (findings, roles) in zip(visits, _followed(visits, first, least)):
        about = {'patient': patient, 'visit': visit.name, 'weeks': visit.weeks}
        lesions += [{**about, 'kind': key[0], 'organ': key[1], 'lesion': key[2], 'role': roles[key],
                     'state': finding.state, 'longest_mm': finding.longest, 'short_mm': finding.short,
                     'recorded_mm': recist.recorded_size(finding), 'volume_ml': finding.volume, 'peak': finding.peak}
                    for key, finding in findings.items()]
        rows.append(about | _visit_row(rows, findings, roles))
        later = rows[1:]
        rows[-1]['best'] = recist.best_response([row['response'] for row in later], [row['weeks'] for row in later],
                                                confirm, stable) if later else ''
    return rows, lesions


def _followed(visits: Sequence[Visit], first: Mapping[Key, str],
              least: float) -> list[tuple[dict[Key, Finding], dict[Key, str]]]:
    """The known lesions at each visit, and their roles there.

    Args:
      visits: in order of time.
      first: roles at the first visit.
      least: see `assess_patient`.
    """
    out: list[tuple[dict[Key, Finding], dict[Key, str]]] = []
    roles, known = dict(first), dict(visits[0].findings)
    for visit in visits:
        known = {key: _finding(visit, key, known) for key in {**known, **visit.findings}}
        for key, finding in known.items():
            if first.get(key) not in DISEASE[:2] and finding.state == 'there' and visit is not visits[0]:
                roles[key] = _later_role(finding, roles.get(key), least)
        out.append((known, dict(roles)))
    for place in range(len(out) - 1, 0, -1):
        findings, earlier = out[place - 1]
        for key, finding in findings.items():
            seen = earlier[key] == 'equivocal' and finding.state == 'there' and finding.kind != 'node'
            if seen and out[place][1][key] == 'new':
                earlier[key] = 'new'
    return out


def _finding(visit: Visit, key: Key, known: Mapping[Key, Finding]) -> Finding:
    """The finding of a known lesion at a visit, also where it is absent."""
    if key in visit.findings:
        return visit.findings[key]
    kind, organ, _ = key
    if (kind, organ) in visit.evaluated:
        return Finding(kind, state='gone', organ=organ)
    return Finding(kind, math.nan, math.nan, math.nan, state='not evaluated', organ=organ)


def _later_role(finding: Finding, role: str | None, least: float) -> str:
    """The role of a lesion that was absent, or a normal node, at the baseline.

    Args:
      finding: at the visit.
      role: at the visit before; None for a lesion that was not known.
      least: see `assess_patient`.
    """
    if role == 'new' or recist.is_measurable(finding, least):
        return 'new'
    if finding.kind == 'node' and recist.recorded_size(finding) < recist.PATHOLOGICAL:
        return 'normal'
    return 'equivocal'


def _visit_row(earlier: Sequence[Mapping[str, Any]], findings: Mapping[Key, Finding],
               roles: Mapping[Key, str]) -> dict[str, Any]:
    """The measurements and responses at a visit, given the rows of the earlier visits."""
    by_role = {name: [finding for key, finding in findings.items() if roles[key] == name] for name in DISEASE}
    disease = [finding for name in DISEASE for finding in by_role[name]]
    sizes, _ = _sizes(by_role['target'])
    total = float(sizes.sum()) if len(sizes) else math.nan
    row = {'targets': len(sizes), 'nontargets': len(by_role['nontarget']), 'sum_mm': total,
           'volume_ml': _volume(disease), 'nontarget_ml': _volume(by_role['nontarget']),
           'peak': _peak(earlier, disease), 'new': sum(finding.state == 'there' for finding in by_role['new']),
           'equivocal': sum(roles[key] == 'equivocal' and finding.state == 'there'
                            for key, finding in findings.items())}
    base = earlier[0] if earlier else row
    nadir = {name: _least(other[name] for other in earlier or [row])
             for name in ('sum_mm', 'volume_ml', 'nontarget_ml')}
    row |= {'nadir_mm': nadir['sum_mm'], 'change_percent': _change(total, base['sum_mm']),
            'nadir_change_percent': _change(total, nadir['sum_mm']), 'nadir_change_mm': total - nadir['sum_mm'],
            'volume_change_percent': _change(row['volume_ml'], base['volume_ml']),
            'peak_change_percent': _change(row['peak'], base['peak']), 'target': '', 'nontarget': '',
            'response': 'baseline', 'volumetric': '', 'percist': ''}
    return row | _responses(earlier, by_role, row, nadir) if earlier else row


def _responses(earlier: Sequence[Mapping[str, Any]], by_role: Mapping[str, Sequence[Finding]], row: Mapping[str, Any],
               nadir: Mapping[str, float]) -> dict[str, str]:
    """The responses at a visit after the baseline.

    Args:
      earlier: rows of the earlier visits.
      by_role: findings at the visit.
      row: measurements at the visit.
      nadir: smallest earlier sum and volumes.
    """
    base, new = earlier[0], row['new'] > 0
    disease = [finding for name in DISEASE for finding in by_role[name]]
    after_cr = any(other['response'] == 'CR' for other in earlier)
    relapse = {name: after_cr and any(map(recist.is_back, by_role[name])) for name in DISEASE}
    target = nontarget = None
    if by_role['target']:
        target = recist.target_response(*_sizes(by_role['target']), base['sum_mm'], nadir['sum_mm'],
                                        relapse['target'])
    if by_role['nontarget']:
        evaluated = [finding for finding in by_role['nontarget'] if finding.state != 'not evaluated']
        nontarget = recist.nontarget_response(*_sizes(by_role['nontarget']), _volume(evaluated), nadir['nontarget_ml'],
                                              relapse['nontarget'])
    out = {'target': target or '', 'nontarget': nontarget or '',
           'response': recist.overall_response(target, nontarget, new),
           'volumetric': recist.volumetric_response(row['volume_ml'], base['volume_ml'], nadir['volume_ml'],
                                                    recist.all_gone(*_sizes(disease)), new)}
    if base['peak'] == base['peak']:
        out['percist'] = recist.percist_response(row['peak'], base['peak'], not _is_left(disease), new)
    return out


def _is_left(disease: Sequence[Finding]) -> bool:
    """Whether a lesion is present, or may be."""
    return any(finding.state in ('there', 'not evaluated') for finding in disease)


def _peak(earlier: Sequence[Mapping[str, Any]], disease: Sequence[Finding]) -> float:
    """The peak uptake of the hottest lesion: NaN where not known, 0 where no lesion is left."""
    if earlier and not _is_left(disease) and earlier[0]['peak'] == earlier[0]['peak']:
        return 0.0
    return max((finding.peak for finding in disease if finding.peak == finding.peak), default=math.nan)


def _sizes(findings: Sequence[Finding]) -> tuple[np.ndarray, np.ndarray]:
    """Recorded sizes in mm, and which lesions are nodes, `[N]` each."""
    return (np.array([recist.recorded_size(finding) for finding in findings]),
            np.array([finding.kind == 'node' for finding in findings], bool))


def _volume(findings: Sequence[Finding]) -> float:
    return float(sum(finding.volume for finding in findings))


def _least(values: Iterable[float]) -> float:
    return min((value for value in values if value == value), default=math.nan)


def _change(value: float, reference: float) -> float:
    """The change in percent; NaN for a reference of 0."""
    return 100 * (value / reference - 1) if reference else math.nan
