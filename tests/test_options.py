"""Ranges of options: every number that a config may have is declared with its range, and values outside are refused."""

import dataclasses
import importlib
import types
import typing

import pytest
from ml_collections import FrozenConfigDict

from medjax import assemble, build, options
from medjax.core import optim, sharding
from medjax.core.config import REQUIRED, bind, keys
from medjax.data.transforms import augment
from medjax.errors import InputError
from medjax.losses import image_similarity, segmentation
from medjax.ops import instance_optimisation
from medjax.options import Count, Float, FractionBelowOne, Positive, Probability, Range
from medjax.tasks import family
from medjax.tasks.synthesis import diffusion_task

# Numbers that may be anything finite, with the reason.
UNBOUNDED = {
    'source.simulated_lesions.contrast': 'a lesion may be darker than its background',
    'source.simulated_survival.quadratic_effect': 'a coefficient of the log hazard',
    'source.simulated_survival.log_hazard_ratio': 'a coefficient of the log hazard',
    'source.simulated_treatment.effect': 'a treatment may harm',
    'source.simulated_treatment.effect_modification': 'a coefficient of the effect',
    'source.simulated_treatment.confounding': 'a coefficient of the log odds',
    'source.simulated_visits.log_hazard_ratio': 'a coefficient of the log hazard',
    'data.translation.ranges': 'intensities may be negative; the lower end comes first',
    **dict.fromkeys(('source.survival_csv.event_values', 'source.visits_csv.event_values',
                     'source.treatment_csv.group_values'),
                    'codes of a table'),
    'config.mesh': 'the section of `sharding.Jit`, which has the ranges',
}
WITHOUT_EFFECT = ('model.autoencoder.classes', 'model.image_tabular.classes', 'model.mae.classes')  # of a base class


def sections():
    """(name of the section, function or class that it is bound to, parameters that are no keys)."""
    hidden = {'model': ('parent', 'name', 'dtype'), 'data': ('source',)}
    for kind in ('model', 'data', 'source'):
        for name, path in build.KINDS[kind].modules().items():
            make = getattr(importlib.import_module(path), build.KINDS[kind].attribute, None)
            if make is not None:
                yield f'{kind}.{name}', make, hidden.get(kind, ())
    for name in family.names():
        of = family.find(name)
        yield from ((f'task.{task}', of.function(module, 'task'), ('module', 'statistics'))
                    for task, module in of.tasks.items())
        yield f'evaluate.{name}', of.function('evaluator', 'evaluator'), ('data', 'task')
        if 'predict' not in of.refuses:
            yield f'predict.{name}', of.function('evaluator', 'predictor'), ('task', 'statistics')
    for table in (optim.OPTIMISERS, optim.SCHEDULES):
        yield from ((f'optim.{name}', make, ('lr', 'steps')) for name, make in table.items())
    yield from ((f'loss.{name}', make, ('v', 'inputs')) for name, make in segmentation.TERMS.items())
    yield from ((f'similarity.{name}', make, ('fixed', 'moved'))
                for name, make in image_similarity.DISSIMILARITIES.items())
    yield from ((f'diffusion.{name}', make, ()) for name, make in diffusion_task.KINDS.items())
    yield 'refine', instance_optimisation.OptimisationOptions, ()
    yield 'augment', augment.Recipe, ()
    yield 'optim', optim.make_optimiser, ('steps', 'frozen')
    yield 'optim', optim._parameter_group, ('steps', 'path')
    yield 'mesh', sharding.Jit, ('devices',)
    yield 'config', assemble._experiment, ()
    for name in ('checkpointing', 'logging', 'debugging', 'initial'):
        yield name, getattr(assemble, name), ('metrics', 'name')


KEYS = {f'{section}.{key.name}': key for section, make, given in sections() for key in keys(make, given).values()}


