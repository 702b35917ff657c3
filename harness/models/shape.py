"""How large a model is, told from a configuration and from the headers of files, without loading a weight or torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.models.adapter import ADAPTER_CONFIG, adapter_base
from harness.models.folders import count_numbers, read_json
from harness.models.gguf import is_gguf
from harness.models.gguf_header import read_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.spec.model import Model
    from harness.spec.recipe import AdapterSettings

#: Parts of the names of linear layers that lead into the wide middle of an MLP, or out of it.
_WIDE = ("gate", "up", "down", "fc", "dense_h", "dense_4h", "w1", "w2", "w3")


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder: numbers of parameters and layers, and widths in numbers."""

    parameters: int
    """Tied weights counted once."""
    layers: int
    width: int
    """Of the hidden states."""
    inner: int
    """Of the middle of an MLP."""
    queries: int
    """Of all heads' queries together."""
    keys: int
    """Of all heads' keys together."""
    vocabulary: int
    gated: bool
    """Whether an MLP has a gate: three matrices in the place of two."""

    @property
    def in_layers(self) -> int:
        """Numbers in the linear weights of all layers."""
        attention = 2 * self.width * (self.queries + self.keys)
        return self.layers * (attention + (3 if self.gated else 2) * self.width * self.inner)

    def adapter(self, settings: AdapterSettings) -> int:
        """Return how many parameters an adapter has: of each target ``rank`` times what goes in and what comes out."""
        wide = self.width + self.inner
        if settings.targets == "all-linear":
            attention = 2 * (self.width + self.queries) + 2 * (self.width + self.keys)
            sizes = attention + (3 if self.gated else 2) * wide
        else:
            sizes = sum(
                wide if any(part in name for part in _WIDE) else self.width + self.queries for name in settings.targets
            )
        return self.layers * settings.rank * sizes


def shape_of(model: Model) -> Shape | None:
    """Return the shape of a model that lies on this machine; None where it is not here, or cannot be read yet."""
    try:
        place = Path(model.path).expanduser() if model.path else _cached(model)
        if place is None:
            return None
        if is_gguf(place):
            return _of_gguf(place)
        if (place / ADAPTER_CONFIG).is_file():
            return shape_of(adapter_base(place, model.base, where=str(place)))
        return shape_of_config(read_json(place / "config.json", where=str(place)), count_numbers(place))
    except (HarnessError, OSError, ValueError):  # whoever loads it says what is wrong
        return None


def shape_of_config(config: Mapping[str, Any], parameters: int | None = None, vocabulary: int = 0) -> Shape:
    """Return the shape that a transformers configuration describes, with as many parameters as follow from it."""
    config = config.get("text_config") or config
    width = _size(config, "n_embd", "hidden_size", "d_model") or 768
    heads = _size(config, "n_head", "num_attention_heads") or max(1, width // 64)
    head = _size(config, "head_dim") or width // heads
    shape = Shape(
        parameters=parameters or 0,
        layers=_size(config, "n_layer", "num_hidden_layers", "num_layers") or 12,
        width=width,
        inner=_size(config, "n_inner", "intermediate_size", "ffn_dim") or 4 * width,
        queries=heads * head,
        keys=(_size(config, "num_key_value_heads") or heads) * head,
        vocabulary=vocabulary or _size(config, "vocab_size") or 0,
        gated="rms_norm_eps" in config,
    )
    return shape if parameters else _counted(shape, tied=bool(config.get("tie_word_embeddings", not shape.gated)))


def _counted(shape: Shape, *, tied: bool) -> Shape:
    embedded = (1 if tied else 2) * shape.vocabulary * shape.width
    return Shape(**{**vars(shape), "parameters": shape.in_layers + embedded})


def _cached(model: Model) -> Path | None:
    """Return where the hub's cache has a model."""
    from huggingface_hub import try_to_load_from_cache

    for name in ("config.json", ADAPTER_CONFIG):
        found = try_to_load_from_cache(model.name, name, revision=model.revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _of_gguf(file: Path) -> Shape:
    metadata, numbers = read_header(file)
    told = metadata.get
    kind = told("general.architecture")
    named = {
        "hidden_size": "embedding_length",
        "num_hidden_layers": "block_count",
        "intermediate_size": "feed_forward_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "vocab_size": "vocab_size",
    }
    config = {name: value for name, key in named.items() if (value := told(f"{kind}.{key}")) is not None}
    return shape_of_config(config, numbers)


def _size(config: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of these settings that is a size; whoever builds the model says what is wrong with another."""
    return next((n for name in names if type(n := config.get(name)) is int and n > 0), None)
