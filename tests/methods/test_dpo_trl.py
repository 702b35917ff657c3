"""DPO against the installed TRL: its loss on random log-probs, and a whole step of both on one model."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from execution import warm
from methods.cases import make
from methods.trl_oracle import SEEDS, SETTINGS, random_logprobs
from training.runs import go, plan

from harness.testing.tiny import tiny_policy
from harness_plugins.methods.dpo.losses import pair_losses

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
    done = warm.ended([sys.executable, "-m", "methods.trl_oracle"], env=environment, timeout=800)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index('{"version"') :])
    return found


@pytest.mark.parametrize("place", range(len(SETTINGS)), ids=["-".join(map(str, s.values())) for s in SETTINGS])
def test_the_loss_of_random_log_probs(trl: Mapping[str, Any], place: int) -> None:
    for seed, wanted in zip(SEEDS, trl["random"][place], strict=True):
        given = random_logprobs(seed)
        ratios = (given["policy"] - given["reference"]).sum(-1)
        losses = pair_losses(ratios[:, 0], ratios[:, 1], given["lengths"], **SETTINGS[place])
        assert float(losses.mean()) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("place", range(len(SETTINGS)), ids=["-".join(map(str, s.values())) for s in SETTINGS])
def test_a_whole_step_on_one_model(trl: Mapping[str, Any], place: int, tmp_path: Path) -> None:
    """Both tokenise, mask, add EOS, score and differentiate for themselves; TRL's log-probs are float32."""
    method, _ = make("dpo", **SETTINGS[place])
    what = plan("dpo", last=1, of=1, batch_size=8, dropout=0.1)
    (row,) = go(what, method, tmp_path, load_reference=lambda: tiny_policy(1)).log
    wanted = trl["real"][place]
    assert row["loss"]["dpo"] == pytest.approx(wanted["loss"], rel=2e-5)
    assert row["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=2e-5)
    assert row["method"].keys() == wanted.keys() - {"loss", "grad_norm"}
    for name, value in row["method"].items():
        assert value == pytest.approx(wanted[name], rel=2e-5, abs=1e-6), name
