"""Response to treatment as rules on measured lesions: RECIST 1.1, its like by volume, and PERCIST's like by uptake.

RECIST 1.1 is Eisenhauer 2009 (Eur J Cancer 45:228), with the answers of its authors' group (EORTC) where it leaves a
question open. What it leaves to a reader's judgement is put into numbers here, and each such rule says so.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.metrics.lesions import Finding

TOO_SMALL = 5.0  # mm, of what is there but cannot be measured
MEASURABLE, NODE, PATHOLOGICAL = 10.0, 15.0, 10.0  # mm: longest diameter, short axes
NODES = 2  # targets: nodes count as one organ (EORTC), of which two may be targets
LESS, MORE, AT_LEAST = 0.7, 1.2, 5.0  # of the baseline; of the nadir, and mm above it
VOLUMES = LESS**3, MORE**3  # of balls whose diameters change so: -65.7 % and +72.8 %
UPTAKE = 0.3, 0.8  # share of the baseline, and units
CONFIRMED = 4.0  # weeks until a response counts as confirmed
EPSILON = 1e-6  # for the rounding of shares
STABLE = ('SD', 'non-CR/non-PD')
RESPONSES = ('CR', 'PR', *STABLE, 'PD', 'NE')
Key = tuple[str, int]


def size(of: Finding) -> float:
    """What RECIST records of a lesion, mm: a node's short axis, else the longest diameter.

    0 where it is gone, 5 mm where it is there but too small to measure, NaN where it was not evaluated.
    """
    if of.state != 'there':
        return math.nan if of.state == 'not evaluated' else 0.0
    return (of.short if of.kind == 'node' else of.longest) or TOO_SMALL


def roles(findings: Mapping[Key, Finding], most: int = 5) -> dict[Key, str]:
    """Which lesions of the baseline are targets.

    Measurable are lesions of 10 mm (of two slices where these are thicker than 5 mm) and nodes of 15 mm short axis; of
    those the longest are targets. The guideline's two per organ is held for nodes, its one known organ.

    Args:
      findings: at the baseline.
      most: targets of a patient; 2 where all lesions are of one organ.

    Returns:
      'target', 'nontarget' or, of nodes below 10 mm, 'normal'.
    """
    out, room = {}, {'all': most, 'node': NODES}
    for key, of in sorted(findings.items(), key=lambda item: -item[1].longest):
        node = of.kind == 'node'
        least = NODE if node else max(MEASURABLE, 2 * of.thickness if of.thickness > 5 else 0)
        able = of.kind != 'nontarget' and (of.short if node else of.longest) >= least - EPSILON
        if able and room['all'] and (room['node'] or not node):
            room['all'] -= 1
            room['node'] -= node
            out[key] = 'target'
        else:
            out[key] = 'normal' if node and size(of) < PATHOLOGICAL else 'nontarget'
    return out


def vanished(sizes: np.ndarray, nodes: np.ndarray) -> bool:
    """Whether lesions `sizes [N]` mm are gone, and those that are `nodes [N]` bool below 10 mm; False if one is NaN."""
    return bool(np.where(nodes, sizes < PATHOLOGICAL, sizes == 0).all())


def grown(value: float, least: float) -> bool:
    """Whether a sum of diameters is 20 % above the least one so far, and 5 mm."""
    return value >= MORE * least - EPSILON and value - least >= AT_LEAST - EPSILON


def target_response(sizes: np.ndarray, nodes: np.ndarray, baseline: float, nadir: float, relapse: bool = False) -> str:
    """The target lesions' response: CR, PR, SD, PD or NE.

    If some were not evaluated it is NE, unless the others alone make PD. Nodes below 10 mm are no disease, whatever
    their sum does. Each visit is judged by its own sum: a reader may go on to call PR what after a confirmed PR has
    grown by less than PD asks (EORTC), which changes no best response.

    Args:
      sizes: `[N]` mm, see `size`.
      nodes: `[N]` bool.
      baseline: the sum then.
      nadir: the smallest sum before, with the baseline's.
      relapse: a CR of the patient was reached before: any lesion that is there again is PD.
    """
    total = float(np.nansum(sizes))
    if vanished(sizes, nodes):
        return 'CR'
    if grown(total, nadir) or relapse and not vanished(np.nan_to_num(sizes), nodes):
        return 'PD'
    if np.isnan(sizes).any():
        return 'NE'
    return 'PR' if total <= LESS * baseline + EPSILON else 'SD'


def nontarget_response(sizes: np.ndarray, nodes: np.ndarray, volume: float, least: float, relapse: bool = False) -> str:
    """The non-target lesions' response: CR, non-CR/non-PD, PD or NE.

    'Unequivocal progression' is a reader's judgement. The guideline's help for disease that is not measured, 73 % more
    volume as of a ball with 20 % more diameter, is the rule here: the ball of their total volume has 20 % and 5 mm more
    diameter. Tumour markers are not known here.

    Args:
      sizes: `[N]` mm, see `size`.
      nodes: `[N]` bool.
      volume: ml in all, of those evaluated.
      least: its smallest value before.
      relapse: see `target_response`.
    """
    if vanished(sizes, nodes):
        return 'CR'
    ball, smallest = (2 * (3000 * v / (4 * math.pi)) ** (1 / 3) for v in (volume, least))
    if grown(ball, smallest) or relapse and not vanished(np.nan_to_num(sizes), nodes):
        return 'PD'
    return 'NE' if np.isnan(sizes).any() else 'non-CR/non-PD'


def overall(target: str | None, nontarget: str | None, new: bool) -> str:
    """The response at a time point, by the guideline's tables 1 and 2; None where there were no such lesions."""
    if new or 'PD' in (target, nontarget):
        return 'PD'
    if target is None:
        return nontarget or 'NE'
    return 'PR' if target == 'CR' and nontarget not in (None, 'CR') else target


