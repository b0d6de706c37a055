"""Descriptions of metrics: how a key finds its metric, and which values are better."""

import pytest

from medjax.metrics.names import Metric, MetricList
from medjax.tasks.segmentation.family import FAMILY as SEGMENTATION

CLASSES = ('organ', 'lesion')
METRICS = MetricList((
    Metric('dice', 'Dice', headline=True), Metric('volume_error_ml', 'Volume error', unit='ml', better='zero'),
    Metric('volume', 'Volume', unit='ml'), Metric('tre', 'TRE', unit='mm', better='lower'),
    Metric('diversity', 'Diversity', better='target', target=1.0), Metric('auc', 'AUC', at_time=True)))


@pytest.mark.parametrize('key, want', [
    ('dice_organ', ('dice', 'organ')), ('volume_error_ml_lesion', ('volume_error_ml', 'lesion')),
    ('dice_mean', ('dice', 'mean')), ('accuracy', ('accuracy', '')), ('dice_fat_organ', ('dice', 'fat_organ'))])
def test_a_key_is_a_metric_and_a_class(key, want):
    assert SEGMENTATION.metrics.split_key(key, (*CLASSES, 'fat_organ')) == want


def test_a_metric_that_ends_like_a_class_is_no_class():
    metrics = MetricList((Metric('size_mean', 'Mean size'), Metric('size', 'Size')))
    assert metrics.split_key('size_mean', CLASSES) == ('size_mean', '')


@pytest.mark.parametrize('key, want', [
    ('dice', 'dice'), ('dice_organ', 'dice'), ('volume_error_ml', 'volume_error_ml'),
    ('volume_error_ml_organ', 'volume_error_ml'), ('volume_error', 'volume'), ('auc_12', 'auc')])
def test_the_longest_name_is_found(key, want):
    assert METRICS.find(key).name == want


@pytest.mark.parametrize('key', ['dices', 'error', '', 'organ_dice'])
def test_what_no_metric_names_is_not_found(key):
    assert METRICS.find(key) is None and not METRICS.has(key)


def test_a_description_is_of_exactly_its_key():
    assert METRICS.describe('tre') == Metric('tre', 'TRE', unit='mm', better='lower')
    assert METRICS.describe('tre_affine') == Metric('tre_affine', 'tre_affine')
    assert METRICS.has('tre') and not METRICS.has('tre_affine')


@pytest.mark.parametrize('key, label', [
    ('auc_12', 'AUC at 12'), ('auc_0.5', 'AUC at 0.5'), ('auc_1e+03', 'AUC at 1e+03'), ('auc_organ', 'auc_organ'),
    ('dice_12', 'dice_12')])
def test_a_time_is_in_the_label(key, label):
    assert METRICS.describe(key).label == label


@pytest.mark.parametrize('name, best, worst', [
    ('dice', 0.9, 0.1), ('tre', 1.0, 3.0), ('volume_error_ml', -1.0, 2.0), ('volume_error_ml', 1.0, -2.0),
    ('diversity', 1.1, 0.8), ('diversity', 0.9, 1.2)])
def test_better_values_rank_higher(name, best, worst):
    metric = METRICS.describe(name)
    assert metric.rank(best) > metric.rank(worst) > metric.rank(float('nan')) == float('-inf')


def test_a_signed_error_ranks_by_its_absolute_value():
    metric = METRICS.describe('volume_error_ml')
    assert metric.rank(-3.0) == metric.rank(3.0) < metric.rank(0.0) == 0


@pytest.mark.parametrize('name, arrow', [('dice', '↑'), ('tre', '↓'), ('volume_error_ml', '→ 0'), ('diversity', '→ 1')])
def test_arrows_point_to_better_values(name, arrow):
    assert METRICS.describe(name).arrow == arrow


def test_duplicates_are_refused():
    with pytest.raises(ValueError, match='expected different names'):
        MetricList((Metric('dice', 'Dice'), Metric('dice', 'Dice again')))


def test_an_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="better='up'; expected 'higher', 'lower', 'zero' or 'target'"):
        Metric('dice', 'Dice', better='up')


@pytest.mark.parametrize('key, want', [
    ('dice', True), ('dice_organ', True), ('dice_mean', True), ('dice_affine', False), ('tre', False),
    ('tre_organ', False)])
def test_headlines_are_of_all_classes_or_of_one(key, want):
    assert METRICS.is_headline(key, CLASSES) is want
