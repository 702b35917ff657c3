"""Low-rank adapters on a model, through PEFT: made, loaded, saved, merged, and set aside for the reference model.

An adapter changes a model in place: PEFT's layers stand where the linear layers stood, and call them. The model stays
the transformers model that it was, so nothing that scores or decodes has to know.

The reference model of a run is the checkpoint at which the method started. Its frozen weights are the policy's, so it
needs no second model: where the run's adapter is new, the start is the model with the adapter off; where the start
itself had an adapter (supervised epochs trained it before), a frozen copy of that adapter takes the trained one's place
for as long as the reference is asked. Merging the start's adapter instead would change the frozen weights by rounding,
and a checkpoint would no longer go on the base that its user named.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import InputError, first_line, suggest
from harness.models.folders import read_json
from harness.spec.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor, nn

    from harness.spec.recipe import AdapterSettings

#: Where PEFT keeps what an adapter is, and its weights.
ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"

#: PEFT's names of the trained adapter and of the copy of what it was at the start.
_TRAINED: Final = "default"
_START: Final = "start"


def check_installed(where: str | None = None) -> None:
    """Raise InputError, with the command that installs it, where PEFT is missing."""
    if importlib.util.find_spec("peft") is None:
        raise InputError(
            "adapters need the package peft, which is not installed",
            where=where,
            hint="pip install 'posttune-harness[lora]'",
        )


class Adapter:
    """The adapter of one model."""

    def __init__(self, peft_model: Any, settings: AdapterSettings) -> None:
        """Take over a model of PEFT's, whose base is the policy's model."""
        self.settings = settings
        self._peft = peft_model
        self._start: str | None = None

    @classmethod
    def new(cls, model: nn.Module, settings: AdapterSettings, *, seed: int, where: str | None = None) -> Adapter:
        """Put a new adapter on ``model``, which computes what it did: A is drawn from the seed, and B is zero.

        Raises:
            InputError: PEFT is missing, or ``settings.targets`` names no linear layer of the model.
        """
        check_installed(where)
        import peft

        targets: Any = "all-linear" if settings.targets == "all-linear" else list(settings.targets)
        if settings.targets != "all-linear":
            _check_targets(model, settings.targets, where)
        config = peft.LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]  # PEFT divides it by the rank, and takes any number
            target_modules=targets,
            lora_dropout=settings.dropout,
            task_type="CAUSAL_LM",
        )
        with _drawing(seed), _quiet():
            return cls(peft.get_peft_model(model, config), settings)

    @classmethod
    def load(cls, model: nn.Module, folder: Path, settings: AdapterSettings) -> Adapter:
        """Put the adapter on ``model`` that :meth:`save` wrote."""
        check_installed(str(folder))
        import peft

        with _drawing(0), _quiet():  # what is drawn is replaced
            adapted = peft.PeftModel.from_pretrained(model, folder, is_trainable=True)
        return cls(adapted, settings)

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights of the trained adapter, by the names that PEFT saves them under."""
        import peft

        found: dict[str, Tensor] = peft.get_peft_model_state_dict(
            self._peft, adapter_name=_TRAINED, save_embedding_layers=False
        )
        return found

    def save(self, folder: Path, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Write the trained adapter alone, as ``PeftModel.from_pretrained(base, folder)`` loads it.

        Its weights are ``tensors`` where its own are divided among processes.
        """
        import copy

        from safetensors.torch import save_file

        config = copy.copy(self._peft.peft_config[_TRAINED])
        config.target_modules = sorted(config.target_modules)  # a set has another order in each process
        config.inference_mode = True
        config.base_model_name_or_path = None  # a path of this machine would tell others nothing
        config.save_pretrained(str(folder))
        tensors = self.tensors() if tensors is None else tensors
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, folder / ADAPTER_WEIGHTS)

    def merge(self) -> None:
        """Add the adapter to the weights, and give the model its own layers back, whose weights may be trained."""
        self._peft.merge_and_unload(adapter_names=[_TRAINED]).requires_grad_(requires_grad=True)

    def keep_start(self) -> None:
        """Keep what the adapter is now as the start of the run, frozen: a copy, unless it adds nothing yet."""
        import copy

        import torch

        layers = list(self._layers())
        if not any(bool(layer.lora_B[_TRAINED].weight.any()) for layer in layers):
            return
        config = copy.copy(self._peft.peft_config[_TRAINED])
        config.lora_dropout = 0.0
        config.inference_mode = True
        with _drawing(0), _quiet():
            self._peft.add_adapter(_START, config)
        with torch.no_grad():
            for layer in layers:
                for part in (layer.lora_A, layer.lora_B):
                    part[_START].load_state_dict(part[_TRAINED].state_dict())
                    part[_START].requires_grad_(requires_grad=False)
        self._start = _START

    def start_parameters(self) -> list[nn.Parameter]:
        """Return the weights that are held for the start alone."""
        if self._start is None:
            return []
        return [part[_START].weight for layer in self._layers() for part in (layer.lora_A, layer.lora_B)]

    @contextmanager
    def at_start(self) -> Iterator[None]:
        """Let the model be what it was at the start: its frozen weights, with the adapter that it then had."""
        layers = list(self._layers())
        before = [(layer._active_adapter, layer._disable_adapters) for layer in layers]  # noqa: SLF001  # PEFT's own switches turn gradients off and on, too
        try:
            for layer in layers:
                layer._active_adapter = [_START]  # noqa: SLF001  # as above
                layer._disable_adapters = self._start is None  # noqa: SLF001  # as above
            yield
        finally:
            for layer, (active, off) in zip(layers, before, strict=True):
                layer._active_adapter, layer._disable_adapters = active, off  # noqa: SLF001  # as above

    def frozen_digest(self, whole: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> str:
        """Return the sha256 of every weight and buffer that is not trained: of the start, and of nothing else.

        ``whole`` gives the whole of a tensor that is divided among processes.
        """
        import torch

        state = hashlib.sha256()
        model = self._peft.get_base_model()
        frozen = [pair for pair in model.named_parameters() if not pair[1].requires_grad]
        for name, tensor in [*frozen, *model.named_buffers()]:
            state.update(f"{name}\x00{tensor.dtype}\x00{tuple(tensor.shape)}\x00".encode())
            content: Any = whole(tensor.detach()).cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            state.update(content)
        return state.hexdigest()

    def _layers(self) -> Iterator[Any]:
        from peft.tuners.lora import LoraLayer

        return (module for module in self._peft.modules() if isinstance(module, LoraLayer))


def adapter_base(folder: Path, named: str | None, *, where: str) -> Model:
    """Return the model that an adapter goes on: what the file names, or else the adapter's own configuration.

    Raises:
        InputError: neither names one that is there, or it is a folder with an adapter: another one, or this very one.
    """
    told = read_json(folder / ADAPTER_CONFIG, where=where)
    name = named or told.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise InputError(
            f"{ADAPTER_CONFIG} does not say which model the adapter goes on",
            where=where,
            expected="base: beside path:, a folder or a hub name",
        )
    here = Path(name).expanduser()
    if here.exists():
        if (here / ADAPTER_CONFIG).is_file():
            own = here.resolve() == folder.resolve()
            what = "the adapter is named as its own base" if own else "the base of this adapter is an adapter itself"
            raise InputError(what, where=where, got=name, expected="the folder or the hub name of a whole model")
        return Model(name=here.name, path=str(here))
    if here.is_absolute() or name.startswith((".", "~")):
        raise InputError(
            "the model that the adapter goes on is not there", where=where, got=name, expected="base: beside path:"
        )
    return Model(name=name, revision=None if named else told.get("revision"))


def adapter_tokenizer(folder: Path) -> Path | None:
    """Return an adapter's folder if it has a tokenizer of its own, as what trained it may have left there."""
    return folder if all((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")) else None


def merge_folder(model: nn.Module, folder: Path, *, where: str) -> None:
    """Merge an adapter of anybody's into ``model``, whichever of PEFT's kinds it is of.

    Raises:
        InputError: PEFT is missing, or the adapter does not fit the model, or cannot be merged.
    """
    check_installed(where)
    import peft

    try:
        with _drawing(0), _quiet():
            adapted: Any = peft.PeftModel.from_pretrained(model, folder)
            adapted.merge_and_unload()
    except Exception as error:  # whatever PEFT meets in a foreign folder
        raise InputError(f"the adapter cannot be merged into its base: {first_line(error)}", where=where) from error


def _check_targets(model: Any, targets: tuple[str, ...], where: str | None) -> None:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    linear = [
        name for name, part in model.named_modules() if isinstance(part, (nn.Linear, Conv1D)) and part is not head
    ]
    names = sorted({name.rpartition(".")[2] for name in linear})
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            raise InputError(
                "recipe.adapter.targets names no linear layer of this model",
                where=where,
                got=target,
                expected=f"all-linear, or some of {', '.join(names)}",
                did_you_mean=suggest(target, names),
            )


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Let torch draw from a seed, and have its random state as it was afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        drawn = hashlib.sha256(f"adapter {seed}".encode()).digest()
        torch.default_generator.manual_seed(int.from_bytes(drawn[:8], "big") >> 1)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what PEFT says of transposed weights, which it handles, and what is said of PEFT's use of old names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        yield
