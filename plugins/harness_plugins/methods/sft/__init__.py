"""Supervised fine-tuning on the demonstrations: the start of every other method, and the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api import MethodRegistration, Preset, hookimpl
from harness_plugins.methods.building_blocks.options import SupervisedOptions
from harness_plugins.methods.building_blocks.recipes import COLING_2025, ESO_CODE, PAPER_URL

if TYPE_CHECKING:
    from collections.abc import Iterable


class SFTOptions(SupervisedOptions):
    """Options of ``sft``."""


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``sft``."""
    return [
        MethodRegistration(
            name="sft",
            summary="Supervised fine-tuning: maximise the likelihood of the demonstrations",
            options=SFTOptions,
            build="harness_plugins.methods.sft.method:SFT",
            source=PAPER_URL,
            presets={
                "paper": Preset(recipe=COLING_2025, summary="The recipe of the ESO paper, sections 5.3 and 5.4"),
                "official": Preset(
                    options={"compat": {"token_mean_micro": True, "micro_batch_size": 8}},
                    recipe=ESO_CODE,
                    summary="The recipe of the ESO paper's released code",
                ),
            },
            default_preset="paper",
            supervised=True,
        )
    ]
