"""Baselines of tumour growth: a reaction–diffusion model fitted to simulated patients."""

import pytest

from medjax.data.datasets import tumour_growth as datasets_tumour_growth
from medjax.data.simulated import tumour_growth
from medjax.tasks.growth import baselines
from medjax.tasks.growth.evaluator import dice


@pytest.mark.slow
def test_a_fitted_reaction_diffusion_model_predicts_simulated_patients():
    source = tumour_growth.source(cases=(6, 1, 6), shape=(32, 32), spacing=4.0, template='synthetic', seed=3)
    data = datasets_tumour_growth.dataset(source, size=(32, 32))
    at = data.numbers('test')
    predicted = baselines.reaction_diffusion_masks(data, at)
    fisher, same = (dice(masks, data.rows.label[at]).mean() for masks in (predicted, data.rows.masks[at, -1]))
    assert fisher > 0.8 > same
