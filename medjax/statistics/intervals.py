"""Every figure of a classification with its confidence interval: the bootstrap over patients, or DeLong's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.metrics import classification
from medjax.statistics import calibration, delong
from medjax.tasks.classification.table import Cases

DEFINED = 0.9  # of the resamples must have the figure: of fewer the interval would be one of chosen resamples
OF_CLASS = ('auroc', 'sensitivity', 'specificity', 'precision')  # what several classes have one by one

Figures = dict[str, np.ndarray]


def figures(cases: Cases, weight: np.ndarray | None = None) -> Figures:
    """All figures of some cases, as `[...]` for `weight [..., n]`, by their names in `results.json`.

    Those of `metrics.classification` and the calibration errors; `NAME_CLASS` is of one class or label alone.
    """
    found = classification.compute(cases.targets, cases.probs, weight)
    for name, mass in (('ece', False), ('ece_adaptive', True)):
        each = [calibration.expected_error(part.targets, part.probs, None if weight is None else weight[..., mask],
                                           equal_mass=mass) for _, part, mask in cases.parts()]
        found[name] = classification.mean(each)
        if cases.multilabel:
            found |= {(name, k): values for k, values in enumerate(each)}
    out = {}
    for key, values in found.items():
        name, k = (key, None) if isinstance(key, str) else key
        ordinal = name != 'kappa_weighted' or cases.problem == 'ordinal'
        of_label = cases.multilabel and name != 'f1_micro'
        if ordinal and (k is None or of_label or name in OF_CLASS):
            out[name if k is None else f'{name}_{cases.classes[k]}'] = values
    return out


def why(name: str) -> str:
    """Why the figure of that name, with or without a class's, is not defined."""
    known = classification.UNDEFINED | {'ece': 'no case', 'ece_adaptive': 'no case'}
    base = max((word for word in known if name == word or name.startswith(f'{word}_')), key=len, default='')
    return known.get(base, 'not defined')


def multiplicities(patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each case is drawn where patients are, with replacement: `[resamples, n]` uint8.

    All cases of a patient come together. No patient is drawn 256 times: of 256 or more the chance is nothing.
    """
    names, where = np.unique(patients, return_inverse=True)
    rng, count = np.random.default_rng(seed), len(names)
    out = np.empty((resamples, len(patients)), np.uint8)
    if not count:
        return out
    step = max(1, classification.BLOCK // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        out[start:start + rows] = times.astype(np.uint8)[:, where]
    return out


def entry(value: float, samples: np.ndarray, patients: np.ndarray, reason: str) -> dict[str, Any]:
    """A figure as `results.json` has it.

    Args:
      value: on the cases as they are.
      samples: `[resamples]` on the resamples, NaN where it is not defined.
      patients: `[n]`, of the cases that count.
      reason: why it would not be defined, in words.

    Returns:
      `value`; `ci95` [low, high], the percentile bootstrap's, or None; `n` patients; `cases`; `unit`; `method` and
      `resamples`, those in which the figure is defined, where there is an interval; `why` where one of both is missing.
    """
    n = len(np.unique(patients))
    out = {'value': float(value), 'ci95': None, 'n': n, 'cases': len(patients), 'unit': 'patient'}
    if np.isnan(value):
        return out | {'why': reason}
    if n == 1:
        return out | {'why': 'one patient: no confidence interval'}
    defined = samples[~np.isnan(samples)]
    if len(defined) < DEFINED * len(samples):
        return out | {'why': f'not defined in {len(samples) - len(defined)} of {len(samples)} resamples ({reason}): '
                             'no confidence interval'}
    limits = np.percentile(defined, [2.5, 97.5])
    return out | {'ci95': [float(limit) for limit in limits], 'method': 'bootstrap', 'resamples': len(defined)}


def entries(cases: Cases, values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Figures with intervals: `values []` of the cases and `samples [resamples]`, by name.

    A figure of one label counts the patients in whom that is known.
    """
    of = {f'_{name}': part.patients for name, part, _ in cases.parts() if name}
    out = {}
    for name, value in values.items():
        label = max((end for end in of if name.endswith(end)), key=len, default=None)
        patients = of[label] if label else cases.patients[cases.judged]
        out[name] = entry(float(value), samples[name], patients, why(name))
    return out


def with_intervals(cases: Cases, draws: np.ndarray) -> dict[str, dict[str, Any]]:
    """Each of `figures` with its interval from `draws [resamples, n]`; see `entry`.

    Where each patient has one case, the AUROC of a class against all others has DeLong's instead.
    """
    out = entries(cases, figures(cases), figures(cases, draws))
    for end, part, _ in cases.parts():
        if len(np.unique(part.patients)) < len(part):
            continue
        one_by_one = [(1, 'auroc')] if part.binary else [(k, f'auroc_{name}') for k, name in enumerate(part.classes)]
        for k, name in one_by_one:
            key = f'{name}_{end}' if end else name
            if out[key]['n'] > 1 and not np.isnan(out[key]['value']):
                known = {field: out[key][field] for field in ('value', 'n', 'cases', 'unit')}
                area, variance = delong.auroc(part.targets == k, part.probs[:, k])
                out[key] = known | {'method': 'DeLong'} | delong.interval(area, variance)
    return out
