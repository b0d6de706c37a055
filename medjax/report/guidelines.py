"""Items of reporting guidelines that a run or a statement in its config can answer, in words of this project.

The numbers are those of the guidelines, whose own texts say what each item asks for.
"""

from collections.abc import Callable
from typing import NamedTuple

from medjax.report import facts
from medjax.report.facts import Facts


class Item(NamedTuple):
    """An item of a guideline; with neither `fact` nor `key` it is the author's to write.

    Attributes:
      number: in the guideline.
      topic: in a few words.
      fact: what a run has of it, as text.
      key: the statement of `config.study` that answers it.
      missing: what to add where the run has nothing and there is no key.
    """

    number: str
    topic: str = ''
    fact: Callable[[Facts], str] | None = None
    key: str = ''
    missing: str = ''


NO_INTERVALS = 'Evaluate a test split of several patients, which gives intervals'
REDRAW = 'Evaluate again: participants.json is missing, or has nothing of it'

# Tejani 2024, doi 10.1148/ryai.240300.
CLAIM = (
    Item('1'), Item('2'),
    Item('3', 'Clinical background and intended use', key='intended_use'),
    Item('4', 'Aims and hypotheses', key='objective'),
    Item('5', 'Prospective or retrospective', key='design'),
    Item('6', 'Goal of the study', key='objective'),
    Item('7', 'Origin of the data', facts.source, 'data_source'),
    Item('8', 'Eligibility', facts.flow, 'eligibility'),
    Item('9', 'Preprocessing', facts.preprocessing, missing='Name the preprocessing of the data set'),
    Item('10', 'Subsets of the data', facts.subsets),
    Item('11', 'De-identification', key='de_identification'),
    Item('12', 'Missing data', facts.missing_values, missing='Say how cases without an image or label were handled'),
    Item('13', 'Image acquisition', key='acquisition'),
    Item('14', 'How the reference standard was obtained', key='reference_standard'),
    Item('15', 'Why this reference standard', key='reference_rationale'),
    Item('16', 'Who annotated', key='annotators'),
    Item('17', 'Annotation of the test cases', key='annotators'),
    Item('18', 'Variability of annotators', key='annotator_agreement'),
    Item('19', 'Assignment to splits', facts.partition),
    Item('20', 'Level at which splits are disjoint', facts.disjointness, missing=REDRAW),
    Item('21', 'Sample size', facts.sample_size, 'sample_size'),
    Item('22', 'Model', facts.model, missing='Describe the network'),
    Item('23', 'Software', facts.software, missing='List libraries and versions'),
    Item('24', 'Initial weights', facts.initialisation, missing='Say where the initial weights come from'),
    Item('25', 'Training', facts.training),
    Item('26', 'Selection of the final model', facts.selection, missing='Say which weights were evaluated'),
    Item('27', 'Ensembles', facts.ensembling),
    Item('28', 'Metrics', facts.metric_names, missing='Name the metrics'),
    Item('29', 'Statistical uncertainty', facts.uncertainty, missing=NO_INTERVALS),
    Item('30', 'Robustness or sensitivity analysis', facts.subgroups,
         missing='Add subgroups, or repeat with other seeds or folds and merge the runs'),
    Item('31', 'Explanations', facts.explanations, missing='Add saliency maps, or say that there are none'),
    Item('32', 'Test on internal data', facts.internal_test, missing='Evaluate a test split'),
    Item('33', 'Test on external data', facts.external_test, 'external_test'),
    Item('34', 'Trial registration', key='registration'),
    Item('35', 'Numbers included and excluded', facts.flow, missing=REDRAW),
    Item('36', 'Characteristics in each split', facts.characteristics, missing=REDRAW),
    Item('37', 'Performance with uncertainty', facts.performance, missing=NO_INTERVALS),
    Item('38', 'Estimates with their precision', facts.performance, missing=NO_INTERVALS),
    Item('39', 'Failures', facts.failures, missing='Show the cases with the largest errors'),
    Item('40', 'Limitations', key='limitations'),
    Item('41', 'Implications for practice', key='intended_use'),
    Item('42', 'Protocol', key='protocol'),
    Item('43', 'Availability of code, model and data', facts.availability, 'availability'),
    Item('44', 'Funding', key='funding'),
)

