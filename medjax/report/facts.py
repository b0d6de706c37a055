"""Methods and results of a run by its files, a sentence each, for the checklist; '' where they do not say it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from medjax.metrics.names import MetricList
from medjax.report.chapter import Chapter, entries_with_intervals, headline_splits, split_name
from medjax.report.run_files import Run
from medjax.report.study import statements

SPLITTING = ('val', 'test', 'calibrate', 'fold', 'folds', 'split_seed', 'splits', 'split_file')  # keys of sources
SUBSETS = ('train_classes', 'label_fraction', 'duplicates', 'extra_npz')  # keys of data sets
NO_PREPROCESSING = ('name', 'source', 'fold', 'folds', 'cache', 'times', 'horizon', *SUBSETS)
OWN_SPLITS = ('train', 'val', 'test', 'calibrate')
SHOWN = 12  # names in a list


@dataclasses.dataclass(frozen=True)
class Facts:
    """A run, and what its report shows.

    Attributes:
      run: the run's files.
      chapter: the family's part of the report.
      metrics: of the family.
    """

    run: Run
    chapter: Chapter
    metrics: MetricList

    def sections(self, *words: str) -> str:
        """The headings of the family's sections that have one of some words, quoted; '' where none has."""
        found = [section.heading for section in self.chapter.sections
                 if (section.tables or section.groups or section.charts)
                 and any(word in section.heading.lower() for word in words)]
        return ', '.join(f'"{heading}"' for heading in found)


def intended_use(facts: Facts) -> str:
    """The statement on the intended use."""
    text = statements(facts.run.config).get('intended_use', '')
    return f'Statement "Intended use": {text}' if text else ''


def source(facts: Facts) -> str:
    """The name of the source in the config."""
    section = facts.run.section('data').get('source')
    name = section.get('name') if isinstance(section, Mapping) else None
    if not name:
        return ''
    kind = 'Simulated data' if str(name).startswith('simulated_') else 'Read'
    return f'{kind} by data.source "{name}"'


def flow(facts: Facts) -> str:
    """Numbers of participants found, left out and assigned."""
    known = facts.run.participants
    if not known:
        return ''
    kind = 'patients' if known['patients_known'] else 'cases'
    left_out = sum(item[kind] for item in known['left_out'])
    return f'"Participants": {known["found"][kind]} {kind} found, {left_out} left out'


def characteristics(facts: Facts) -> str:
    """How many characteristics the table by split has."""
    rows = {row['name'] for row in facts.run.participants.get('characteristics', ())}
    return f'"Participants": {len(rows)} characteristics by split' if rows else ''


def comparison(facts: Facts) -> str:
    """The largest standardised mean difference of the test cases from the training cases."""
    rows = [row for row in facts.run.participants.get('characteristics', ()) if row['smd'] is not None]
    if not rows:
        return ''
    most = max(rows, key=lambda row: abs(row['smd']))
    return f'"Participants": the largest standardised mean difference is {abs(most["smd"]):.2f} ({most["name"]})'


def missing_values(facts: Facts) -> str:
    """How many characteristics have missing values, and how these are filled."""
    rows = facts.run.participants.get('characteristics', ())
    if not rows:
        return ''
    lacking = {row['name'] for row in rows if any(entry['missing'] for entry in row['splits'].values())}
    filled = [line for line in facts.run.participants['notes'] if line.startswith('Missing values, filled')]
    found = f'{len(lacking)} of {len({row["name"] for row in rows})} characteristics have missing values'
    return '. '.join([f'"Participants": {found}', *(line.partition(':')[0] for line in filled)])


def preprocessing(facts: Facts) -> str:
    """The options of the data set."""
    return _options(facts.run.section('data'), NO_PREPROCESSING)


def subsets(facts: Facts) -> str:
    """Options that restrict the cases, or that there is none."""
    data = facts.run.section('data')
    chosen = _options({key: data[key] for key in SUBSETS if data.get(key)})
    return chosen or 'The config restricts the cases by no option'


def partition(facts: Facts) -> str:
    """The numbers of cases of each split, and the options of the assignment."""
    run = facts.run
    counts = run.results.get('counts', {})
    own, data = run.section('data').get('source') or {}, run.section('data')
    chosen = {key: value for key, value in {**own, **data}.items() if key in SPLITTING}
    if chosen.get('splits'):  # the names of patients stay in the config
        chosen['splits'] = f'of {len(chosen["splits"])} patients by name'
    numbers = ', '.join(f'{split_name(split).lower()} {count}' for split, count in counts.items())
    how = _options(chosen) or "the source's own or default split"
    return f'Cases: {numbers}; {how}'


def disjointness(facts: Facts) -> str:
    """At which level training and test are disjoint."""
    known = facts.run.participants
    if not known:
        return ''
    if not known['patients_known']:
        return 'By case: the source does not know which cases are of the same patient'
    if known['shared']:
        return f'{known["shared"]} patients are in training and in another split'
    return 'By patient: none is in training and in another split'


def sample_size(facts: Facts) -> str:
    """How many cases were evaluated."""
    parts = [f'{split_name(split).lower()} {len({row["id"] for row in facts.run.rows(split)})}'
             for split in headline_splits(facts.run)]
    return f'Evaluated cases: {", ".join(parts)}' if parts else ''


def model(facts: Facts) -> str:
    """The network and its number of parameters."""
    section, count = facts.run.section('model'), facts.run.environment.get('parameters')
    name = ' '.join(str(section[key]) for key in ('name', 'variant') if section.get(key))
    size = f' with {count:,} parameters' if count else ''
    return f'{name}{size}; its options are in the resolved configuration' if name else ''


