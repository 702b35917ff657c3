"""An adapter's folder as a model: merged once into its base, whichever way that is named."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import peft
import pytest
import torch
from stages import configs
from stages.requests import request, silent
from transformers import GenerationConfig

from harness.errors import InputError
from harness.lm.model.policy import Policy
from harness.models.resolve import Resolved
from harness.spec.model import Model
from harness.spec.results.models import PreparedModel
from harness.spec.runtime import Runtime
from harness.spec.stages.existing_model import AdapterSource, FolderSource, HubSource
from harness.stages import existing_model
from harness.stages.find_model import prepared as found
from harness.stages.models import content_of, model_source
from harness.store.stages import Store
from harness.testing.tiny import tiny_policy, tiny_tokeniser

if TYPE_CHECKING:
    from pathlib import Path

    from harness.store.records import Record

#: PEFT calls transformers by old names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

NO_PLUGINS: Any = None
IDS = torch.arange(3, 18).view(3, 5)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny_policy().save(tmp_path / "a base")
    return tmp_path / "a base"


def adapter(base: Path, folder: Path) -> torch.Tensor:
    """Write an adapter as PEFT does; return the logits of the model with it."""
    model = Policy.load(base, spec=Model(name="b", dtype="float64")).model
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    adapted: Any = peft.get_peft_model(model, config)
    with torch.inference_mode():
        expected: torch.Tensor = adapted(input_ids=IDS, use_cache=False).logits
    adapted.save_pretrained(folder)
    return expected


def prepared(tmp_path: Path, folder: Path, base: str | None = None) -> Record:
    spec = Model(name="m", path=str(folder), base=base)
    config = configs.model_config(source=model_source(spec, spec.path), loading=configs.loading(dtype="float64"))
    asked = request(tmp_path / "results", config)
    asked = replace(asked, runtime=Runtime(path=str(folder), name="m", base=base))
    return existing_model.run(asked, Store(tmp_path / "results"), NO_PLUGINS, silent)


def test_it_is_merged_into_the_base_that_it_names(base: Path, tmp_path: Path) -> None:
    expected = adapter(base, tmp_path / "mine")
    record = prepared(tmp_path, tmp_path / "mine")
    said = record.read(PreparedModel)
    assert said.notes == ("an adapter, merged into a base",)
    policy = Policy.load(record.path("checkpoint"), spec=Model(name="m", dtype="float64"))
    with torch.inference_mode():
        logits = policy.model(input_ids=IDS, use_cache=False).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
    source = model_source(Model(name="m"), str(tmp_path / "mine"))
    assert isinstance(source, AdapterSource)
    assert isinstance(source.base, FolderSource)
    assert said.content == content_of(source)


def test_the_file_may_name_another_base(base: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "mine")
    told = json.loads((tmp_path / "mine" / "adapter_config.json").read_text())
    (tmp_path / "mine" / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": None}))
    with pytest.raises(InputError, match=r"does not say which model the adapter goes on.*base: beside path:"):
        model_source(Model(name="m"), str(tmp_path / "mine"))
    other = tmp_path / "other"
    tiny_policy(1).save(other)
    one, two = (model_source(Model(name="m", base=str(each)), str(tmp_path / "mine")) for each in (base, other))
    assert one != two
    assert prepared(tmp_path, tmp_path / "mine", str(other)).read(PreparedModel).notes == (
        "an adapter, merged into other",
    )


def test_its_own_tokenizer_and_ends_come_along(base: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "mine")
    tokeniser = tiny_tokeniser()
    tokeniser.chat_template = "{{ messages[0]['content'] }}"
    tokeniser.save(tmp_path / "mine")
    GenerationConfig(eos_token_id=[256, 10]).save_pretrained(tmp_path / "mine")  # type: ignore[no-untyped-call]
    policy = Policy.load(prepared(tmp_path, tmp_path / "mine").path("checkpoint"), spec=Model(name="m"))
    assert policy.tokeniser.chat_template == tokeniser.chat_template
    assert policy.stops.ids == (256, 10)


def test_a_tokenizer_that_its_base_has_no_rows_for_is_left(base: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "mine")
    tokeniser = tiny_tokeniser()
    tokeniser.wrapped.add_tokens(["<more>"])
    tokeniser.save(tmp_path / "mine")
    policy = Policy.load(prepared(tmp_path, tmp_path / "mine").path("checkpoint"), spec=Model(name="m"))
    assert "<more>" not in policy.tokeniser.added_tokens


def test_a_base_that_is_not_there(base: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "mine")
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="the model that the adapter goes on is not there"):
        model_source(Model(name="m"), str(tmp_path / "mine"))
    with pytest.raises(InputError, match="the adapter is named as its own base"):
        model_source(Model(name="m", base=str(tmp_path / "mine")), str(tmp_path / "mine"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="the base of this adapter is an adapter itself"):
        model_source(Model(name="m", base=str(tmp_path / "other")), str(tmp_path / "mine"))


def test_one_adapter_on_two_models_of_the_hub_is_two_models(tmp_path: Path) -> None:
    """What is on the hub is known only when it is there, so what was found says it."""
    source = AdapterSource(files="a" * 64, base=HubSource(name="org/base", revision=None))
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    located = Resolved(tmp_path, "file", None)
    contents = {found(source, located, Runtime(name="m"), base=base * 64).content for base in "bc"}
    assert len(contents) == 2
