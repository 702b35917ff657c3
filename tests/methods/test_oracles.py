"""Each method's loss and gradient against the double loops of ``oracles``, over random batches and options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import oracles
from methods.cases import assert_equal, expected, make, random_case
from pydantic import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

SUPERVISED: dict[str, list[Any]] = {
    "sft_reduction": ["token_mean", "seq_sum", "seq_mean"],
    "compat.token_mean_micro": [False, True],
    "compat.micro_batch_size": [1, 2, 3, 8],
}
CANDIDATES: dict[str, list[Any]] = {
    **SUPERVISED,
    "coef": [0.05, 1.0, 0.3],
    "use_sft_term": [True, False],
    "compat.include_eos_in_logp": [True, False],
    "compat.empty_completion": ["keep", "zero", "drop"],
    "mask_truncated": [False, True],
    "dropout_in_logp": [True, False],
}
CHOICES: dict[str, dict[str, list[Any]]] = {
    "sft": SUPERVISED,
    "eso": {
        **CANDIDATES,
        "k_reduction": ["sum", "mean"],
        "length_norm": [False, True],
        "compat.official_gate": [False, True],
        "reward_threshold": [None, 0.1, 0.3, 5.0],
        "is_correction": ["none", "exact", "truncated"],
        "is_cap": [0.5, 2.0],
    },
    "unlikelihood": {
        **CANDIDATES,
        "loss": ["welleck", "logp_down"],
        "compat.ties": ["share", "first"],
        "length_norm": [False, True],
        "min_one_minus_p": [1e-20, 0.9],
        "min_logp_per_token": [None, -2.0],
    },
    "drl": {
        **CANDIDATES,
        "mix": ["lambda", "gamma"],
        "baseline": ["greedy", "none", "mean"],
        "length_norm": [False, True],
    },
    "rrhf": {
        **CANDIDATES,
        "compat.pair_set": ["all", "upper_triangle"],
        "pair_reduction": ["sum", "mean"],
        "length_norm": [True, False],
        "compat.rank_padded_bug": [False, True],
        "length_penalty": [1.0, 0.5, 0.0],
        "ft_target": ["reference", "best_candidate"],
        "compat.ft_padded_bug": [False, True],
        "rank_demonstration": [False, True],
    },
}
ORACLES: dict[str, Callable[[list[oracles.Group], Any], oracles.Terms]] = {
    "sft": oracles.supervised,
    "eso": oracles.eso,
    "unlikelihood": oracles.unlikelihood,
    "drl": oracles.drl,
    "rrhf": oracles.rrhf,
}


def check(name: str, raw: dict[str, Any], seed: int, part: int | None) -> None:
    case = random_case(seed, missing=0.6 if seed % 3 == 0 else 0.15)
    count = len(case.candidates[0])
    if name == "drl":
        raw["n_samples"] = count
    elif name != "sft":
        raw["temperatures"] = [0.5 + 0.5 * j for j in range(count)]
    method, options = make(name, **raw)
    run = case.run(name, options, part=part)
    logged = method.step(run, case.batch)
    assert_equal(run, *expected(case, name, options, ORACLES[name]))
    assert all(isinstance(value, float) for value in logged.values())


def options_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any combination that the options accept; the defaults twice as often as the rest."""
    every = st.fixed_dictionaries({key: st.sampled_from(values[:1] + values) for key, values in CHOICES[name].items()})

    def possible(raw: dict[str, Any]) -> dict[str, Any]:
        if name == "eso" and raw["compat.official_gate"] and raw["reward_threshold"] is None:
            raw["reward_threshold"] = 0.2
        return raw

    return every.map(possible)


@pytest.mark.parametrize("name", CHOICES)
def test_loss_and_gradient_equal_the_oracle(name: str) -> None:
    @settings(max_examples=20 if name == "sft" else 60, deadline=None, derandomize=True, database=None)
    @given(options_of(name), st.integers(0, 10**6), st.sampled_from([None, 1, 2, 3]))
    def compare(raw: dict[str, Any], seed: int, part: int | None) -> None:
        check(name, dict(raw), seed, part)

    compare()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [(name, key, value) for name, keys in CHOICES.items() for key, values in keys.items() for value in values],
)
def test_each_option_alone_equals_the_oracle(name: str, key: str, value: Any) -> None:
    raw = {key: value}
    if key == "compat.official_gate":
        raw["reward_threshold"] = 0.2
    check(name, raw, seed=7, part=2)


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("eso", {"compat.official_gate": True}, "compat.official_gate needs a reward_threshold"),
        ("ppo", {"compat.missing_eos": "replace"}, "needs missing_eos_penalty"),
        ("dpo", {"compat.token_mean_micro": True}, "Extra inputs"),
        ("eso", {"is_correction": "exact", "sampler": "diverse_beam"}, "is_correction needs sampler"),
        ("eso", {"is_correction": "exact", "candidate_source": "reference"}, "is_correction needs sampler"),
        ("eso", {"is_correction": "truncated", "top_k": 5}, "is_correction needs sampler"),
        ("eso", {"is_correction": "exact", "temperatures": [0.0, 1.0]}, "no density"),
        ("eso", {"temperatures": [1.0]}, "at least 2"),
        ("eso", {"temperatures": [1.0, -1.0]}, "greater than or equal to 0"),
        ("eso", {"coef": float("nan")}, "finite"),
        ("eso", {"coef": -0.1}, "greater than or equal to 0"),
        ("rrhf", {"num_beams": 4, "num_beam_groups": 3}, "num_beam_groups must divide num_beams"),
        ("rrhf", {"sampler": "diverse_beam", "top_k": 3}, "diverse_beam does not sample"),
        ("drl", {"baseline": "mean"}, "n_samples of 2 or more"),
        ("drl", {"mix": "gamma", "coef": 1.5}, "at most 1"),
        ("unlikelihood", {"min_one_minus_p": 0.0}, "greater than 0"),
        ("unlikelihood", {"lossy": "welleck"}, "Extra inputs"),
    ],
)
def test_options_that_contradict_each_other_are_refused(name: str, raw: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        make(name, **raw)
