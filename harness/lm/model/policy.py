"""A causal language model with its tokenizer, set up the same way wherever it came from.

Everything a checkpoint could switch on quietly is set here: weights are safetensors or nothing, no code of a checkpoint
runs, every dropout has the recipe's probability, padding has no meaning to the embeddings, and of the settings for text
generation that came with the checkpoint only what ends an answer is kept.
"""

from __future__ import annotations

import copy
import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import nn

from harness.errors import InputError
from harness.lm.model.architectures import rotary_limit
from harness.lm.model.load import WEIGHT_DTYPES, load_model, no_progress_bars
from harness.models.folders import check_folder
from harness.text.encode import check_fits
from harness.text.stops import Stops
from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel

    from harness.models.adapter import Adapter
    from harness.spec.model import Model

log = logging.getLogger(__name__)


class Policy:
    """A causal LM, its tokenizer and how it computes. Implements :class:`harness.api.Policy`.

    The model is in evaluation mode after loading; who wants dropout calls ``model.train()``. ``config.use_cache`` is
    off, so that a training forward keeps no keys and values; a sampler passes ``use_cache=True`` itself.
    """

    model: PreTrainedModel
    tokeniser: Tokeniser
    device: torch.device
    dtype: Literal["float32", "float64", "bfloat16"]
    """The compute type; weights are float32 where this is bfloat16."""
    vocab_size: int
    """One more than the highest id that has a token: the width of :meth:`restrict`'s result."""
    stops: Stops
    """What ends an answer in sampling; see :meth:`end_at`."""
    dropout: float
    """Probability of every dropout of the model."""
    parameter_count: int
    """Trainable scalars, tied weights counted once."""
    positions_limit: int | None
    """Most tokens that prompt and completion may have together; None where the architecture sets no limit."""
    adapter: Adapter | None = None

    def __init__(
        self,
        model: nn.Module,
        tokeniser: Tokeniser,
        *,
        device: torch.device | str = "cpu",
        dtype: Literal["float32", "float64", "bfloat16"] = "float32",
        dropout: float = 0.0,
        where: str | None = None,
    ) -> None:
        """Take over ``model``, which is changed in place.

        Args:
            model: a transformers causal LM.
            tokeniser: the tokenizer it was, or will be, trained with.
            device: where to compute.
            dtype: ``bfloat16`` autocasts; the weights become float32 or float64.
            dropout: probability that every dropout of the model gets.
            where: what to blame in messages.

        Raises:
            InputError: the model has fewer ids than the tokenizer.
        """
        self.model = cast("PreTrainedModel", model)
        self.tokeniser = tokeniser
        self.device = torch.device(device)
        self.dtype = dtype
        self.vocab_size = tokeniser.size
        untyped = cast("Any", self.model)  # transformers leaves some methods without types
        width = untyped.get_output_embeddings().weight.shape[0]
        if width < tokeniser.size:
            raise InputError(
                "the model's vocabulary is smaller than the tokenizer's",
                where=where,
                got=width,
                expected=f"at least {tokeniser.size} ids",
            )
        self.dropout = dropout
        set_dropout(self.model, dropout)
        _forget_padding(self.model)
        _fuse_activations(self.model)
        stops = Stops.of(tokeniser, self.model.generation_config)
        _forget_generation(self.model, tokeniser)
        self.end_at(stops)
        if dtype == "float64":
            _spell_out_experts(self.model)
        untyped.to(device=self.device, dtype=WEIGHT_DTYPES[dtype])
        untyped.eval()
        self.parameter_count = sum(parameter.numel() for parameter in self.model.parameters())
        self.positions_limit = positions_limit(self.model.config)
        if (rotary := rotary_limit(self.model.config)) is not None and rotary == self.positions_limit:
            log.warning(
                "%s: rows of more than %d tokens are refused: beyond that its rotary factors (LongRoPE) change with "
                "the longest row of a batch",
                where or self.model.config.model_type,
                rotary,
            )
        absent = torch.zeros(self.vocab_size, dtype=torch.bool)
        absent[list(tokeniser.absent)] = True
        self._absent = absent.to(self.device) if tokeniser.absent else None

    @classmethod
    def load(
        cls, folder: Path | str, *, spec: Model, device: torch.device | str = "cpu", dropout: float = 0.0
    ) -> Policy:
        """Load a local folder in Hugging Face format (see :func:`harness.models.resolve.resolve` for hub names).

        Raises:
            InputError: no folder, no weights, only pickled weights, weights that do not fit the configuration, a
                configuration that wants code, no tokenizer, a tokenizer without EOS or larger than the model.
        """
        folder = Path(folder)
        where = f"model {spec.name} ({folder})"
        check_folder(folder, where=where)
        tokeniser = Tokeniser.load(folder)
        model = load_model(folder, spec, "AutoModelForCausalLM", where=where)
        return cls(model, tokeniser, device=device, dtype=spec.dtype, dropout=dropout, where=where)

    def save(self, folder: Path | str, state: dict[str, Tensor] | None = None) -> None:
        """Write a folder that :meth:`load` reads: weights (safetensors, in their own dtype), configuration, tokenizer.

        Of a model with an adapter it has that alone, what ends an answer, and the tokenizer. The weights are ``state``
        where the model's own are divided among processes.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        no_progress_bars()
        self.model.config.use_cache = True  # others who load the folder expect it
        try:
            if self.adapter is None:
                self.model.save_pretrained(folder, state_dict=state)
            else:
                self.adapter.save(folder, state)
                cast("Any", self.model.generation_config).save_pretrained(folder)
        finally:
            self.model.config.use_cache = False
        self.tokeniser.save(folder)

    @property
    def eos_id(self) -> int:
        """The token that ends an answer in training."""
        return self.stops.ids[0]

    def end_at(self, stops: Stops) -> None:
        """End answers so; the generation settings that are saved with the model say it to others."""
        self.stops = stops
        settings: Any = self.model.generation_config
        settings.eos_token_id = list(stops.ids) if len(stops.ids) > 1 else stops.ids[0]
        settings.stop_strings = list(stops.texts) or None

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of every forward: bfloat16 autocast, or nothing."""
        if self.dtype == "bfloat16":
            return cast("AbstractContextManager[None]", torch.autocast(self.device.type, dtype=torch.bfloat16))
        return nullcontext()

    def without_autocast(self) -> Policy:
        """Return the same model computing in its weights' own type: to try what rounding to bfloat16 would hide."""
        exact = copy.copy(self)
        exact.dtype = "float64" if next(self.model.parameters()).dtype == torch.float64 else "float32"
        return exact

    def restrict(self, logits: Tensor) -> Tensor:
        """Cut logits (..., model's width) to the ids that have a token: (..., :attr:`vocab_size`).

        Some models are wider than their tokenizer (OPT 50,272 over 50,265, Pythia 50,304 over 50,277). The rest has no
        text, so it is never sampled, and probabilities, entropies and KL are those of the distribution over ids that
        have a token. This is the only place that says so: every softmax of the harness takes what this returns. A hole
        among the ids (rare) is minus infinity.
        """
        logits = logits[..., : self.vocab_size]
        return logits if self._absent is None else logits.masked_fill(self._absent, float("-inf"))

    def check_fits(self, prompt_length: int, completion_length: int, *, where: str | None = None) -> None:
        """Raise InputError where prompt and completion together (in tokens) exceed the context."""
        check_fits(prompt_length, completion_length, self.positions_limit, where=where)


