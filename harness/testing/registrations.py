"""The check of a registration, for every kind of plugin, and what the other checks share."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import PydanticUserError, ValidationError
from pydantic_core import PydanticSerializationError

from harness.api import (
    DatasetRegistration,
    HarnessError,
    MethodRegistration,
    MetricRegistration,
    Registration,
    RewardRegistration,
)
from harness.plugins import checks
from harness.plugins.registry import Plugin, Registry
from harness.testing.rules import rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.api import Kind

_KINDS: dict[type[Registration], Kind] = {
    MethodRegistration: "method",
    RewardRegistration: "reward",
    DatasetRegistration: "dataset",
    MetricRegistration: "metric",
}

#: Libraries that the module of a registration must not import: a list or a plan would take seconds.
HEAVY = ("torch", "transformers", "datasets", "evaluate", "pandas", "scipy")


class ContractError(AssertionError):
    """A plugin does not keep what the harness relies on."""


def broken(registration: Registration, what: str) -> NoReturn:
    """Raise ContractError for a plugin."""
    raise ContractError(f"{kind_of(registration)} {registration.name!r}: {what}")


def kind_of(registration: Registration) -> Kind:
    """Return the kind of a registration."""
    return _KINDS[type(registration)]


def build(registration: Registration, options: Mapping[str, Any] | None) -> Any:
    """Build a plugin as the harness does, from options as a benchmark file gives them."""
    return registry_of(registration).build(kind_of(registration), registration.name, options or {})


def registry_of(registration: Registration) -> Registry:
    """Return a registry that offers one plugin."""
    name, where = registration.name, registration.options.__module__
    row = Plugin(kind_of(registration), name, name, "under-test", "", where, "ok", registration=registration)
    return Registry([row])


def check_registration(registration: Registration) -> None:
    """Check what can be checked without building the plugin.

    The rules of loading; that the defaults and every preset are valid options with a JSON form; that ``build`` and
    ``modules`` name modules whose source is found; and, in a process of its own, that the module of the options, which
    is imported for every ``harness --help`` of the plugin's users, imports none of the heavy libraries.
    """
    with rule("its registration is well formed, and the code that it builds from is found"):
        kind = kind_of(registration)
        try:
            checks.check_registration(kind, registration)
            registry_of(registration).fingerprint(kind, registration.name)
        except HarnessError as error:
            raise ContractError(str(error)) from error
    with rule("its defaults and presets are valid options, with a JSON form and a schema"):
        _check_options(registration)
    with rule("the module that every command imports loads no heavy library"):
        _check_imports(registration)


def _check_options(registration: Registration) -> None:
    kind, model = kind_of(registration), registration.options
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    sets: dict[str, Mapping[str, Any]] = {} if required else {"its defaults": {}}
    if isinstance(registration, MethodRegistration):
        presets = registration.presets.items()
        sets |= {f"preset {name!r}": preset.options for name, preset in presets if required <= set(preset.options)}
    for name, values in sets.items():
        try:
            options = registry_of(registration).options(kind, registration.name, values)
            again = registry_of(registration).options(kind, registration.name, options.model_dump(mode="json"))
        except ValidationError as error:
            broken(registration, f"{name}: no valid options: {error}")
        except PydanticSerializationError as error:
            broken(registration, f"{name}: options have no JSON form: {error}")
        if again != options:
            broken(registration, f"{name}: options change when they are written as JSON and read again")
    try:
        model.model_json_schema()
    except PydanticUserError as error:
        broken(registration, f"options have no JSON schema: {str(error).splitlines()[0]}")


def _check_imports(registration: Registration) -> None:
    module = registration.options.__module__
    if module in {"__main__", "harness.api.registration"} or module.rpartition(".")[2].startswith(
        ("test_", "conftest")
    ):
        return
    code = f"import sys, {module}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    path = path_of(registration)
    code = f"import sys\nsys.path[:] = {path!r}\n{code}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if result.returncode:
        broken(registration, f"{module} cannot be imported by itself: {result.stderr.strip().splitlines()[-1]}")
    if result.stdout.strip():
        heavy = ", ".join(result.stdout.split())
        broken(registration, f"{module}, which holds its options, imports {heavy}: move that to where `build` points")


def path_of(registration: Registration) -> list[str]:
    """Return where another process finds what this one has imported, a plugin's own file included."""
    file = getattr(sys.modules.get(registration.options.__module__), "__file__", None)
    alone = [str(Path(file).parent)] if file and "." not in registration.options.__module__ else []
    return [*(entry for entry in sys.path if entry), *alone]


@contextmanager
def random_numbers_untouched(registration: Registration, when: str) -> Iterator[None]:
    """Raise when a plugin draws from, or seeds, a global random generator (Python's, numpy's, torch's)."""
    before = _generators()
    yield
    for name, state in _generators().items():
        if name in before and before[name] != state:
            broken(
                registration,
                f"{when} used the global random numbers of {name}; results would depend on what ran before",
            )


def _generators() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate()}
    if "numpy" in sys.modules:
        states["numpy"] = str(sys.modules["numpy"].random.get_state())
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().tolist()
    return states


def as_json(registration: Registration, value: object, what: str) -> str:
    """Return the JSON form of what a plugin gave; raise when there is none."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        broken(registration, f"{what} has no JSON form: {error}")
