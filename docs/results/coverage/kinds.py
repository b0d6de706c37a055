"""Simulated data sets whose true metrics are known, with the intervals that reports give for them.

Each kind of data draws n patients, and computes entries as of `results.json` by the functions of the reports. The true
value of a metric is a formula, or the mean over large data sets of the same kind.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import special

from medjax.metrics import classification as scores
from medjax.metrics import regression, uncertainty
from medjax.metrics.box_matching import ImageBoxes
from medjax.metrics.classification import weighted_mean
from medjax.statistics import delong, intervals, paired, per_patient, predictive_values, recalibration
from medjax.tasks.classification import fairness, probability_analysis, uncertainty_analysis
from medjax.tasks.classification import intervals as classification
from medjax.tasks.classification.table import Cases
from medjax.tasks.detection import summary as detection
from medjax.tasks.detection.table import Table
from medjax.tasks.forecasting import summary as forecasting
from medjax.tasks.forecasting.table import Predictions as Visits
from medjax.tasks.survival import summary as survival
from medjax.tasks.survival.table import Predictions as Survival
from medjax.tasks.synthesis import summary as synthesis
from medjax.tasks.treatment import summary as treatment
from medjax.tasks.treatment.table import Predictions as Treatment

Entries = Mapping[str, Mapping[str, Any]]
LARGE = 20_000  # patients of a data set that gives a true value
LEAD_TIME = 2.0
RESAMPLES = 400  # of the paired bootstrap
THRESHOLD = 0.3  # of the net benefit
MISSED, DIAGONAL = 0.05, 200.0  # share of missed structures, and their distance in mm
DICE, DISTANCE = 12 / 14, np.exp(1 + 0.5**2 / 2)  # of structures that are found


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
      draw: `(rng, n) -> data` of n patients.
      entries: `(data) -> {metric: entry}`, as a report computes them.
      values: `(data) -> {metric: value}`, without intervals; by default the values of `entries`.
      true: true values that are known by a formula.
      labels: what the table calls each metric; others are not counted.
      large: patients, and number, of the data sets whose mean is a true value.
      sizes: numbers of patients.
      of_this_size: metrics whose true value is the expectation for n patients, as they have a bias in small samples.
    """

    draw: Callable[[np.random.Generator, int], Any]
    entries: Callable[[Any], Entries]
    labels: Mapping[str, str]
    values: Callable[[Any], Mapping[str, Any]] = lambda data: {}
    true: Mapping[str, float] = dataclasses.field(default_factory=dict)
    large: tuple[int, int] = (LARGE, 5)
    sizes: tuple[int, ...] = (10, 20, 50, 200)
    of_this_size: tuple[str, ...] = ()


def over_patients(metrics: Callable[..., Mapping[str, np.ndarray]]) -> Callable[[Any], Entries]:
    """The entries of metrics `(data, weight) -> {name: [...]}` of data with the attribute `patients`."""
    def entries(data: Any) -> Entries:
        values, samples = metrics(data), metrics(data, intervals.left_out(data.patients))
        return {name: intervals.entry(float(values[name]), samples[name], data.patients, '', name) for name in values}
    return entries


def less(entry: Mapping[str, Any], true: float) -> dict[str, Any]:
    """An entry whose interval is less the true value of its data set, which then is 0."""
    limits = entry.get('ci95')
    return {**entry, 'ci95': limits and [end - true for end in limits]}


@dataclasses.dataclass(frozen=True)
class Columns:
    """Numbers of cases, by the name of a metric."""

    patients: np.ndarray
    values: Mapping[str, np.ndarray]


def clusters(rng: np.random.Generator, n: int) -> np.ndarray:
    """The patient of each case, of n patients with one to four cases."""
    return np.repeat(np.arange(n), rng.integers(1, 5, n))


# Means over patients: segmentation, signals, translation.

def mean_data(rng: np.random.Generator, n: int) -> Columns:
    """Overlaps, distances and fidelities of one case a patient."""
    missed = rng.random(n) < MISSED
    return Columns(np.arange(n), {
        'dice_a': rng.beta(12, 2, n), 'dice_lesion': np.where(missed, 0.0, rng.beta(12, 2, n)),
        'hd95_lesion': np.where(missed, DIAGONAL, rng.lognormal(1, 0.5, n)), 'missed_lesion': missed.astype(float),
        'hd95_a': rng.lognormal(1, 0.5, n),
        'hd95_skewed': rng.lognormal(1, 0.8, n), 'psnr': rng.normal(30, 2, n), 'f1': 1 - rng.beta(0.3, 6, n),
        'gain_psnr': rng.normal(0.5, 1, n) + rng.exponential(0.5, n)})


