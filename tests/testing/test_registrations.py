"""The registration check: what a loader cannot see but an author should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.api import MethodRegistration, Options, Preset, RewardRegistration
from harness.testing import ContractError, check_registration, installed, write_distribution

if TYPE_CHECKING:
    from pathlib import Path


class Opts(Options):
    coef: float = 0.5
    mode: str = "a"


class WrongDefault(Options):
    coef: float = "much"  # type: ignore[assignment]  # the mistake


class NotJson(Options):
    function: Any = print


class Lossy(Options):
    weights: Any = (1.0, 2.0)


class Required(Options):
    path_to: str


def method(options: type[Options] = Opts, **settings: Any) -> MethodRegistration:
    return MethodRegistration(
        name="m", summary="s", build="harness.testing.bench:train_tiny", options=options, **settings
    )


def test_good_registrations_pass() -> None:
    check_registration(method())
    check_registration(method(presets={"p": Preset({"coef": 1})}, default_preset="p"))
    check_registration(method(Required, presets={"whole": Preset({"path_to": "x"}), "partial": Preset({})}))
    check_registration(RewardRegistration(name="r", summary="s", build=print))


@pytest.mark.parametrize(
    ("registration", "message"),
    [
        (method(WrongDefault), "its defaults: no valid options"),
        (method(presets={"p": Preset({"coef": "1"})}), "preset 'p': no valid options"),
        (method(NotJson), "its defaults: options have no JSON form"),
        (method(Lossy), "its defaults: options change when they are written as JSON and read again"),
        (method(presets={"p": Preset({"cof": 1})}), "preset 'p' sets an unknown option"),
        (RewardRegistration(name="r", summary="s", build="harness.testing.nowhere:x"), "cannot find the source"),
        (RewardRegistration(name="r", summary="s", build=print, modules=("harness.no",)), "cannot find the source"),
    ],
)
def test_a_mistake_is_caught(registration: Any, message: str) -> None:
    with pytest.raises(ContractError) as raised:
        check_registration(registration)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("first_line", "message"),
    [
        ("import numpy", None),
        ("import pandas", "heavy_options, which holds its options, imports pandas: move that to where `build` points"),
    ],
)
def test_the_module_of_the_options_is_light(first_line: str, message: str | None, tmp_path: Path) -> None:
    source = f"{first_line}\nfrom harness.api import Options\nclass Opts(Options):\n    coef: float = 1.0\n"
    write_distribution(tmp_path, "heavy", entry_points={}, modules={"heavy_options.py": source})
    with installed(tmp_path):
        import heavy_options  # type: ignore[import-not-found]  # it lies in tmp_path

        registration = RewardRegistration(name="r", summary="s", build=print, options=heavy_options.Opts)
        if message is None:
            check_registration(registration)
            return
        with pytest.raises(ContractError) as raised:
            check_registration(registration)
    assert message in str(raised.value)
