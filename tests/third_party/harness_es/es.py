"""The method ``es``: what it is called, what it needs and which options it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from harness.api import MethodRegistration, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable


class ESOptions(Options):
    """Options of ``es``. The step size is the recipe's learning rate."""

    sigma: PositiveFloat = 0.01
    """Standard deviation of the perturbations of the weights."""
    pairs: PositiveInt = 8
    """Antithetic pairs of perturbed models a step; each model answers every prompt of the batch."""
    temperature: NonNegativeFloat = 0.0
    """Temperature of the answers; 0 decodes greedily, so that the weights alone make the difference."""


@hookimpl
def harness_register_methods() -> Iterable[MethodRegistration]:
    """Offer ``es``."""
    return [
        MethodRegistration(
            name="es",
            summary="Evolution strategy over weights: antithetic Gaussian perturbations, no backward pass",
            options=ESOptions,
            build="harness_es.evolution:EvolutionStrategy",
            source="https://aclanthology.org/2025.coling-main.357/",
            needs=frozenset({"reward"}),
            mixes_supervision=False,
        )
    ]
