"""The tiny policy is what its users think it is."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

import harness.testing
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.testing import installed, tiny_batch, tiny_policy, tiny_tokeniser, write_distribution

if TYPE_CHECKING:
    from pathlib import Path


def test_every_byte_has_a_token() -> None:
    tokeniser = tiny_tokeniser()
    text = "plain, é, 你好, 🙂\t<|endoftext|>"
    ids = tokeniser.completion(text)
    assert len(ids) == len(text.encode())
    assert tokeniser.decode(ids) == text
    assert (tokeniser.size, tokeniser.eos_id, tokeniser.bos_id) == (257, 256, None)


def test_weights_are_a_function_of_the_seed() -> None:
    before = torch.get_rng_state()
    first, again, other = (dict(tiny_policy(seed).model.named_parameters()) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["transformer.wte.weight"], other["transformer.wte.weight"])
    assert all(weight.dtype == torch.float64 for weight in first.values())
    assert tiny_policy().parameter_count < 5000


def test_policies_share_no_weights() -> None:
    one, other = tiny_policy(), tiny_policy()
    with torch.no_grad():
        next(one.model.parameters()).zero_()
    assert next(other.model.parameters()).abs().max() > 0


def test_answers_differ_and_some_end_by_themselves() -> None:
    policy = tiny_policy()
    batch = tiny_batch(policy)
    drawn = sample(
        policy,
        batch.prompts,
        batch.ids,
        SamplingParams((0.5, 1.0, 1.5, 2.0), 12),
        Noise(0, "test"),
    ).completions
    finished = float(drawn.finished.double().mean())
    assert 0.2 < finished < 0.8
    assert len({tuple(row) for group in drawn.ids.tolist() for row in group}) > 20


def test_the_batch_has_everything_a_method_may_ask_for() -> None:
    batch = tiny_batch(tiny_policy())
    assert len(set(batch.ids)) == len(batch) == 8
    assert len(set(batch.prompts.lengths.tolist())) > 1
    assert len(set(batch.demonstrations.lengths.flatten().tolist())) > 4
    assert bool(batch.demonstrations.finished.all())
    assert batch.pairs is not None
    assert (batch.labels, batch.completions) == (None, None)
    assert set(batch.columns) == {"category", "references"}


def test_labelled_rows_are_unpaired_preferences() -> None:
    batch = tiny_batch(tiny_policy(), labelled=True)
    assert batch.pairs is None
    assert batch.labels is not None
    assert batch.completions is not None
    assert set(batch.labels.tolist()) == {True, False}
    assert bool((batch.completions.lengths > 0).all())
    assert ((batch.demonstrations.lengths > 0).flatten() == batch.labels).all()


def test_most_checks_need_no_torch() -> None:
    code = (
        "import sys\n"
        "from harness.testing import check_dataset, check_metric, check_registration, check_reward, installed\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_offered_exists() -> None:
    for name in harness.testing.__all__:
        assert callable(getattr(harness.testing, name))
    with pytest.raises(AttributeError, match="no attribute 'check_everything'"):
        _ = harness.testing.check_everything


def test_a_fake_distribution_looks_like_an_installed_one(tmp_path: Path) -> None:
    write_distribution(
        tmp_path, "Fake-Guest", "2.0", entry_points={"fake": "fake_guest_module"},
        modules={"fake_guest_module.py": "x = 1\n"}, requires=["numpy>=2", "posttune-harness"],
    )  # fmt: skip
    before = list(sys.path)
    with installed(tmp_path) as entry_points:
        found = importlib.metadata.distribution("fake-guest")
        assert (found.version, found.requires) == ("2.0", ["numpy>=2", "posttune-harness"])
        assert {str(file) for file in found.files or ()} >= {
            "fake_guest_module.py",
            "Fake_Guest-2.0.dist-info/METADATA",
        }
        (entry_point,) = entry_points
        assert entry_point.load().x == 1
        assert "fake_guest_module" in sys.modules
    assert sys.path == before
    assert "fake_guest_module" not in sys.modules
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("fake-guest")