def without_range(annotation):
    """The parts of a type that are numbers without a declared range, or with that of all numbers."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return [] if any(str(extra) for extra in parts[1:] if isinstance(extra, Range)) else [annotation]
    if annotation in (int, float):
        return [annotation]
    return [] if origin is typing.Literal else [found for part in parts for found in without_range(part)]


def test_every_number_has_a_range():
    assert len(KEYS) > 400
    without = {name for name, key in KEYS.items() if without_range(key.type)}
    assert without - set(WITHOUT_EFFECT) == set(UNBOUNDED)


def test_every_type_is_one_that_is_checked():
    """A type that is a string, as by postponed evaluation, or that no rule knows would accept everything."""
    known = (bool, int, float, str, None, types.NoneType)

    def unknown(annotation):
        origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
        if origin in (typing.Literal, typing.get_origin(typing.Callable[..., int])):
            return []
        if origin is not None:
            return [found for part in parts if part not in (..., typing.Any) and not isinstance(part, Range)
                    for found in unknown(part)]
        return [] if annotation in known else [annotation]
    found = {name: unknown(key.type) for name, key in KEYS.items()}
    given_by_caller = ('data', 'read', 'folder')  # of predictors
    assert not {name: what for name, what in found.items() if what and name.split('.')[-1] not in given_by_caller}


def test_every_default_is_accepted():
    plain = {name: key.default.to_dict() if isinstance(key.default, FrozenConfigDict) else key.default
             for name, key in KEYS.items() if key.default is not REQUIRED}
    refused = {name: value for name, value in plain.items() if not isinstance(value, typing.Mapping)
               and not options.accepts(KEYS[name].type, value)}
    assert not refused


def outside(annotation):
    """For each number of a type a value just outside of its range."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = next(extra for extra in parts[1:] if isinstance(extra, Range))
        step = 1 if parts[0] is int else 0.5
        low = [limits.low if limits.open_low else limits.low - step] if limits.low > -1e300 else []
        high = [limits.high if limits.open_high else limits.high + step] if limits.high < 1e300 else []
        return [*low, *high, float('nan'), float('inf'), 'a', None, True]
    if origin is tuple and ... not in parts:
        return [(*[1] * (len(parts) - 1), value) for value in outside(parts[-1])] + [(1,) * (len(parts) + 1)]
    if origin is not None and origin is not typing.Literal and len(parts) == 1:
        return [(value,) for value in outside(parts[0])] + ['a', 1]
    return []


def test_what_is_outside_is_refused():
    tried = [(name, key.type, value) for name, key in KEYS.items() for value in outside(key.type)]
    assert len({name for name, _, _ in tried}) > 300
    for name, annotation, value in tried:
        with pytest.raises(InputError, match=r': .*; expected [^\n]*$'):
            options.check(value, annotation, name)


@pytest.mark.parametrize('make, section, message', [
    (optim._parameter_group, dict(name='adam', lr=-1.0), 'config.optim.lr: -1.0; expected a number of at least 0'),
    (optim._parameter_group, dict(name='adam', lr=0.1, clip=-1),
     'config.optim.clip: -1; expected a number of at least 0'),
    (optim._parameter_group, dict(name='adamw', lr=0.1, weight_decay=-1),
     'config.optim.weight_decay: -1; expected a number of at least 0'),
    (optim.make_optimiser, dict(ema=1.5), 'config.optim.ema: 1.5; expected a number of at least 0 and below 1'),
    (optim.make_optimiser, dict(ema=1), 'config.optim.ema: 1; expected a number of at least 0 and below 1'),
    (optim._parameter_group, dict(name='adam', lr=0.1, schedule=dict(name='cosine', warmup=1.5)),
     'config.optim.schedule.warmup: 1.5; expected a whole number of at least 0'),
    (optim._parameter_group, dict(name='adam', lr=0.1, schedule=dict(name='multistep', milestones=(0.5, 1.0))),
     'config.optim.schedule.milestones: (0.5, 1.0); expected a list of numbers above 0 and below 1'),
    (assemble.logging, dict(every=0), 'config.optim.every: 0; expected a whole number of at least 1'),
    (assemble.debugging, dict(skip_nonfinite='no'), "config.optim.skip_nonfinite: 'no'; expected True or False"),
])
def test_impossible_options_are_refused(make, section, message):
    given = {} if make in (assemble.logging, assemble.debugging) else dict(steps=10)
    if make is optim._parameter_group:
        given['path'] = 'config.optim'
    with pytest.raises(InputError) as caught:
        bind(make, section, 'config.optim', **given)
    assert str(caught.value) == message