def best(responses: Sequence[str], weeks: Sequence[float], confirm: bool = False, stable: float = 6.0) -> str:
    """The best overall response, of what came until the first PD.

    With confirmation (the guideline's table 3) a CR needs another, and a PR another or a CR, four weeks later or more,
    with nothing but NE or the same between. SD needs `stable` weeks since the baseline; without, it is PD if that
    followed, else NE. SD after a CR is PD. A PR after a CR makes that a PR, which is the table's third reading: lesions
    that return after a CR are PD at their own visit here.

    Args:
      responses: at the visits after the baseline, see `overall`.
      weeks: of these visits, since the baseline.
      confirm: whether a CR or PR must be confirmed.
      stable: weeks.
    """
    seen: list[str] = []
    for response in responses:
        seen.append('PD' if response in STABLE and 'CR' in seen else response)
        if seen[-1] == 'PD':
            break
    for wanted, by in (('CR', ('CR',)), ('PR', ('CR', 'PR'))):
        for first, response in enumerate(seen):
            if response in by and (not confirm or _again(seen, weeks, first, by)):
                return wanted
    if any(response not in ('PD', 'NE') and week >= stable for response, week in zip(seen, weeks)):
        return 'non-CR/non-PD' if 'non-CR/non-PD' in seen else 'SD'
    return 'PD' if 'PD' in seen else 'NE'


def _again(seen: Sequence[str], weeks: Sequence[float], first: int, by: Sequence[str]) -> bool:
    for response, week in zip(seen[first + 1:], weeks[first + 1:]):
        if response in by and week - weeks[first] >= CONFIRMED:
            return True
        if response not in (*by, 'NE'):
            return False
    return False


def volumetric(volume: float, baseline: float, nadir: float, gone: bool, new: bool) -> str:
    """Response by the volume of all lesions, ml: CR, PR, SD, PD or NE.

    There is no one standard. The limits are RECIST's for balls, their cubes: PR from -65.7 % of the baseline, PD from
    +72.8 % of the nadir, as the 65 % and 73 % of Therasse 2000 (J Natl Cancer Inst 92:205) and the 73 % of Eisenhauer
    2009. RANO 2.0 for gliomas (Wen 2023) has -65 % and +40 %.
    """
    if new or volume >= VOLUMES[1] * nadir - EPSILON and volume > nadir:
        return 'PD'
    if math.isnan(volume):
        return 'NE'
    return 'CR' if gone else 'PR' if volume <= VOLUMES[0] * baseline + EPSILON else 'SD'


def percist(peak: float, baseline: float, gone: bool, new: bool) -> str:
    """Response by uptake in the manner of PERCIST 1.0 (Wahl 2009, J Nucl Med 50:122S): CMR, PMR, SMD, PMD or NE.

    PMR is 30 % and 0.8 units less in the hottest lesion (not always the same one) than at the baseline, PMD as much
    more or a new lesion, CMR that no lesion is left. It differs from PERCIST: values are taken as the image has them,
    by lean body mass or not; lesions are the mask's, where PERCIST compares with liver and blood pool; total glycolysis
    does not count.

    Args:
      peak: of the hottest lesion, see `metrics.lesions.peak`; NaN where it is not known.
      baseline: the same then.
      gone: no lesion is left.
      new: there is a new one.
    """
    if math.isnan(baseline) or math.isnan(peak) and not gone:
        return 'NE'
    if new or gone:
        return 'PMD' if new else 'CMR'
    much = abs(peak - baseline) >= max(UPTAKE[0] * baseline, UPTAKE[1]) - EPSILON
    return ('PMR' if peak < baseline else 'PMD') if much else 'SMD'

