"""DPO: direct preference optimisation, with its hinge, IPO, conservative and robust variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.api import MethodRegistration, Options, Preset, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable


class DPOOptions(Options):
    """Options of ``dpo``; TRL's names."""

    beta: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 0.1
    """How much a log-ratio to the reference model weighs: larger keeps the policy nearer to it. IPO's paper calls it
    tau."""
    loss_type: Literal["sigmoid", "robust", "hinge", "ipo", "ipo_summed"] = "sigmoid"
    """sigmoid is DPO, and conservative DPO with label_smoothing above 0; robust corrects for labels that are wrong with
    that probability; hinge; ipo with log-ratios averaged over the tokens of an answer (TRL, HALOs), and ipo_summed with
    their sums (the DPO authors' code)."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Assumed probability that the two answers of a pair are the wrong way round; for sigmoid and robust."""
    disable_dropout: bool = True
    """Compute the policy's log-probs without the recipe's dropout; the reference model never has any."""

    @model_validator(mode="after")
    def _smoothing(self) -> Self:
        if self.label_smoothing and self.loss_type not in {"sigmoid", "robust"}:
            message = f"label_smoothing is for loss_type sigmoid or robust, got {self.loss_type}"
            raise ValueError(message)
        return self


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``dpo``."""
    return [
        MethodRegistration(
            name="dpo",
            summary="Direct preference optimisation on pairs of answers, against a fixed reference model",
            options=DPOOptions,
            build="harness_plugins.methods.dpo.method:DPO",
            source="https://arxiv.org/abs/2305.18290",
            needs=frozenset({"preferences", "reference"}),
            start="after",
            mixes_supervision=False,
            presets={
                "paper": Preset(
                    recipe={
                        "batch_size": 64,
                        "method_learning_rate": 1e-6,
                        "restart_schedule": "constant",
                        "method_warmup_steps": 150,
                        "optimizer": "adamw",
                        "weight_decay": 0.0,
                        "dropout": 0.0,
                    },
                    summary="The DPO paper's appendix B, with AdamW for its RMSprop, which the harness does not offer",
                ),
                "official": Preset(
                    options={"beta": 0.1, "loss_type": "sigmoid"},
                    recipe={
                        "batch_size": 64,
                        "method_epochs": 1,
                        "method_learning_rate": 5e-7,
                        "restart_schedule": "constant",
                        "method_warmup_steps": 150,
                        "optimizer": "adamw",
                        "weight_decay": 0.0,
                        "max_grad_norm": 10.0,
                        "dropout": 0.0,
                        "max_prompt_length": 256,
                        "max_completion_length": 256,
                    },
                    summary="The DPO authors' code as its read-me runs it, with AdamW for its RMSprop",
                ),
                "trl": Preset(
                    options={"beta": 0.1, "loss_type": "sigmoid"},
                    # its three epochs are left to the file: they would change the budget beside the other rows
                    recipe={
                        "batch_size": 8,
                        "method_learning_rate": 1e-6,
                        "restart_schedule": "linear",
                        "method_warmup_steps": 0,
                        "optimizer": "adamw",
                        "weight_decay": 0.0,
                        "max_grad_norm": 1.0,
                        "dropout": 0.0,
                    },
                    summary="The defaults of TRL's DPOConfig, on one device",
                ),
            },
            default_preset="paper",
        )
    ]