@pytest.mark.parametrize('section, message', [
    (dict(name='cnn', classes=2, features=(0,)), r'config\.model\.features: \(0,\); expected a list of whole numbers'),
    (dict(name='cnn', classes=2, features=32), r'config\.model\.features: 32; expected a list'),
    (dict(name='cnn', classes=2, dropout=1.0), r'config\.model\.dropout: 1.0; expected a number of at least 0'),
    (dict(name='resnet', classes=2, dims=4), r'config\.model\.dims: 4; expected 1, 2 or 3'),
    (dict(name='retinanet', classes=2, encoder=dict(name='resnet', base=0)),
     r'config\.model\.encoder\.base: 0; expected a whole number of at least 1'),
])
def test_impossible_options_of_networks_are_refused(section, message):
    import jax
    import jax.numpy as jnp
    with pytest.raises(InputError, match=message):
        module = build.network(section, 'float32')
        jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 64, 64, 1)), train=False))


@pytest.mark.parametrize('terms, message', [
    (dict(cross_entropy=-1.0), r'config\.task\.loss\.cross_entropy: -1.0; expected a number of at least 0'),
    (dict(focal=dict(gamma=-2)), r'config\.task\.loss\.focal\.gamma: -2; expected a number of at least 0'),
    (dict(soft_dice=dict(weight='x')), r"config\.task\.loss\.soft_dice\.weight: 'x'; expected a number"),
    (dict(cross_entropy=dict(class_weight=(1.0, -1.0))),
     r'cross_entropy\.class_weight: \(1.0, -1.0\); expected a list'),
])
def test_impossible_options_of_losses_are_refused(terms, message):
    with pytest.raises(InputError, match=message):
        segmentation.check_terms(terms)


# The types themselves.


@pytest.mark.parametrize('annotation, accepted, refused', [
    (Count, [1, 7], [0, -1, 1.0, True, '1', None]),
    (Positive, [1, 0.5], [0, 0.0, -1e-9, float('nan'), float('inf')]),
    (Probability, [0, 1, 0.5], [-0.1, 1.1, '0.5']),
    (FractionBelowOne, [0, 0.999], [1, 1.0]),
    (Float, [-5, 0.0], [float('nan'), True]),
    (Probability | None, [None, 0.5], [2]),
    (typing.Literal['a', 'b'], ['a'], ['c', 1, None]),
    (typing.Literal[1, 3], [1, 3], [2, True, 1.0]),
    (typing.Sequence[Count], [(), (1, 2), [3]], ['ab', 1, (1, 0), {1: 2}]),
    (typing.Sequence[str], [('a',)], ['a', (1,)]),
    (tuple[Count, Count], [(1, 2), [1, 2]], [(1,), (1, 2, 3), (0, 1)]),
    (tuple[Count, ...], [(), (1, 2, 3)], [(0,)]),
    (typing.Mapping[str, Count], [{}, {'a': 1}], [{'a': 0}, {1: 1}, 5]),
    (bool, [True], [1, 'True', None]),
    (str, ['', 'a'], [1, None]),
    (Count | typing.Sequence[Count], [1, (1, 2)], [0, (0,)]),
])
def test_types_accept_and_refuse(annotation, accepted, refused):
    assert all(options.accepts(annotation, value) for value in accepted)
    assert not any(options.accepts(annotation, value) for value in refused)


@pytest.mark.parametrize('annotation, text', [
    (Count, 'a whole number of at least 1'), (Positive, 'a number above 0'), (Probability, 'a number from 0 to 1'),
    (FractionBelowOne, 'a number of at least 0 and below 1'), (Float, 'a number'),
    (Probability | None, 'a number from 0 to 1 or None'), (typing.Literal['a', 'b', 'c'], "'a', 'b' or 'c'"),
    (typing.Sequence[Count], 'a list of whole numbers of at least 1'),
    (tuple[Count, Count], '2 whole numbers of at least 1'), (typing.Sequence[str], 'a list of strings'),
    (typing.Sequence[typing.Sequence[str]], 'a list of lists of strings'),
    (typing.Mapping[str, typing.Any], 'a section, as in dict(…)'), (bool, 'True or False'),
])
def test_types_are_described_in_words(annotation, text):
    assert options.description(annotation) == text


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of options."""

    share: Probability = 0.5


def grouped(*, count: Count = 1, group: Group = Group()):
    return count, group


def test_ranges_of_a_group_of_options_are_checked():
    assert bind(grouped, dict(count=2, share=1), 'config.x') == (2, Group(1))
    with pytest.raises(InputError, match=r'config\.x\.share: 2; expected a number from 0 to 1'):
        bind(grouped, dict(share=2), 'config.x')