# Collins 2024, doi 10.1136/bmj-2023-078378.
TRIPOD_AI = (
    Item('1'), Item('2'), Item('3a'),
    Item('3b', 'Target population and intended use', facts.intended_use, 'population'),
    Item('3c'),
    Item('4', 'Objectives', key='objective'),
    Item('5a', 'Origin of the data', facts.source, 'data_source'),
    Item('5b', 'Dates', key='dates'),
    Item('6a', 'Setting', key='setting'),
    Item('6b', 'Eligibility', facts.flow, 'eligibility'),
    Item('6c', 'Treatments received', key='treatments'),
    Item('7', 'Preparation of the data', facts.preprocessing, missing='Describe how the data were prepared'),
    Item('8a', 'Outcome', key='outcome'),
    Item('8b', 'Assessors of the outcome', key='annotators'),
    Item('8c', 'Blinding of the outcome', key='blinding'),
    Item('9a', 'Choice of predictors', facts.predictors),
    Item('9b', 'Definition of predictors', key='predictors'),
    Item('9c'),
    Item('10', 'Sample size', facts.sample_size, 'sample_size'),
    Item('11', 'Missing data', facts.missing_values, missing=REDRAW),
    Item('12a', 'Assignment to splits', facts.partition),
    Item('12b', 'Handling of predictors', facts.preprocessing, missing='Numbers are standardised and categories '
         'encoded as 0 and 1: say so'),
    Item('12c', 'Model and how it was built', facts.model, missing='Describe the network'),
    Item('12d', 'Differences between clusters', facts.subgroups, missing='Compare centres or other clusters'),
    Item('12e', 'Measures of performance', facts.metric_names, missing='Name the metrics'),
    Item('12f', 'Updating', facts.no_updating),
    Item('12g', 'How predictions are computed', facts.use_of_the_model),
    Item('13', 'Class imbalance', facts.characteristics, missing=REDRAW),
    Item('14', 'Fairness', facts.subgroups, missing='Add columns of subgroups to data.source.extra_columns'),
    Item('15', 'Output of the model', facts.conventions, missing='Describe the predicted numbers'),
    Item('16', 'Differences between training and test data', facts.comparison, missing=REDRAW),
    Item('17', 'Ethics', key='ethics'),
    Item('18a', 'Funding', key='funding'),
    Item('18b', 'Conflicts of interest', key='interests'),
    Item('18c', 'Protocol', key='protocol'),
    Item('18d', 'Registration', key='registration'),
    Item('18e', 'Availability of data', key='availability'),
    Item('18f', 'Availability of code', facts.availability, 'availability'),
    Item('19', 'Patient and public involvement', key='patient_involvement'),
    Item('20a', 'Flow of participants', facts.flow, missing=REDRAW),
    Item('20b', 'Characteristics of participants', facts.characteristics, missing=REDRAW),
    Item('20c', 'Comparison of training and test participants', facts.comparison, missing=REDRAW),
    Item('21', 'Numbers of participants and events', facts.characteristics, missing=REDRAW),
    Item('22', 'The full model', facts.use_of_the_model),
    Item('23a', 'Performance with uncertainty', facts.performance, missing=NO_INTERVALS),
    Item('23b', 'Performance in subgroups and clusters', facts.subgroups,
         missing='Add columns of subgroups to data.source.extra_columns'),
    Item('24', 'Results of updating', facts.no_updating),
    Item('25'),
    Item('26', 'Limitations', key='limitations'),
    Item('27a'), Item('27b'), Item('27c'),
)

GUIDELINES = {'CLAIM': ('CLAIM 2024, for studies of medical images (Tejani 2024)', CLAIM),
              'TRIPOD+AI': ('TRIPOD+AI 2024, for prediction models (Collins 2024)', TRIPOD_AI)}
