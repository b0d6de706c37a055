"""The tables of the page on the service come from the files of `medjax.bench.service`."""

import json

import pytest
from results.service import table

from tests.conftest import ROOT


def test_the_tables_of_the_page_have_no_lost_request():
    files = sorted((ROOT / 'docs' / 'results' / 'service').glob('*.json'))
    rows = [row for path in files for row in json.loads(path.read_text())['rows']]
    assert rows and not sum(row['lost'] for row in rows) and {row['clients'] for row in rows} == {1, 4, 16}
    text = table.markdown()
    for row in rows:
        assert f'| {row["clients"]} | {row["requests"]} | 0 | {row["per_s"]:.3g} | {row["p50_ms"]:.0f} ms |' in text
    assert '<!-- results: service -->' in (ROOT / 'docs' / 'howto' / 'serve.md').read_text()


@pytest.mark.parametrize('options, expected', [([], 'a: b; uploads'), (['--batch=8'], 'a: b, `--batch=8`; uploads')])
def test_a_table_says_what_was_measured_where(tmp_path, monkeypatch, options, expected):
    row = dict(clients=1, requests=9, lost=0, per_s=1.234, p50_ms=8.6, p99_ms=99.2)
    (tmp_path / 'x.json').write_text(json.dumps(dict(
        title='a', service='b', options=options, upload_kb=1.5, processor='CPU', cores=2, load_before=0.1, rows=[row])))
    monkeypatch.setattr(table, 'FOLDER', tmp_path)
    text = table.markdown()
    assert expected in text and 'CPU, 2 cores' in text
    assert text.endswith('| 1 | 9 | 0 | 1.23 | 9 ms | 99 ms | not measured |')
