"""How every model is read from a folder: safetensors alone, no code of the folder's, and no weight left to chance."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import torch

from harness.errors import InputError, first_line
from harness.lm.model.architectures import check_architecture, not_loaded

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from harness.spec.model import Model

log = logging.getLogger(__name__)

#: What ``spec.model.Model.dtype`` stores the weights as; bfloat16 is autocast over float32 master weights.
WEIGHT_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}

#: The class of transformers that builds the model.
Loader: TypeAlias = Literal["AutoModelForCausalLM", "AutoModelForSequenceClassification"]


def load_model(folder: Path, spec: Model, loader: Loader, *, where: str) -> PreTrainedModel:
    """Load a folder that :func:`harness.models.folders.check_folder` accepts.

    Raises:
        InputError: transformers refuses the folder, or its weights are not those that its configuration asks for.
    """
    import transformers

    no_progress_bars()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever it meets in a foreign folder
        raise InputError(f"the model cannot be loaded: {first_line(error)}", where=where) from error
    if loader == "AutoModelForCausalLM":
        check_architecture(config, where=where)
    try:
        loaded: Any = getattr(transformers, loader).from_pretrained(
            folder,
            config=config,
            dtype=WEIGHT_DTYPES[spec.dtype],
            attn_implementation=spec.attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    except Exception as error:  # as above
        what = "the model cannot be loaded"
        raise not_loaded(error, what, kind=config.model_type, attention=spec.attention, where=where) from error
    model, report = loaded
    _check_weights(report, loader, where)
    unexpected = sorted(report["unexpected_keys"])
    if unexpected:
        # without the stage, so that the text is the same for each stage
        log.warning("model in %s: %d weights are not used, %s among them", folder, len(unexpected), unexpected[0])
    return cast("PreTrainedModel", model)


def _check_weights(report: Any, loader: Loader, where: str) -> None:
    """Refuse weights that would be random, by the report that transformers makes of loading."""
    missing = sorted(report["missing_keys"])
    if missing:
        trained = {
            "AutoModelForCausalLM": "weights that fit config.json",
            "AutoModelForSequenceClassification": f"a trained classifier, saved from {loader}",
        }
        what = f"{len(missing)} weights are missing and would be random"
        raise InputError(what, where=where, got=missing[0], expected=trained[loader])
    mismatched = sorted(report["mismatched_keys"])
    if mismatched:
        name, *shapes = mismatched[0]  # the file's, and the one that config.json asks for
        there, wanted = ("x".join(map(str, shape)) for shape in shapes)
        what = "weights have other shapes than config.json says"
        raise InputError(what, where=where, got=f"{name} {there}", expected=wanted)


def no_progress_bars() -> None:
    """Keep transformers from drawing bars: stages report progress themselves."""
    from transformers.utils import logging as their_logging

    cast("Any", their_logging).disable_progress_bar()