def clustered_mean_data(rng: np.random.Generator, n: int) -> Columns:
    """Dice of several cases a patient, which are alike."""
    patients = clusters(rng, n)
    level = special.logit(rng.beta(12, 3, n))[patients] + rng.normal(0, 0.5, len(patients))
    return Columns(patients, {'dice_a': special.expit(level)})


def mean_entries(data: Columns) -> Entries:
    """Means over patients, as of segmentation, signals and translation.

    Of missed structures the true mean is that of the found ones in samples without a missed one, as the report says.
    """
    rows = [{'id': number, 'patient': f'p{patient}', **{name: values[number] for name, values in data.values.items()}}
            for number, patient in enumerate(data.patients)]
    found = per_patient.summarise(rows, [name for name in data.values if name != 'missed_lesion'])
    for name, true, worst in (('dice_lesion', DICE, 0.0), ('hd95_lesion', DISTANCE, DIAGONAL)):
        if name in found:
            found['missed'] = {'value': data.values['missed_lesion'].mean(), 'ci95': found[name]['failures95']}
            missed = MISSED if found[name]['missed'] else 0.0
            found[name] = less(found[name], (1 - missed) * true + missed * worst)
    return found


def column_means(data: Columns, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Means over cases."""
    weight = np.ones(len(data.patients)) if weight is None else weight
    return {name: weighted_mean(values, weight) for name, values in data.values.items()}


# Classification, and the comparison of two classifications.

def posterior(score: np.ndarray, distance: float, share: float) -> np.ndarray:
    """The probability of the positive class for normal scores whose means are `distance` apart."""
    return special.expit(distance * score - distance**2 / 2 + special.logit(share))


def cases(patients: np.ndarray, positive: np.ndarray, probability: np.ndarray) -> Cases:
    """Probabilities of two classes as a table of cases."""
    ids = tuple(map(str, range(len(patients))))
    return Cases('binary', ('healthy', 'sick'), ids, patients, positive.astype(int),
                 np.stack([1 - probability, probability], -1))


def two_classes(rng: np.random.Generator, n: int, least: int = 2, share: float = 0.5) -> np.ndarray:
    """n targets, with at least some of each class."""
    while True:
        positive = rng.random(n) < share
        if least <= positive.sum() <= n - least:
            return positive


def classification_data(distance: float, share: float) -> Callable[[np.random.Generator, int], Cases]:
    """Cases with normal scores of that distance between the classes, and their posterior probabilities."""
    def draw(rng: np.random.Generator, n: int) -> Cases:
        positive = two_classes(rng, n, share=share)
        return cases(np.arange(n), positive, posterior(rng.normal(distance * positive), distance, share))
    return draw


def clustered_classification_data(rng: np.random.Generator, n: int) -> Cases:
    """Patients with several images, such as two breasts, of which each may be sick."""
    patients = clusters(rng, n)
    positive = two_classes(rng, len(patients))
    effect = rng.normal(0, 1, n)[patients] * np.sqrt(0.5)
    return cases(patients, positive, posterior(1.5 * positive + effect + rng.normal(0, np.sqrt(0.5), len(patients)),
                                               1.5, 0.5))


def other_metrics(data: Cases, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The metrics of a classification without an interval of their own, and its proportions."""
    found = scores.decision_metrics(data.targets, data.probs.argmax(1), 2, draws)
    square, log = scores.case_losses(data.targets, data.probs)
    weight = np.ones(len(data)) if draws is None else draws
    return found | {'brier': weighted_mean(square, weight), 'log_loss': weighted_mean(log, weight)}


def classification_entries(data: Cases) -> Entries:
    """The metrics of a classification, as a report has them."""
    without = intervals.left_out(data.patients)
    areas = dict(zip(('auroc', 'auprc'), scores.auroc_and_auprc(data.targets == 1, data.probs[:, 1])))
    found = classification.metric_entries(data, other_metrics(data) | areas, other_metrics(data, without))
    curve = probability_analysis.decision_results(data.targets == 1, data.probs[:, 1], data.patients, without,
                                                  (THRESHOLD, 2 * THRESHOLD))
    limits = [curve['low'][0], curve['high'][0]]
    return found | {'aurc': uncertainty_analysis.selective_results(data, data.probs.max(1), without)['aurc'],
                    'net_benefit': {'value': curve['model'][0], 'ci95': None if np.isnan(limits).any() else limits}}


def true_net_benefit(distance: float) -> float:
    """The net benefit at THRESHOLD for `posterior` probabilities of classes that are equally frequent."""
    limit = special.logit(THRESHOLD) / distance + distance / 2
    odds = THRESHOLD / (1 - THRESHOLD)
    return (special.ndtr(distance - limit) - odds * special.ndtr(-limit)) / 2


def closed_entries(data: Cases) -> Entries:
    """The metrics with intervals of their own, and the Brier score."""
    values = classification.compute_metrics(data)
    chosen = ('auroc', 'auprc', 'accuracy', 'sensitivity', 'specificity', 'ece', 'ece_adaptive', 'brier')
    square = (data.probs[:, 1] - data.targets)**2
    samples = {'brier': weighted_mean(square, intervals.left_out(data.patients))}
    return classification.metric_entries(data, {name: values[name] for name in chosen}, samples)


def classification_values(data: Cases) -> dict[str, Any]:
    """The same without intervals."""
    wrong = data.probs.argmax(1) != data.targets
    area = uncertainty.area_under_risk_coverage(data.probs.max(1), wrong.astype(float))
    return classification.compute_metrics(data) | {'aurc': area}


def paired_data(rng: np.random.Generator, n: int) -> tuple[Cases, Cases]:
    """Two classifications of the same cases, one better than the other."""
    positive = two_classes(rng, n)
    shared = rng.normal(0, 1, n)
    return tuple(cases(np.arange(n), positive, special.expit(distance * positive - distance / 2 + 0.7 * shared
                                                             + 0.7 * rng.normal(0, 1, n)))
                 for distance in (1.8, 1.2))


def case_metrics(part: Cases, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Metrics that are compared."""
    weight = np.ones(len(part)) if draws is None else draws
    return {'auroc': scores.auroc_and_auprc(part.targets == 1, part.probs[:, 1], draws)[0],
            'accuracy': weighted_mean(part.probs.argmax(1) == part.targets, weight),
            'brier': weighted_mean((part.probs[:, 1] - part.targets)**2, weight)}


def paired_values(data: tuple[Cases, Cases]) -> dict[str, np.ndarray]:
    """Differences of the metrics of two classifications."""
    a, b = map(case_metrics, data)
    return {name: a[name] - b[name] for name in a}


def paired_entries(data: tuple[Cases, Cases]) -> Entries:
    """Differences as a comparison of runs gives them, and those of DeLong's test."""
    a, b = data
    hits = tuple(part.probs.argmax(1) == part.targets for part in data)
    (found,), _ = paired.compare(
        {'a': a, 'b': b}, case_metrics, lambda part, name: np.ones(len(part), bool), a.patients, [('a', 'b')],
        hits=lambda *_: {'accuracy': hits}, resamples=RESAMPLES)
    test = delong.auroc_test(a.targets == 1, a.probs[:, 1], b.probs[:, 1])
    return {name: entry['difference'] for name, entry in found['metrics'].items()} | {
        'delong': {'value': test['difference'], 'ci95': test['ci95'], 'method': 'DeLong'}}


def conformal_data(rng: np.random.Generator, n: int) -> tuple[Cases, Cases]:
    """Validation cases that set a threshold, and test cases."""
    draw = classification_data(1.5, 0.5)
    return draw(rng, 100), draw(rng, n)


def conformal_entries(data: tuple[Cases, Cases]) -> Entries:
    """The share of new cases that are covered, less its true value, which depends on the threshold."""
    found = uncertainty_analysis.conformal_results(*data, intervals.left_out(data[1].patients), 0.9, 'val')
    # The true class is in the set where its posterior is above the threshold: of either class a normal tail.
    limit = special.logit(max(found['threshold'], 1e-12))
    true = special.ndtr((1.5**2 / 2 - limit) / 1.5)
    return {'coverage': less(found['coverage'], true)}


# Survival, forecasting, treatment, regression, detection, synthesis.

def survival_data(rng: np.random.Generator, n: int) -> Survival:
    """Times with a proportional hazard and independent censoring, and the true curves as predictions."""
    score, grid = rng.normal(0, 1, n), np.linspace(0.1, 1.5, 15)
    event, censored = rng.exponential(np.exp(-score)), rng.exponential(1.5, n)
    incidence = 1 - np.exp(-grid * np.exp(score)[:, None])
    return Survival(('death',), tuple(map(str, range(n))), np.arange(n), np.minimum(event, censored),
                    (event <= censored).astype(int), score[:, None], grid, incidence[:, None])


def survival_values(data: Survival, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The metrics of survival."""
    return survival.compute_metrics(data, [0.7], draws)


def survival_entries(data: Survival) -> Entries:
    """The same with intervals, and the Kaplan–Meier estimate.

    The times of an integrated Brier score end with the last follow-up, so that its true value differs by data set.
    """
    found = survival.entries(data, survival_values(data), survival_values(data, intervals.left_out(data.patients)))
    grid = data.grid[data.grid < data.time.max()]
    if len(grid) > 1:
        found['ibs'] = less(found['ibs'], np.trapezoid([true_brier(at) for at in grid], grid) / np.ptp(grid))
    return found | kaplan_meier_entry(data)


def kaplan_meier_entry(data: Survival) -> Entries:
    """The Kaplan–Meier estimate at a time, where data do not end before it."""
    value, low, high = (float(part[()]) for part in data.event_free(0, np.ones(len(data.ids), bool)).at(0.7))
    limits = None if value in (0, 1) or data.time.max() < 0.7 else [low, high]
    return {'kaplan_meier': {'value': value, 'ci95': limits, 'method': 'log-log'}}


def clustered_survival_data(rng: np.random.Generator, n: int) -> Survival:
    """Patients with several lesions, whose hazards are alike."""
    patients = clusters(rng, n)
    score = rng.normal(0, 1, n)[patients]
    event, censored = rng.exponential(np.exp(-score)), rng.exponential(1.5, len(patients))
    return Survival(('death',), tuple(map(str, range(len(patients)))), patients, np.minimum(event, censored),
                    (event <= censored).astype(int), score[:, None], np.array([1.0]), np.zeros((len(patients), 1, 1)))


@functools.cache
def true_brier(at: float) -> float:
    """The Brier score at a time of true predictions: the mean over standard normal scores of S (1 - S)."""
    return survival_without_event(at) - over_scores(lambda score: np.exp(-2 * at * np.exp(score)))


def over_scores(of: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean over standard normal scores, by Gauss–Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    return float((of(nodes) * weights).sum() / weights.sum())


def survival_without_event(at: float) -> float:
    """The share of patients without an event by a time."""
    return over_scores(lambda score: np.exp(-at * np.exp(score)))


def forecast_data(rng: np.random.Generator, n: int) -> Visits:
    """Visits with a value and an event within LEAD_TIME, partly censored."""
    patients = clusters(rng, n)
    size, level = len(patients), rng.normal(0, 1, n)[patients]
    current = level + rng.normal(0, 0.5, size)
    following = level + rng.normal(0, 0.5, size)
    risk = rng.normal(0, 1, n)[patients]
    event, censored = rng.exponential(3 * np.exp(-1.2 * risk)), rng.exponential(6, size)
    gap, ended = np.minimum(event, censored), (event <= censored).astype(int)
    occurs = (ended == 1) & (gap <= LEAD_TIME)
    chance = 1 - np.exp(-LEAD_TIME / 3 * np.exp(1.2 * risk))
    return Visits(patients, np.zeros(size), np.ones(size), ('x',), current[:, None], following[:, None],
                  {'': 0.8 * current[:, None], 'carried': current[:, None]}, ('death',), occurs[:, None],
                  (occurs | (gap > LEAD_TIME))[:, None], gap, ended, {'': chance[:, None]}, LEAD_TIME)


def forecast_values(data: Visits, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The metrics of forecasting."""
    return forecasting.compute_metrics(data, (), draws)


def treatment_data(rng: np.random.Generator, n: int) -> Treatment:
    """A randomised trial with known effects."""
    x, given = rng.normal(0, 1, n), (rng.random(n) < 0.5).astype(int)
    effect, predicted = 1 + x, 0.8 + 0.7 * x + rng.normal(0, 0.3, n)
    outcome = x + given * effect + rng.normal(0, 1, n)
    return Treatment(np.arange(n), given, outcome, {'': np.stack([x, x + predicted], -1)}, np.full(n, 2.0),
                     effect + rng.normal(0, 1, n), effect)


def regression_data(rng: np.random.Generator, n: int) -> Columns:
    """Measured and predicted numbers."""
    x = rng.normal(0, 1, n)
    return Columns(np.arange(n), {'measured': x + rng.normal(0, 0.7, n), 'predicted': 0.9 * x + 0.1})


def regression_values(data: Columns, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The metrics of regression."""
    return regression.compute_metrics(data.values['measured'], data.values['predicted'], draws)


def detection_data(rng: np.random.Generator, n: int) -> Table:
    """Images with one to four squares of 20 pixels, of which some are found, and with false boxes."""
    images = []
    for _ in range(n):
        objects, false, skill = rng.integers(1, 5), rng.poisson(0.7), rng.beta(8, 2)
        corners = np.stack([np.arange(objects) * 40.0, np.zeros(objects)], -1)
        found = corners[rng.random(objects) < skill]
        found = np.concatenate([found + rng.normal(0, 1.5, found.shape),
                                np.stack([np.arange(false) * 40.0, np.full(false, 200.0)], -1)])
        right = np.arange(len(found)) < len(found) - false
        images.append(ImageBoxes(np.concatenate([corners, corners + 20], -1), np.zeros(objects, int),
                                 np.concatenate([found, found + 20], -1), np.zeros(len(found), int),
                                 special.expit(rng.normal(1.5 * right - 0.3))))
    sizes = tuple(np.full(len(image.true_boxes), 400.0) for image in images)
    return Table(('cell',), 2, tuple(map(str, range(n))), np.arange(n), tuple(images), sizes)


def detection_values(data: Table, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The metrics of detection at a score of 0.5."""
    return detection.metric_values(data, 0.5, (1024, 9216), draws)


def detection_entries(data: Table) -> Entries:
    """The same with intervals."""
    return detection.entries(data, 0.5, (1024, 9216))


def synthesis_data(rng: np.random.Generator, n: int) -> list[dict[str, Any]]:
    """Features of n real and n generated images, of which the mean and the spread differ."""
    x, y = rng.normal(0, 1, (n, 4)), rng.normal(0.4, 0.8, (n, 4))
    return [{'split': 'test', 'id': f'{kind}{number}', 'kind': kind, 'target': 'a', 'patient': f'{kind}{number}',
             **{f'pixels_{place:02d}': value for place, value in enumerate(row)}}
            for kind, rows in (('real', x), ('synthetic', y)) for number, row in enumerate(rows)]


def synthesis_entries(data: list[dict[str, Any]]) -> Entries:
    """The metrics of image synthesis."""
    return synthesis.summarise(data, ('a',))['metrics']['test']


# Tests against chance: the share of data sets without an effect in which p is above 0.05.

def fairness_data(rng: np.random.Generator, n: int) -> tuple[Cases, np.ndarray]:
    """Cases whose four groups do not differ."""
    return classification_data(1.5, 0.5)(rng, n), rng.choice(['a', 'b', 'c', 'd'], n)


def fairness_entries(data: tuple[Cases, np.ndarray]) -> Entries:
    """Gaps between groups with their p values."""
    part, group = data
    shuffled = fairness.permutation.shuffled_groups(group, part.patients, fairness.PERMUTATIONS, seed=0)
    return fairness.group_gaps(part, group, shuffled)


def sharp_data(rng: np.random.Generator, n: int) -> Cases:
    """Cases whose log odds are half as large again as the true ones, plus a half: slope 2 / 3 and an intercept."""
    part = classification_data(1.5, 0.5)(rng, n)
    log_odds = 1.5 * recalibration.logit(part.probs[:, 1]) + 0.5
    return cases(part.patients, part.targets == 1, special.expit(log_odds))


def recalibration_values(data: Cases, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Calibration slope and intercept."""
    positive, log_odds = data.targets == 1, recalibration.logit(data.probs[:, 1])
    return {name: getattr(recalibration, name)(positive, log_odds, draws) for name in ('slope', 'intercept')}


def prevalence_entries(data: Cases) -> Entries:
    """Predictive values at a prevalence of 0.1."""
    return predictive_values.entries(data.targets == 1, data.probs[:, 1] > 0.5, data.patients, 0.1)


def calibrated_data(rng: np.random.Generator, n: int) -> Cases:
    """Cases whose probabilities are true."""
    return classification_data(1.5, 0.5)(rng, n)


KINDS = {
    'means': Kind(mean_data, mean_entries, {
        'dice_a': 'Mean Dice, no structure missed', 'dice_lesion': 'Mean Dice, 5 % of the structures missed',
        'hd95_lesion': 'Mean HD95, 5 % missed (200 mm)', 'missed': 'Share of missed structures',
        'hd95_a': 'Mean HD95, log-normal (σ = 0.5)', 'hd95_skewed': 'Mean HD95, log-normal (σ = 0.8)',
        'psnr': 'Mean PSNR, normal', 'f1': 'Mean F1, most of them 1', 'gain_psnr': 'Mean paired gain, skewed'},
        true={'dice_a': DICE, 'dice_lesion': 0.0, 'hd95_lesion': 0.0, 'missed': MISSED, 'hd95_a': DISTANCE,
              'hd95_skewed': np.exp(1 + 0.8**2 / 2), 'psnr': 30.0, 'f1': 1 - 0.3 / 6.3, 'gain_psnr': 1.0}),
    'clustered_means': Kind(clustered_mean_data, mean_entries, {
        'dice_a': 'Mean Dice, 1–4 cases a patient'}),
    'case_means': Kind(clustered_mean_data, over_patients(column_means), {
        'dice_a': 'Mean over cases, 1–4 a patient (registration, growth)'}, column_means),
    'classification': Kind(classification_data(1.5, 0.5), classification_entries, {
        'auroc': 'AUROC', 'auprc': 'Average precision', 'accuracy': 'Accuracy', 'sensitivity': 'Sensitivity',
        'specificity': 'Specificity', 'precision': 'Precision (PPV)', 'balanced_accuracy': 'Balanced accuracy',
        'f1': 'F1', 'kappa': 'Kappa', 'mcc': 'MCC', 'brier': 'Brier score', 'log_loss': 'Log loss', 'aurc': 'AURC',
        'net_benefit': 'Net benefit at a threshold of 0.3'},
        classification_values, {'net_benefit': true_net_benefit(1.5), 'auroc': special.ndtr(1.5 / np.sqrt(2)),
                                **dict.fromkeys(
            ('accuracy', 'sensitivity', 'specificity', 'precision', 'balanced_accuracy', 'f1'), special.ndtr(0.75))}),
    'rare': Kind(classification_data(1.5, 0.2), closed_entries, {
        'auroc': 'AUROC, 20 % positives', 'auprc': 'Average precision, 20 % positives',
        'sensitivity': 'Sensitivity, 20 % positives'}, classification_values,
        {'auroc': special.ndtr(1.5 / np.sqrt(2))}),
    'separated': Kind(classification_data(3.0, 0.5), closed_entries, {
        'auroc': 'AUROC of 0.98', 'accuracy': 'Accuracy of 0.93', 'auprc': 'Average precision of 0.98'},
        classification_values, {'auroc': special.ndtr(3 / np.sqrt(2)), 'accuracy': special.ndtr(1.5)}),
    'clustered_classification': Kind(clustered_classification_data, closed_entries, {
        'auroc': 'AUROC, 1–4 cases a patient', 'sensitivity': 'Sensitivity, 1–4 cases a patient',
        'accuracy': 'Accuracy, 1–4 cases a patient', 'brier': 'Brier score, 1–4 cases a patient'},
        classification_values, {'auroc': special.ndtr(1.5 / np.sqrt(2))}),
    'paired': Kind(paired_data, paired_entries, {
        'auroc': 'Difference of two AUROCs', 'delong': 'Difference of two AUROCs, DeLong\'s test',
        'accuracy': 'Difference of two accuracies', 'brier': 'Difference of two Brier scores'},
        lambda data: paired_values(data) | {'delong': paired_values(data)['auroc']}),
    'recalibration': Kind(sharp_data, over_patients(recalibration_values), {
        'slope': 'Calibration slope', 'intercept': 'Calibration-in-the-large'}, recalibration_values,
        {'slope': 2 / 3}),
    'prevalence': Kind(classification_data(1.5, 0.5), prevalence_entries, {
        'ppv': 'PPV at a prevalence of 10 %', 'npv': 'NPV at a prevalence of 10 %'},
        true=dict(zip(('ppv', 'npv'), predictive_values.at_prevalence(special.ndtr(0.75), special.ndtr(0.75), 0.1)))),
    'conformal': Kind(conformal_data, conformal_entries, {'coverage': 'Coverage of conformal sets'},
                      true={'coverage': 0.0}),
    'survival': Kind(survival_data, survival_entries, {
        'c_index': 'C-index (Harrell)', 'c_uno': 'C-index (Uno)', 'c_td': 'C-index (Antolini)',
        'auc_0.7': 'Time-dependent AUC', 'brier_0.7': 'Brier score at a time', 'ibs': 'Integrated Brier score',
        'kaplan_meier': 'Kaplan–Meier survival at a time'}, survival_values,
        {'kaplan_meier': survival_without_event(0.7), 'brier_0.7': true_brier(0.7), 'ibs': 0.0},
        large=(4000, 8)),
    'clustered_survival': Kind(clustered_survival_data, kaplan_meier_entry, {
        'kaplan_meier': 'Kaplan–Meier survival at a time, 1–4 cases a patient'},
        true={'kaplan_meier': survival_without_event(0.7)}),
    'forecasting': Kind(forecast_data, over_patients(forecast_values), {
        'mae_x': 'MAE of forecasts, 1–4 visits', 'mase': 'MASE', 'r2_x': 'R² of forecasts',
        'auroc': 'AUROC of events, censored', 'auprc': 'Average precision of events, censored',
        'brier': 'Brier score of events, censored'}, forecast_values),
    'regression': Kind(regression_data, over_patients(regression_values), {
        'rmse': 'RMSE', 'mae': 'MAE', 'bias': 'Bias (Bland–Altman mean difference)', 'r2': 'R²', 'pearson': 'Pearson',
        'spearman': 'Spearman'}, regression_values),
    'treatment': Kind(treatment_data, treatment.entries, {
        'pehe': '√PEHE', 'ate_error': 'ATE error', 'factual_rmse': 'Factual RMSE', 'policy_value': 'Policy value',
        'qini': 'Qini', 'ate': 'Mean predicted effect', 'ate_doubly_robust': 'Doubly robust ATE',
        'difference': 'Difference of groups'}, treatment.compute_metrics,
        true={'ate': 0.8, 'ate_error': 0.2, 'ate_doubly_robust': 1.0, 'difference': 1.0}),
    'detection': Kind(detection_data, detection_entries, {
        'ap50': 'AP50', 'ap': 'AP of n images', 'cpm': 'CPM (FROC)', 'sensitivity': 'Sensitivity of objects',
        'precision': 'Precision of boxes', 'f1': 'F1 of objects', 'false_positives': 'False positives an image'},
        detection_values, large=(2000, 4), sizes=(10, 20, 50), of_this_size=('ap',)),
    'synthesis': Kind(synthesis_data, synthesis_entries, {
        'fid': 'FID of n images', 'kid': 'KID', 'precision': 'Precision of images', 'recall': 'Recall of images',
        'density': 'Density', 'coverage': 'Coverage of images', 'diversity': 'Diversity'}, sizes=(20, 50, 100),
        of_this_size=('fid', 'kid', 'precision', 'recall', 'density', 'coverage', 'diversity')),
    'fairness': Kind(fairness_data, fairness_entries, {
        'demographic_parity_difference': 'Demographic parity, permutation test',
        'equalised_odds_difference': 'Equalised odds, permutation test'}, sizes=(20, 50, 200)),
    'calibration': Kind(calibrated_data, closed_entries, {
        'ece': 'ECE, test of calibration', 'ece_adaptive': 'Adaptive ECE, test of calibration'}),
}
