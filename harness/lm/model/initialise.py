"""New models: a configuration and a seed become random weights. No torch is imported until weights are drawn."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import TYPE_CHECKING, Any, cast

from harness.errors import InputError, suggest
from harness.lm.model.architectures import check_architecture, not_loaded

if TYPE_CHECKING:
    from pathlib import Path

    from harness.spec.model import Model
    from harness.text.tokenise import Tokeniser

#: Settings of a configuration that are not the user's to give, and who sets them.
SET_ELSEWHERE = {
    "bos_token_id": "the tokenizer",
    "eos_token_id": "the tokenizer",
    "pad_token_id": "nobody: padding is told by lengths",
    "use_cache": "the harness",
    "dtype": "the model's own dtype",
    "torch_dtype": "the model's own dtype",
}
#: Older spellings that transformers turns into ``rope_parameters``.
ROTARY_SPELLINGS = ("rotary_pct", "rotary_emb_base", "rope_theta", "rope_scaling", "partial_rotary_factor")


def initialise(spec: Model, tokeniser: Tokeniser, seed: int, folder: Path | str) -> None:
    """Write a checkpoint with random weights, a function of ``spec``, the tokenizer's size and ``seed`` alone.

    Each architecture's own initialisation draws the weights, in float32 and on the CPU, whatever the device and the
    thread count. Torch's own random state is as it was afterwards.

    Raises:
        InputError: ``spec`` has no configuration, or transformers does not accept it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from harness.lm.model.policy import Policy

    where = f"model {spec.name}, config"
    config = _configuration(spec, tokeniser, where)
    check_architecture(config, where=where)
    with torch.random.fork_rng(devices=[]):
        # Initialisers of transformers draw from torch's global generator and take no other; the fork puts it back.
        torch.default_generator.manual_seed(_weights_seed(seed))
        with torch.device("cpu"):
            try:
                model = cast("Any", AutoModelForCausalLM).from_config(
                    config, dtype=torch.float32, attn_implementation=spec.attention, trust_remote_code=False
                )
            except Exception as error:  # a combination of sizes that the architecture refuses, in its own words
                what = "the model cannot be built"
                raise not_loaded(error, what, kind=config.model_type, attention=spec.attention, where=where) from error
    _check_built(model, where)
    Policy(model, tokeniser, where=where).save(folder)


def _check_built(model: Any, where: str) -> None:
    """Refuse what transformers builds without a word and nobody can use."""
    layers = getattr(model.config, "num_hidden_layers", 1)
    if layers < 1:
        raise InputError("the model has no layers", where=where, got=layers, expected="at least 1")
    spoilt = next((name for name, weight in model.named_parameters() if not bool(weight.isfinite().all())), None)
    if spoilt is not None:
        raise InputError("its own initialisation draws weights that are not finite", where=where, got=spoilt)


def _weights_seed(seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"initial weights {seed}".encode()).digest()[:8], "big") >> 1


def _configuration(spec: Model, tokeniser: Tokeniser, where: str) -> Any:
    """Return the transformers configuration of a new model; every argument must be one that it knows."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    given = dict(spec.config or {})
    model_type = given.pop("model_type", None)
    if model_type is None:
        raise InputError("no model_type", where=where, expected="gpt2, opt, gpt_neox or another of transformers")
    causal = list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    if model_type not in causal:
        raise InputError(
            "not a causal language model of transformers",
            where=where,
            got=model_type,
            expected="gpt2, opt, gpt_neox or another",
            did_you_mean=suggest(str(model_type), causal),
        )
    kind = cast("Any", CONFIG_MAPPING)[model_type]
    settings = {item.name for item in dataclasses.fields(kind)} | set(kind.attribute_map)
    settings -= {item.name for item in dataclasses.fields(cast("Any", PreTrainedConfig))}  # names of classes, dtype, …
    if "rope_parameters" in settings:
        settings |= set(ROTARY_SPELLINGS)
    for name, value in given.items():
        if name in SET_ELSEWHERE:
            raise InputError(f"{name} is set by {SET_ELSEWHERE[name]}", where=where, got=value)
        if "drop" in name and name in settings:
            raise InputError(f"{name} is set by recipe.dropout", where=where, got=value)
        if name not in settings:
            raise InputError(
                f"{model_type} has no setting {name}", where=where, did_you_mean=suggest(name, sorted(settings))
            )
    width = given.setdefault("vocab_size", tokeniser.size)
    if isinstance(width, int) and width < tokeniser.size:
        raise InputError(
            "vocab_size is smaller than the tokenizer's", where=where, got=width, expected=f"at least {tokeniser.size}"
        )
    ids = {"bos_token_id": tokeniser.bos_id, "eos_token_id": tokeniser.eos_id, "pad_token_id": None}
    try:
        return kind(**given, **ids)
    except Exception as error:  # transformers' own validation
        raise InputError(f"not a valid configuration: {_all_lines(error)}", where=where) from error


def _all_lines(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()
