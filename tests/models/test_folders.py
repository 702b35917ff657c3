from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from harness.errors import InputError
from harness.models.folders import config_digest, weights_digest

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = {
    "b": torch.arange(6, dtype=torch.float32).view(2, 3),
    "a": torch.ones(4, dtype=torch.bfloat16),
    "c": torch.zeros(0, 3),
}


def save(folder: Path, weights: dict[str, torch.Tensor], name: str = "model.safetensors", **metadata: str) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / name, metadata={"format": "pt", **metadata})
    return folder


def shard(folder: Path, **weight_map: str) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), "utf-8")
    return folder


def test_shards_order_and_remarks_do_not_count(tmp_path: Path) -> None:
    whole = weights_digest(save(tmp_path / "whole", WEIGHTS))
    assert len(whole) == 64
    assert weights_digest(save(tmp_path / "again", dict(reversed(WEIGHTS.items())), note="x")) == whole
    folder = save(tmp_path / "parts", {"a": WEIGHTS["a"]}, "model-00001-of-00002.safetensors")
    save(folder, {name: WEIGHTS[name] for name in "bc"}, "model-00002-of-00002.safetensors")
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert weights_digest(shard(folder, a=first, b=second, c=second)) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"b": torch.arange(6, dtype=torch.float32).view(3, 2)},
        {"b": torch.arange(6, dtype=torch.float32).view(2, 3) + torch.tensor(1e-7)},
        {"a": torch.ones(4, dtype=torch.float16)},
        {"c": torch.zeros(0, 4)},
        {"d": torch.zeros(1)},
    ],
)
def test_every_name_type_shape_and_number_counts(tmp_path: Path, change: dict[str, torch.Tensor]) -> None:
    digests = {weights_digest(save(tmp_path / "a", WEIGHTS)), weights_digest(save(tmp_path / "b", WEIGHTS | change))}
    assert len(digests) == 2


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights"):
        weights_digest(tmp_path)


@pytest.mark.parametrize("name", ["../model.safetensors", "missing.safetensors"])
def test_an_index_names_files_of_its_folder_only(tmp_path: Path, name: str) -> None:
    save(tmp_path, WEIGHTS)
    folder = tmp_path / "inner"
    folder.mkdir()
    with pytest.raises(InputError, match="not in the folder"):
        weights_digest(shard(folder, a=name))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        (10**12).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        b"\x08" + b"\x00" * 30,
        (8).to_bytes(8, "little") + b'{"a":{}}',
        (10).to_bytes(8, "little") + b'{"a":true}',
    ],
)
def test_a_broken_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not a whole safetensors file"):
        weights_digest(tmp_path)


def test_a_torn_file(tmp_path: Path) -> None:
    save(tmp_path, WEIGHTS)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        weights_digest(tmp_path)


def test_the_configuration_counts_as_far_as_it_computes(tmp_path: Path) -> None:
    def digest(**settings: Any) -> str:
        config = {"model_type": "gpt2", "n_layer": 2, **settings}
        (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
        return config_digest(tmp_path)

    plain = digest()
    assert digest(transformers_version="9", _name_or_path="/x", use_cache=False, attn_pdrop=0.3) == plain
    assert digest(n_layer=3) != plain
    assert digest(activation_function="relu") != plain


def test_digests_need_no_torch(tmp_path: Path) -> None:
    save(tmp_path, WEIGHTS)
    script = (
        "import sys; from harness.models import resolve; from harness.text import templates; "
        "from harness.models.folders import weights_digest;"
        "print(weights_digest(sys.argv[1])); assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == weights_digest(tmp_path)