def software(facts: Facts) -> str:
    """The versions of the libraries."""
    versions = facts.run.environment.get('versions') or {}
    listed = ', '.join(f'{name} {version}' for name, version in list(versions.items())[:4])
    return f'"How to reproduce": {listed} and others' if listed else ''


def initialisation(facts: Facts) -> str:
    """Where the initial weights come from."""
    init = facts.run.section('init')
    if init:
        return f'Weights from "{init.get("name")}", {init.get("path")}'
    return f'Random, seed {facts.run.config["seed"]}' if 'seed' in facts.run.config else ''


def training(facts: Facts) -> str:
    """Steps, batch, optimiser and augmentation."""
    config, optim, augment = facts.run.config, facts.run.section('optim'), facts.run.section('augment')
    length = f'{config["steps"]} steps' if config.get('steps') else f'{config.get("epochs", "?")} epochs'
    parts = [f'{length} with batches of {config.get("batch", "?")}']
    if optim.get('name'):
        parts.append(f'{optim["name"]}, learning rate {optim.get("lr")}')
    parts.append(f'augmentation "{augment["name"]}"' if augment.get('name') else 'no augmentation')
    return f'"How to reproduce": {", ".join(parts)}'


def selection(facts: Facts) -> str:
    """How the evaluated weights were chosen."""
    step = facts.run.results.get('step')
    if facts.run.selection_metric:
        return f'Best {facts.run.selection_metric} on the validation cases, step {step}'
    return f'The weights of the last step, {step}' if step else ''


def ensembling(facts: Facts) -> str:
    """Whether several networks were averaged."""
    runs = facts.run.results.get('of')
    return f'The result is of {len(runs)} runs' if runs else 'One network, none averaged'


def metric_names(facts: Facts) -> str:
    """The metrics of the results, and the sections on calibration and decisions."""
    found: dict[str, None] = {}
    for split in headline_splits(facts.run):
        for key in facts.run.results[split]:
            found[facts.metrics.describe(facts.metrics.split_key(key, facts.run.classes)[0]).label] = None
    names = list(found)
    more = ', …' if len(names) > SHOWN else ''
    sections = facts.sections('calibration', 'decision')
    return f'"Results": {", ".join(names[:SHOWN])}{more}{"; " if sections else ""}{sections}' if names else ''


def uncertainty(facts: Facts) -> str:
    """How the intervals are computed."""
    return facts.chapter.method if entries_with_intervals(facts.run) else ''


def performance(facts: Facts) -> str:
    """Where the results are, if they have intervals."""
    return '"Results", with 95 % intervals' if entries_with_intervals(facts.run) else ''


def subgroups(facts: Facts) -> str:
    """The sections on subgroups."""
    return facts.sections('subgroup', 'fairness')


def explanations(facts: Facts) -> str:
    """The sections with explanations."""
    return facts.sections('saliency', 'attention', 'evidence', 'covariate')


def failures(facts: Facts) -> str:
    """The sections with the worst cases, and the table of all cases."""
    found = facts.sections('example', 'case', 'worst', 'error')
    return ', '.join(filter(None, [found, '"All cases"' if facts.chapter.cases else '']))


def internal_test(facts: Facts) -> str:
    """The evaluated splits of the data set itself."""
    own = [split for split in facts.run.splits if split == 'test' or split.startswith('test_at_')]
    return f'Held-out cases of the same source: {", ".join(split_name(split).lower() for split in own)}' if own else ''


def external_test(facts: Facts) -> str:
    """The evaluated splits with names of their own."""
    other = [split for split in facts.run.splits if split not in OWN_SPLITS and not split.startswith('test_at_')]
    return f'Further split: {", ".join(other)}' if other else ''


def availability(facts: Facts) -> str:
    """The commit and the hash of the data."""
    commit = facts.run.environment.get('git_commit')
    return f'"How to reproduce": commit {commit}, and hashes of data and splits' if commit else ''


def predictors(facts: Facts) -> str:
    """How many covariates the config names, or that the source chooses them."""
    own = facts.run.section('data').get('source') or {}
    listed = [own.get(key) for key in ('covariates', 'measurements', 'static')]
    names = [name for part in listed if isinstance(part, list | tuple) for name in part]
    return f'The config names {len(names)} columns' if names else 'All columns of the source that are not outcomes'


def use_of_the_model(facts: Facts) -> str:
    """The command that predicts for new patients."""
    return 'python -m medjax.predict applies the saved weights to new cases'


def no_updating(facts: Facts) -> str:
    """That the model was not updated."""
    return 'The model was trained once and not updated on test cases'


def conventions(facts: Facts) -> str:
    """The section that explains the outputs."""
    return f'"{facts.chapter.conventions_heading}"' if facts.run.results.get('conventions') else ''


def _options(section: Mapping[str, Any], without: Sequence[str] = ()) -> str:
    """Options of a config section as text."""
    return ', '.join(f'{key} {_plain(value)}' for key, value in section.items()
                     if key not in without and value not in (None, '', (), []))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return f'({", ".join(f"{key} {_plain(part)}" for key, part in value.items())})'
    if isinstance(value, list | tuple):
        shown = ' × '.join if all(isinstance(part, int | float) for part in value) else ', '.join
        return shown(map(_plain, value[:6]))
    return str(value)
