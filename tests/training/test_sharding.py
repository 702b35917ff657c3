"""Two real processes that divide the weights, over gloo, against one: the same results, files and ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from training import shard_main
from training.shard_main import EQUAL
from training.test_distributed import launch

from harness.errors import InputError
from harness.training.distributed import Ranks
from harness.training.sharding import divided_like, is_divided, join, own, total_norm, weights_of, whole

if TYPE_CHECKING:
    from pathlib import Path


#: Seconds that the ranks have, on a machine that does ten other things.
PATIENCE = 1500

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


class Pair:
    """What both ranks wrote, by scenario."""

    def __init__(self, out: Path, *names: str) -> None:
        self.out = out
        processes = launch(out, *names, module="training.shard_main")
        try:
            said = [process.communicate(timeout=PATIENCE)[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
        self.said = said

    def __getitem__(self, name: str) -> list[dict[str, Any]]:
        return [json.loads((self.out / f"{name}-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = {}
    for name in EQUAL:
        folder = tmp_path_factory.mktemp(name)
        result = shard_main.run(name, folder)
        found[name] = (result, shard_main.numbers(result))
    return found


def check_equal(pair: Pair, name: str, result: Any, weights: dict[str, Any]) -> None:
    """Compare what two ranks made with what one process made."""
    one, other = pair[name]
    assert one["weights"] == other["weights"]
    assert distance(one["weights"], weights) < 1e-6
    assert one["summary"]["weights_sha256"] == other["summary"]["weights_sha256"]
    assert any(row["grad_norm"] > 0.1 for row in result.log)
    for mine, expected in zip(one["log"], result.log, strict=True):
        for key in ("tokens", "moved", "digests", "learning_rate"):
            assert mine[key] == expected[key], key
        assert mine["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)
        for key in ("grad_norms", "grad_norms_without", "loss"):
            assert mine[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key
        for key in ("kl", "probe_entropy"):
            assert mine[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-6), key


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((torch.as_tensor(one[name]) - torch.as_tensor(other[name])).abs().max()) for name in one)


@pytest.mark.parametrize("name", EQUAL)
def test_divided_weights_train_as_whole_ones(pair: Pair, alone: Any, name: str) -> None:
    check_equal(pair, name, *alone[name])


@pytest.mark.parametrize("name", EQUAL)
def test_each_process_holds_its_part(pair: Pair, name: str) -> None:
    one, other = pair[name]
    assert one["of"] == other["of"] == one["held"] + other["held"]
    assert 0.4 < one["held"] / one["of"] < 0.65  # rows of a weight are not halved
    held = {model["role"]: model for rank in (one, other) for model in rank["summary"]["models_held"]}
    assert held["policy"]["bytes"] < 0.65 * 4 * held["policy"]["parameters"]


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_written_is_whole(pair: Pair, alone: Any, name: str) -> None:
    mine, expected = pair.out / name / "0", alone[name][0].folder
    files = sorted(path.relative_to(expected) for path in expected.rglob("*") if path.is_file())
    assert sorted(path.relative_to(mine) for path in mine.rglob("*") if path.is_file()) == files
    assert list((pair.out / name / "1").iterdir()) == []
    for path in files:
        if path.suffix == ".safetensors":
            assert distance(load_file(mine / path), load_file(expected / path)) < 1e-5, path
        elif path.name != "method.json":
            assert (mine / path).read_bytes() == (expected / path).read_bytes(), path


def test_a_segment_that_was_stopped_goes_on_to_the_bit(pair: Pair) -> None:
    for rank in range(2):
        assert pair["stopped"][rank]["step"].startswith("stopped before step 1 by SIGTERM")
        assert pair["resumed"][rank]["weights"] == pair["ppo"][rank]["weights"]
    assert pair["resumed"][0]["notes"] == ["going on at step 1"]


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("nan-loss", "DivergedError", "the loss is not finite at step 0"),
        ("other-models", "StageError", "asked different models at the same time"),
        ("noise", "InputError", "execution.shard divides them among processes"),
        ("by-itself", "PluginError", "the policy's model was run by itself"),
        ("no-memory", "MachineError", "a step with divided weights is not begun again: CUDA out of memory"),
    ],
)
def test_what_befalls_one_process_ends_both(pair: Pair, name: str, kind: str, text: str) -> None:
    for rank in pair[name]:
        assert rank["kind"] == kind
        assert text in rank["text"]
        assert rank["files"] == 0


def test_one_process_divides_nothing() -> None:
    ranks = join(1, torch.device("cpu"))
    assert type(ranks) is Ranks
    assert not ranks.divided
    policy = shard_main.small_policy()
    assert weights_of(policy) is None
    weight = next(policy.model.parameters())
    assert not is_divided(weight)
    assert own(weight) is whole(weight) is divided_like(weight, weight) is weight
    gradients = [torch.full((3,), 2.0), torch.full((4,), 1.0)]
    assert float(total_norm(gradients)) == 4.0


def test_a_model_without_layers_that_can_be_told() -> None:
    from harness.training.sharding import _layers

    policy = shard_main.small_policy()
    with pytest.raises(InputError, match="layers cannot be told"):
        _layers(torch.nn.Linear(2, 2), policy)
