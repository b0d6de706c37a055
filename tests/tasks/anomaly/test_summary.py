"""Metrics of anomaly scores against scikit-learn, the threshold by hand, and the chapter."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medjax import atomic_files, restore
from medjax.errors import InputError
from medjax.report import run_files
from medjax.tasks.anomaly import summary
from medjax.tasks.anomaly.chapter import chapter
from medjax.tasks.anomaly.merge import pooled
from tests.report.runs import write_table


def rows():
    rng = np.random.default_rng(0)
    for split, count in (('val', 40), ('test', 60)):
        for number in range(count):
            ill = split == 'test' and number % 3 == 0
            yield {'split': split, 'id': f'{split}{number:02d}', 'patient': f'p{split}{number // 2}',
                   'target': 'ill' if ill else 'well', 'score_error': float(rng.normal()),
                   'score_distance': float(rng.normal() + 1.5 * ill)}


def test_metrics_equal_scikit_learn_and_the_threshold_is_set_by_normal_cases():
    table = list(rows())
    found = summary.summarise(table, 'well', 'distance')
    tested = [row for row in table if row['split'] == 'test']
    ill, score = (np.array([row['target'] == 'ill' for row in tested]),
                  np.array([row['score_distance'] for row in tested]))
    figures = found['metrics']['test']
    assert figures['auroc']['value'] == pytest.approx(roc_auc_score(ill, score), abs=1e-12)
    assert figures['auprc_distance']['value'] == pytest.approx(average_precision_score(ill, score), abs=1e-12)
    other = np.array([row['score_error'] for row in tested])
    assert figures['auroc_error']['value'] == pytest.approx(roc_auc_score(ill, other), abs=1e-12)
    held = [row['score_distance'] for row in table if row['split'] == 'val']
    assert found['threshold'] == pytest.approx(np.quantile(held, 0.95))
    assert figures['sensitivity']['value'] == pytest.approx((score[ill] > found['threshold']).mean())
    assert figures['specificity']['value'] == pytest.approx((score[~ill] <= found['threshold']).mean())
    assert figures['auroc']['n'] == 30 and figures['auroc']['ci95'][0] < figures['auroc']['value']
    apart = [{**row, 'split': 'calibrate', 'id': f'c{row["id"]}', 'score_distance': row['score_distance'] + 1}
             for row in table if row['split'] == 'val']
    moved = summary.summarise([*table, *apart], 'well', 'distance')
    assert moved['threshold'] == pytest.approx(np.quantile(held, 0.95) + 1)
    assert (found['threshold_split'], moved['threshold_split']) == ('val', 'calibrate')
    nothing = found['metrics']['val']['auroc']
    assert np.isnan(nothing['value']) and nothing['why'] == 'no anomaly, or no normal case'


def test_voxel_metrics_count_cases_with_an_anomaly():
    table = [{**row, 'voxel_dice': 0.5 if row['target'] == 'ill' else ''} for row in rows()]
    figure = summary.summarise(table, 'well', 'distance')['metrics']['test']['voxel_dice']
    assert figure['value'] == 0.5 and figure['cases'] == figure['n'] == 20


def test_invalid_input_is_refused():
    with pytest.raises(InputError, match=r'no column score_bound; expected it among: error, distance'):
        summary.summarise(list(rows()), 'well', 'bound')
    broken = [{**row, 'score_distance': ''} for row in rows()]
    with pytest.raises(InputError, match=r'case val00: score_distance: nan; expected a number'):
        summary.summarise(broken, 'well', 'distance')


def test_the_chapter(tmp_path):
    table = list(rows())
    write_table(tmp_path / 'predictions.csv', table)
    found = summary.summarise(table, 'well', 'distance')
    atomic_files.write_json(tmp_path / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': 'anomaly', 'classes': ['well', 'ill'], 'step': 3,
        'counts': {'train': 9, 'val': 40, 'test': 60}, 'conventions': summary.CONVENTIONS, 'notice': ''})
    (tmp_path / 'config.json').write_text(json.dumps({
        'model': {'name': 'autoencoder'}, 'data': {}, 'evaluate': {'name': 'anomaly'}}))
    (tmp_path / 'cases' / 'test').mkdir(parents=True)
    highest = max((row for row in table if row['split'] == 'test'), key=lambda row: row['score_distance'])
    image = np.random.default_rng(0).random((6, 6, 1)).astype(np.float32)
    np.savez(tmp_path / 'cases' / 'test' / f'{highest["id"]}.npz', image=image, recon=image, residual=image[..., 0])
    made = chapter(run_files.read(tmp_path))
    (text, sure), = made.headlines
    assert text.startswith('AUROC 0.') and 'Mahalanobis' in text
    assert 'of which 20 are anomalies' in sure and '60 cases' in sure
    assert len(made.sections[1].groups) == 1 and highest['id'] in made.sections[1].groups[0].heading
    assert [row['id'] for row in made.cases][:1] == [highest['id']]
    kept = tmp_path / 'cases' / 'test' / f'{highest["id"]}.npz'
    page = restore.write_report(tmp_path).read_text()
    intact, refused = kept.read_bytes(), 0
    for at in range(5, len(intact), 97):
        kept.write_bytes(intact[:at] + bytes([intact[at] ^ 0xFF]) + intact[at + 1:])
        try:
            with run_files.snapshot(kept) as case:  # a changed byte that is not read does no harm
                assert case['image'].shape == (6, 6, 1)
        except InputError as error:
            assert '.npz: not ' in str(error)
            refused += 1
    assert refused > 5
    kept.write_bytes(intact[:100])
    with pytest.raises(InputError, match=r'\.npz: not readable as a snapshot of a case'):
        chapter(run_files.read(tmp_path))
    assert 'Mahalanobis distance of the latent' in page and page.count('data:image/png') >= 5


def test_seeds_merge_each_at_its_own_threshold():
    one = list(rows())
    other = [{**row, 'score_distance': 3 * row['score_distance'] ** 3} for row in one]  # the same order
    third = [{**row, 'score_distance': -row['score_distance']} for row in one]
    single = [summary.summarise(table, 'well', 'distance')['metrics']['test']
              for table in (one, other, third)]
    found, mean = pooled({'a': one, 'b': other}, 'well', 'distance')
    for name in ('auroc', 'sensitivity', 'specificity', 'auprc_error'):
        assert found[name]['value'] == pytest.approx(single[0][name]['value']), name
        assert found[name]['runs'] == 2 and found[name]['run_sd'] == pytest.approx(0)
    assert found['auroc']['ci95'] == pytest.approx(single[0]['auroc']['ci95'])
    assert [row['id'] for row in mean] == sorted(row['id'] for row in one if row['split'] == 'test')
    found, _ = pooled({'a': one, 'c': third}, 'well', 'distance')
    assert found['auroc']['value'] == pytest.approx(0.5)
    assert found['sensitivity']['value'] == pytest.approx(
        (single[0]['sensitivity']['value'] + single[2]['sensitivity']['value']) / 2)


def test_a_fold_without_an_anomaly_counts_with_its_normal_cases():
    table = [{**row, 'voxel_dice': 0.5 if row['target'] == 'ill' else ''} for row in rows()]
    folds = {name: [row for row in table if row['split'] == 'val' or (row['target'] == 'ill') == (name == 'ill')]
             for name in ('ill', 'well')}
    found, _ = pooled(folds, 'well', 'distance')
    assert found['voxel_dice']['value'] == 0.5 and found['voxel_dice']['runs'] == 1
    assert found['specificity']['cases'] == 40 and found['sensitivity']['cases'] == 20
    assert np.isnan(found['auroc']['value']) and found['auroc']['why'] == 'no anomaly, or no normal case'
