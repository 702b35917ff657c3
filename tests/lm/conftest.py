"""Tiny models of every supported family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lm.families import FAMILIES

from harness.lm.model.initialise import initialise
from harness.lm.model.policy import Policy
from harness.spec.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.text.tokenise import Tokeniser


@pytest.fixture(scope="session")
def make_policy(
    tokeniser: Tokeniser, bos_tokeniser: Tokeniser, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Policy]:
    """Return a function that makes a fresh tiny policy: family, and settings of the configuration or of the load."""

    def make(
        family: str = "gpt2",
        *,
        seed: int = 0,
        dtype: str = "float64",
        attention: str = "sdpa",
        dropout: float = 0.0,
        **config: Any,
    ) -> Policy:
        spec = Model(
            name=family,
            config={**FAMILIES[family], **config},
            dtype=dtype,
            attention=attention,
        )
        folder = tmp_path_factory.mktemp(family)
        initialise(spec, bos_tokeniser if family == "opt-350m" else tokeniser, seed, folder)
        return Policy.load(folder, spec=spec, dropout=dropout)

    return make