def positions_limit(config: PreTrainedConfig) -> int | None:
    """Return the context length of a configuration, in tokens; None where it has none (ALiBi).

    It ends where rotary factors begin to depend on other rows of the batch (LongRoPE).
    """
    rotary = rotary_limit(config)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value if rotary is None else min(value, rotary)
    return rotary


def set_dropout(model: nn.Module, probability: float) -> None:
    """Give every dropout of ``model`` the same probability; LayerDrop, which skips whole layers, is turned off.

    Dropout hides in three places: ``nn.Dropout`` modules, attributes that a forward passes to the functional form (OPT,
    NeoX, Bloom), and the configuration, which some forwards read (GPT-J) and which is saved with the model.
    """
    for module in model.modules():
        if isinstance(module, (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)):
            module.p = probability
        for name in [name for name in vars(module) if _is_dropout(name, vars(module)[name])]:
            setattr(module, name, 0.0 if "layerdrop" in name else probability)
    configs = {id(config): config for module in model.modules() if (config := getattr(module, "config", None))}
    for config in configs.values():
        _set_config_dropout(config, probability)


def _set_config_dropout(config: object, probability: float) -> None:
    for name, value in list(vars(config).items()):
        if _is_dropout(name, value):
            setattr(config, name, 0.0 if "layerdrop" in name else probability)
        elif type(value).__module__.startswith("transformers.") and hasattr(value, "to_dict"):
            _set_config_dropout(value, probability)


def _is_dropout(name: str, value: object) -> bool:
    named = any(each in name for each in ("dropout", "pdrop", "layerdrop"))  # no causal LM has the heads below
    return named and type(value) in (int, float) and not name.startswith(("classifier", "summary"))


def _forget_padding(model: PreTrainedModel) -> None:
    """Let every embedding learn.

    An embedding's ``padding_idx`` blocks the gradient of that row. Padding here is told by lengths, and the id may well
    be a real token (pad == eos == bos).
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None


def _fuse_activations(model: nn.Module) -> None:
    """Compute GELU in one kernel: GPT-2's is the same formula, which transformers spells out in eight.

    That is a tenth of a training step on a CPU. The configuration still names what it named.
    """
    from transformers.activations import GELUActivation, NewGELUActivation

    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is NewGELUActivation:
                setattr(module, name, nn.GELU(approximate="tanh"))
            elif type(child) is GELUActivation and child.act is nn.functional.gelu:
                setattr(module, name, nn.GELU())


def _spell_out_experts(model: PreTrainedModel) -> None:
    """Compute experts one by one, as the architecture's own file says: torch's grouped product has no float64."""
    if getattr(model.config, "_experts_implementation", None) == "grouped_mm":
        cast("Any", model).set_experts_implementation("eager")


def _forget_generation(model: PreTrainedModel, tokeniser: Tokeniser) -> None:
    """Replace the checkpoint's generation settings by none, but for the ids that are the tokenizer's."""
    from transformers import GenerationConfig

    made: Any = GenerationConfig
    model.generation_config = made(bos_token_id=tokeniser.bos_id, pad_token_id=tokeniser.eos_id)
    model.config.use_cache = False
