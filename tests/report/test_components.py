"""Variance components of a difference: statsmodels says the same."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import mixedlm, ols
from statsmodels.stats.anova import anova_lm

from harness.report.components import estimated, expected, spread

if TYPE_CHECKING:
    from harness.report.statistics import Array


def table(index: int) -> Array:
    """Draw a balanced difference of few or many seeds and prompts, whose components differ from table to table."""
    generator = np.random.default_rng([20261203, index])
    seeds, prompts = int(generator.integers(2, 7)), int(generator.integers(3, 16))
    seed, prompt, rest = generator.choice([0.0, 0.02, 0.1, 0.3], 3)
    return np.asarray(
        0.1
        + seed * generator.standard_normal((seeds, 1))
        + prompt * generator.standard_normal((1, prompts))
        + (rest + 0.01) * generator.standard_normal((seeds, prompts))
    )


def long(values: Array) -> pd.DataFrame:
    seeds, prompts = np.indices(values.shape)
    return pd.DataFrame({"d": values.ravel(), "s": seeds.ravel(), "e": prompts.ravel(), "all": 1})


def test_mean_squares_are_statsmodels_in_60_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels collects at every call, half a second with torch loaded
    for index in range(60):
        values = table(index)
        seeds, prompts = values.shape
        theirs = anova_lm(ols("d ~ C(s) + C(e)", long(values)).fit())["mean_sq"]
        ours = spread(values)
        assert ours.mean == pytest.approx(values.mean())
        assert prompts * ours.by_seed == pytest.approx(theirs["C(s)"], rel=1e-8)
        assert seeds * ours.by_prompt == pytest.approx(theirs["C(e)"], rel=1e-8)
        assert ours.rest == pytest.approx(theirs["Residual"], rel=1e-8)
        found = estimated(ours, seeds, prompts)
        assert found.rest == pytest.approx(theirs["Residual"], rel=1e-8)
        assert found.seed == pytest.approx(max(0, (theirs["C(s)"] - theirs["Residual"]) / prompts), abs=1e-12)
        assert found.prompt == pytest.approx(max(0, (theirs["C(e)"] - theirs["Residual"]) / seeds), abs=1e-12)


@pytest.mark.parametrize("index", range(4))
def test_components_are_those_of_restricted_maximum_likelihood(index: int) -> None:
    generator = np.random.default_rng([20261204, index])
    values = 0.3 * generator.standard_normal((6, 1)) + 0.2 * generator.standard_normal((1, 12))
    values = values + 0.1 * generator.standard_normal((6, 12))
    found = estimated(spread(values), *values.shape)
    assert min(found) > 0  # where none is cut at 0, the two are the same
    model = mixedlm("d ~ 1", long(values), groups="all", vc_formula={"s": "0 + C(s)", "e": "0 + C(e)"}, re_formula="0")
    fit = model.fit(reml=True, method="lbfgs", maxiter=500)
    theirs = dict(zip(model.exog_vc.names, fit.vcomp, strict=True))
    assert found.seed == pytest.approx(theirs["s"], rel=2e-3)
    assert found.prompt == pytest.approx(theirs["e"], rel=2e-3)
    assert found.rest == pytest.approx(fit.scale, rel=2e-3)


def test_expected_variances_give_their_components_back() -> None:
    for index in range(20):
        values = table(index)
        found = estimated(spread(values), *values.shape)
        assert estimated(expected(found, 5, 40), 5, 40) == pytest.approx(found)
