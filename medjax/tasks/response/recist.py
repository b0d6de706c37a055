"""Treatment response criteria on measured lesions: RECIST 1.1, a volumetric analogue, and a PERCIST-like one by uptake.

RECIST 1.1 is Eisenhauer 2009 (Eur J Cancer 45:228), with the clarifications of its working group (EORTC) where it
leaves a question open. Where it leaves a decision to the reader's judgement, a numerical rule is used here and
described as such.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.metrics.lesions import Finding, Key

TOO_SMALL = 5.0  # mm, recorded for a lesion that is present but too small to measure
MEASURABLE, NODE, PATHOLOGICAL = 10.0, 15.0, 10.0  # mm: longest diameter of lesions, short axes of nodes
THICK = 5.0  # mm; of thicker slices a measurable lesion is as long as two
PER_ORGAN = 2  # targets; all nodes count as one organ (EORTC)
LESS, MORE, AT_LEAST = 0.7, 1.2, 5.0  # of the baseline; of the nadir, and mm above it
VOLUMES = LESS**3, MORE**3  # of spheres whose diameters change so: -65.7 % and +72.8 %
UPTAKE = 0.3, 0.8  # fraction of the baseline, and units
CONFIRMED = 4.0  # weeks after which a response is confirmed
EPSILON = 1e-6  # rounding of fractions
STABLE = ('SD', 'non-CR/non-PD')
RESPONSES = ('CR', 'PR', *STABLE, 'PD', 'NE')


def recorded_size(finding: Finding) -> float:
    """The size that RECIST records for a lesion in mm: the short axis of a node, else the longest diameter.

    It is 0 for a lesion that is gone, 5 mm for one that is present but too small to measure, and NaN for one that was
    not evaluated.
    """
    if finding.state == 'not evaluated':
        return math.nan
    if finding.state != 'there':
        return 0.0
    return (finding.short if finding.kind == 'node' else finding.longest) or TOO_SMALL


def is_measurable(finding: Finding, least: float = MEASURABLE) -> bool:
    """Whether a lesion is measurable: from 10 mm, two slices where these are thicker than 5 mm; nodes from 15 mm.

    Args:
      finding: its longest diameter counts, the short axis of a node.
      least: mm, in place of the 10 mm.
    """
    if finding.kind == 'node':
        return finding.short >= NODE - EPSILON
    return finding.longest >= max(least, 2 * finding.thickness if finding.thickness > THICK else 0) - EPSILON


def is_back(finding: Finding) -> bool:
    """Whether a lesion is there for certain: nodes from 10 mm, others from 5 mm, which can be measured.

    Any lesion that is there again after CR is PD. Small remains are taken for the guideline's other case, that the CR
    has been a PR (table 3).
    """
    if finding.state != 'there':
        return False
    return finding.short >= PATHOLOGICAL if finding.kind == 'node' else finding.longest >= TOO_SMALL - EPSILON


def lesion_roles(findings: Mapping[Key, Finding], most: int = 5) -> dict[Key, str]:
    """The role of each lesion of the baseline.

    The longest measurable lesions are targets, at most two of an organ whose name is known, and at most two nodes.

    Args:
      findings: at the baseline.
      most: largest number of targets of a patient; 2 where all lesions are in one organ, whose name is not known.

    Returns:
      'target', 'nontarget' or, for nodes below 10 mm, 'normal'.
    """
    out: dict[Key, str] = {}
    targets: list[str] = []  # their organs
    for key, finding in sorted(findings.items(), key=lambda item: -item[1].longest):
        is_node = finding.kind == 'node'
        organ = 'node' if is_node else f'organ {finding.organ}' if finding.organ else ''
        full = len(targets) >= most or (organ != '' and targets.count(organ) >= PER_ORGAN)
        if finding.kind != 'nontarget' and is_measurable(finding) and not full:
            targets.append(organ)
            out[key] = 'target'
        elif is_node and recorded_size(finding) < PATHOLOGICAL:
            out[key] = 'normal'
        else:
            out[key] = 'nontarget'
    return out


def all_gone(sizes: np.ndarray, nodes: np.ndarray) -> bool:
    """Whether all lesions have disappeared, and all nodes are below 10 mm; False if a size is not known.

    Args:
      sizes: `[N]` mm, see `recorded_size`.
      nodes: `[N]` bool.
    """
    return bool(np.where(nodes, sizes < PATHOLOGICAL, sizes == 0).all())


def is_progression(value: float, nadir: float) -> bool:
    """Whether a sum of diameters is 20 % and 5 mm above the nadir."""
    return value >= MORE * nadir - EPSILON and value - nadir >= AT_LEAST - EPSILON


def target_response(sizes: np.ndarray, nodes: np.ndarray, baseline: float, nadir: float, relapse: bool = False) -> str:
    """The response of the target lesions: CR, PR, SD, PD or NE.

    If some lesions were not evaluated it is NE, unless the others alone fulfil PD. Nodes below 10 mm are no disease,
    whatever their sum. Each visit is assessed by its own sum: after a confirmed PR, a reader may continue to report PR
    while the increase is less than PD requires (EORTC), which changes no best response.

    Args:
      sizes: `[N]` mm, see `recorded_size`.
      nodes: `[N]` bool.
      baseline: the sum at the baseline.
      nadir: the smallest earlier sum, including the baseline.
      relapse: the patient had a CR before, and one of the lesions is present again (`is_back`), which is PD.
    """
    total = float(np.nansum(sizes))
    if all_gone(sizes, nodes):
        return 'CR'
    if is_progression(total, nadir) or relapse:
        return 'PD'
    if np.isnan(sizes).any():
        return 'NE'
    return 'PR' if total <= LESS * baseline + EPSILON else 'SD'


def nontarget_response(sizes: np.ndarray, nodes: np.ndarray, volume: float, nadir: float, relapse: bool = False) -> str:
    """The response of the non-target lesions: CR, non-CR/non-PD, PD or NE.

    'Unequivocal progression' is the reader's judgement. The rule used here follows the guideline's comparison for
    non-measurable disease, a 73 % increase in volume, which is that of a sphere with a 20 % larger diameter: the sphere
    of the total volume has a 20 % and 5 mm larger diameter. Tumour markers are not known here.

    Args:
      sizes: `[N]` mm, see `recorded_size`.
      nodes: `[N]` bool.
      volume: total volume of the evaluated lesions, ml.
      nadir: smallest earlier volume, ml.
      relapse: see `target_response`.
    """
    if all_gone(sizes, nodes):
        return 'CR'
    diameter, smallest = (2 * (3000 * v / (4 * math.pi)) ** (1 / 3) for v in (volume, nadir))
    if is_progression(diameter, smallest) or relapse:
        return 'PD'
    return 'NE' if np.isnan(sizes).any() else 'non-CR/non-PD'


def overall_response(target: str | None, nontarget: str | None, new: bool) -> str:
    """The response at a time point by tables 1 and 2 of the guideline.

    Args:
      target: response of the target lesions; None where there were none at the baseline.
      nontarget: response of the non-target lesions; None where there were none.
      new: whether there is a new lesion.
    """
    if new or 'PD' in (target, nontarget):
        return 'PD'
    if target is None:
        return nontarget or 'NE'
    return 'PR' if target == 'CR' and nontarget not in (None, 'CR') else target


def best_response(responses: Sequence[str], weeks: Sequence[float], confirm: bool = False, stable: float = 6.0) -> str:
    """The best overall response up to the first PD.

    With confirmation (table 3 of the guideline) a CR requires another CR, and a PR another PR or a CR, at least four
    weeks later, with nothing but NE or the same in between. SD requires `stable` weeks since the baseline; a shorter SD
    counts as PD if PD followed, else as NE. SD after a CR is PD. A PR after a CR makes that CR a PR, the third reading
    of the table: here, lesions that return after a CR are PD at their own visit.

    Args:
      responses: at the visits after the baseline, see `overall_response`.
      weeks: of these visits, since the baseline.
      confirm: whether CR and PR have to be confirmed.
      stable: weeks.
    """
    counted: list[str] = []
    for response in responses:
        counted.append('PD' if response in STABLE and 'CR' in counted else response)
        if counted[-1] == 'PD':
            break
    for best, accepted in (('CR', ('CR',)), ('PR', ('CR', 'PR'))):
        for first, response in enumerate(counted):
            if response in accepted and (not confirm or _is_confirmed(counted, weeks, first, accepted)):
                return best
    if any(response not in ('PD', 'NE') and week >= stable for response, week in zip(counted, weeks)):
        return 'non-CR/non-PD' if 'non-CR/non-PD' in counted else 'SD'
    return 'PD' if 'PD' in counted else 'NE'


def _is_confirmed(responses: Sequence[str], weeks: Sequence[float], first: int, accepted: Sequence[str]) -> bool:
    for response, week in zip(responses[first + 1:], weeks[first + 1:]):
        if response in accepted and week - weeks[first] >= CONFIRMED:
            return True
        if response not in (*accepted, 'NE'):
            return False
    return False


def volumetric_response(volume: float, baseline: float, nadir: float, gone: bool, new: bool) -> str:
    """The response by the total volume of all lesions: CR, PR, SD, PD or NE.

    There is no single standard. The limits are RECIST's for spheres, that is, their cubes: PR from -65.7 % of the
    baseline, PD from +72.8 % of the nadir, as the 65 % and 73 % of Therasse 2000 (J Natl Cancer Inst 92:205) and the
    73 % of Eisenhauer 2009. RANO 2.0 for gliomas (Wen 2023) has -65 % and +40 %.

    Args:
      volume: ml; NaN where a lesion was not evaluated.
      baseline: volume at the baseline, ml.
      nadir: smallest earlier volume, ml.
      gone: no lesion is left.
      new: there is a new lesion.
    """
    if new or (volume >= VOLUMES[1] * nadir - EPSILON and volume > nadir):
        return 'PD'
    if math.isnan(volume):
        return 'NE'
    if gone:
        return 'CR'
    return 'PR' if volume <= VOLUMES[0] * baseline + EPSILON else 'SD'


def percist_response(peak: float, baseline: float, gone: bool, new: bool) -> str:
    """The response by uptake, after PERCIST 1.0 (Wahl 2009, J Nucl Med 50:122S): CMR, PMR, SMD, PMD or NE.

    PMR is a decrease of 30 % and 0.8 units in the hottest lesion (not necessarily the same one) from the baseline; PMD
    is an increase by as much, or a new lesion; CMR is that no lesion is left. Differences from PERCIST: values are used
    as in the image, whether or not they are normalised by lean body mass; lesions are those of the mask, whereas
    PERCIST compares with liver and blood pool; total glycolysis is not used.

    Args:
      peak: of the hottest lesion, see `metrics.lesions.peak_uptake`; NaN where not known.
      baseline: the same at the baseline.
      gone: no lesion is left.
      new: there is a new lesion.
    """
    if math.isnan(baseline) or (math.isnan(peak) and not gone):
        return 'NE'
    if new:
        return 'PMD'
    if gone:
        return 'CMR'
    if abs(peak - baseline) < max(UPTAKE[0] * baseline, UPTAKE[1]) - EPSILON:
        return 'SMD'
    return 'PMR' if peak < baseline else 'PMD'
