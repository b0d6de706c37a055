import pathlib

import pytest

from medjax.report.chapter import caption, headline_splits, selection_warnings
from medjax.report.run_files import Run


def run_of(*splits, best='auroc'):
    entry = {'auroc': {'value': 0.5}}
    return Run(pathlib.Path('run'), {'checkpoint': {'best': best}}, {},
               {**{name: entry for name in splits}, 'counts': dict.fromkeys(splits, 9)}, [], [], {})


@pytest.mark.parametrize('run, warned', [(run_of('val', 'test'), True), (run_of('val', 'calibrate', 'test'), False),
                                         (run_of('val', 'test', best=''), False)])
def test_fits_on_cases_that_selected_the_weights_have_a_warning(run, warned):
    lines = selection_warnings(run, 'the threshold')
    assert len(lines) == warned
    if warned:
        assert 'a nominal coverage or sensitivity is not guaranteed' in lines[0] and 'data.calibrate' in lines[0]


def test_cases_that_something_is_fitted_on_have_no_headline():
    run = run_of('calibrate', 'val', 'outside', 'test')
    assert run.splits == ['test', 'outside', 'calibrate', 'val'] and headline_splits(run) == ['test', 'outside']
    assert caption(run, 'calibrate') == 'Calibration (used to fit thresholds)'
    assert headline_splits(run_of('val')) == ['val']
