"""RLOO and GRPO against the installed TRL's own advantages and losses, on ragged batches, to 1e-9."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
import trl_policy_gradients as oracle
from execution import warm
from table_run import step

from harness_methods import grpo, rloo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.api import MethodRegistration

pytestmark = pytest.mark.timeout(900)  # importing TRL takes a minute where ten others work

(RLOO,), (GRPO,) = rloo.harness_register_methods(), grpo.harness_register_methods()
REDUCTIONS = {"grpo": "seq_mean", "dapo": "token_mean", "dr_grpo": "constant", "luspo": "seq_sum", "bnpo": "token_mean"}


@pytest.fixture(scope="module")
def trl(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    if importlib.util.find_spec("trl") is None:
        pytest.skip("TRL is not installed")
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path_factory.mktemp("home")), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = warm.ended([sys.executable, "-m", "trl_policy_gradients"], env=environment, timeout=800)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index('{"version"') :])
    return found


def compare(registration: MethodRegistration, raw: Mapping[str, Any], wanted: list[Any]) -> None:
    for seed, theirs in zip(oracle.SEEDS, wanted, strict=True):
        world = oracle.world(seed)
        options = {"num_iterations": 2, "absent_divisor": "all", **raw}
        run = step(registration, options, world, learning_rate=oracle.RATE, max_length=oracle.LONGEST)
        assert len(run.updates) == 2
        for mine, update in zip(run.updates, theirs, strict=True):
            assert sum(mine.shares.values()) == pytest.approx(update["loss"], rel=1e-9, abs=1e-9)
            gradient = torch.tensor(update["gradient"], dtype=torch.float64)
            torch.testing.assert_close(mine.gradient, gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("place", range(len(oracle.RLOO)), ids=[str(settings) for settings in oracle.RLOO])
def test_rloo(trl: Mapping[str, Any], place: int) -> None:
    compare(RLOO, {"objective": "clipped", **oracle.RLOO[place]}, trl["rloo"][place])


@pytest.mark.parametrize("place", range(len(oracle.GRPO)), ids=[str(settings) for settings in oracle.GRPO])
def test_grpo(trl: Mapping[str, Any], place: int) -> None:
    settings = oracle.GRPO[place]
    compare(GRPO, settings | {"loss_reduction": REDUCTIONS[settings["loss_reduction"]]}, trl["grpo"][place])


def test_some_ratios_were_clipped(trl: Mapping[str, Any]) -> None:
    """In the second update the plain gradient of some answers is gone."""
    for name in ("rloo", "grpo"):
        gone = 0
        for seed, result in zip(oracle.SEEDS, trl[name][0], strict=True):
            first, second = (torch.tensor(update["gradient"]) for update in result)
            gone += int(((first != 0) & (second == 0) & oracle.world(seed).samples.mask).sum())
        assert gone > 5, name
