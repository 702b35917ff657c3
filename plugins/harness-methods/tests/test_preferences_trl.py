"""KTO, CPO, SimPO, ORPO and online DPO against TRL's own loss functions, on given log-probs."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from execution import warm
from methods.fake_run import EOS
from preference_run import Given, World, step
from trl_preferences_oracle import CPO, KTO, ONLINE, SEEDS, case

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.timeout(900)  # importing TRL takes a minute where ten others work


@pytest.fixture(scope="module")
def trl(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    if importlib.util.find_spec("trl") is None:
        pytest.skip("TRL is not installed")
    home = str(tmp_path_factory.mktemp("home"))
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1", "HF_HOME": home,
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = warm.ended([sys.executable, "-m", "trl_preferences_oracle"], env=environment, timeout=800)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index('{"version"') :])
    return found


def world_of(given: Mapping[str, Any], *, wanted: int) -> tuple[World, tuple[Given, Given]]:
    """Return a world whose answers, ``wanted`` a row, have the given log-probs."""
    answers, tables = [], (Given(), Given())
    for b, pair in enumerate(given["policy"]):
        group = []
        for j, logps in enumerate(pair[:wanted]):
            own = 1 + 2 * b + j  # no two answers are the same
            tokens = [*[own] * (len(logps) - 1), EOS if given["finished"][b][j] else own]
            group.append(tokens)
            for side, name in enumerate(("policy", "reference")):
                tables[side][f"row-{b}", tuple(tokens)] = given[name][b][j]
        answers.append(group)
    rewards = [row[:wanted] for row in given["rewards"]]
    return World([[1 + b] for b in range(len(answers))], answers, rewards, given["labels"]), tables


@pytest.mark.parametrize("place", range(len(KTO)))
def test_kto(trl: Mapping[str, Any], place: int) -> None:
    for seed, wanted in zip(SEEDS, trl["kto"][place], strict=True):
        given = case(seed)
        world, tables = world_of(given, wanted=1)
        for b, term in enumerate(given["mismatched"] if len(world.answers) > 1 else []):
            tokens = tuple(world.answers[b - 1][0])  # TRL shifts the other way than the paper
            tables[0][f"row-{b}", tokens] = [term, *[0.0] * (len(tokens) - 1)]
            tables[1][f"row-{b}", tokens] = [0.0] * len(tokens)
        run, _ = step("kto", {"kl_shift": -1, **KTO[place]}, world, given=tables)
        assert run.loss == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("place", range(len(CPO)))
def test_cpo_and_simpo(trl: Mapping[str, Any], place: int) -> None:
    settings = CPO[place]
    for seed, wanted in zip(SEEDS, trl["cpo"][place], strict=True):
        world, tables = world_of(case(seed), wanted=2)
        run, _ = step("cpo", {"alpha": 0.0, **settings}, world, given=tables)
        assert run.loss == pytest.approx(wanted, rel=1e-9)
        if settings["loss_type"] == "simpo" and "alphapo" not in settings:
            raw = {"gamma": settings["simpo_gamma"], "label_smoothing": settings.get("label_smoothing", 0.0)}
            run, _ = step("simpo", {**raw, "beta": settings["beta"]}, world, given=tables)
            assert run.loss == pytest.approx(wanted, rel=1e-9)


def test_orpo(trl: Mapping[str, Any]) -> None:
    for seed, wanted in zip(SEEDS, trl["orpo"][0], strict=True):
        world, tables = world_of(case(seed), wanted=2)
        run, _ = step("orpo", {"coef": 1.0}, world, given=tables)
        assert run.shares["orpo"] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("place", range(len(ONLINE)))
def test_online_dpo(trl: Mapping[str, Any], place: int) -> None:
    for seed, wanted in zip(SEEDS, trl["online"][place], strict=True):
        world, tables = world_of(case(seed), wanted=2)
        run, _ = step("online-dpo", {"ties": "first", **ONLINE[place]}, world, given=tables)
        assert run.loss == pytest.approx(wanted, rel=1e-9)
