"""Statements on a study that a run cannot know: the optional section `study` of a config."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Statements for the report and its checklist; none changes the training.

    Attributes:
      objective: aim and hypotheses of the study, and whether a model is developed, evaluated or both.
      intended_use: purpose of the model, its place in the clinical pathway, and its users.
      population: the patients that the model is meant for.
      design: prospective or retrospective; cohort, trial, registry or routine care.
      data_source: where the data come from, with name, version and licence of public data.
      setting: number, kind and location of the centres.
      dates: of the first and last examination, and of the end of follow-up.
      eligibility: criteria of inclusion and exclusion that were applied before the data set was made.
      treatments: that participants received, and how they were handled.
      acquisition: scanners or devices, and protocol of the images or signals.
      de_identification: how data were de-identified.
      outcome: definition of the outcome, its time horizon, and how it was assessed.
      predictors: definition of the predictors, and how and when they were measured.
      reference_standard: how the labels were obtained.
      reference_rationale: why this reference standard was chosen.
      annotators: number and qualification of those who made the labels, also of the test cases, and their tools.
      annotator_agreement: variability within and between annotators.
      blinding: what the annotators or outcome assessors did not know.
      sample_size: how the number of cases was determined.
      external_test: whether test cases come from other centres or times than the training cases.
      protocol: where the study protocol can be read.
      registration: registry and number.
      ethics: approval and consent.
      patient_involvement: involvement of patients and the public.
      funding: sources of funding, and the role of the funders.
      interests: conflicts of interest.
      availability: of data, code and trained model.
      licence: of the trained model, for its model card.
      limitations: of the study.
    """

    objective: str = ''
    intended_use: str = ''
    population: str = ''
    design: str = ''
    data_source: str = ''
    setting: str = ''
    dates: str = ''
    eligibility: str = ''
    treatments: str = ''
    acquisition: str = ''
    de_identification: str = ''
    outcome: str = ''
    predictors: str = ''
    reference_standard: str = ''
    reference_rationale: str = ''
    annotators: str = ''
    annotator_agreement: str = ''
    blinding: str = ''
    sample_size: str = ''
    external_test: str = ''
    protocol: str = ''
    registration: str = ''
    ethics: str = ''
    patient_involvement: str = ''
    funding: str = ''
    interests: str = ''
    availability: str = ''
    licence: str = ''
    limitations: str = ''


KEYS = tuple(field.name for field in dataclasses.fields(Study))


def statements(config: Mapping[str, Any]) -> dict[str, str]:
    """The statements in the config of a run, in the order of `Study`; empty where it has none."""
    given = config.get('study') or {}
    return {key: str(given[key]) for key in KEYS if given.get(key)}


def label(key: str) -> str:
    """The name of a statement in the report."""
    return key.replace('_', ' ').capitalize().replace('De identification', 'De-identification')
