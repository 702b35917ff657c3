"""Look-up, options and construction."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from harness.errors import InputError, PluginError
from harness.plugins.registry import Plugin, Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Add = Callable[..., None]
    Load = Callable[..., Registry]

REWARD = """
from __future__ import annotations
from typing import Literal
from harness.api import *

class Opts(Options):
    weights: tuple[float, ...] = (1.0,)
    mode: Literal["a", "b"] = "a"
    flag: bool = False
    count: int = 1

@hookimpl
def harness_register_rewards():
    return [RewardRegistration(name="sharp", summary="s", options=Opts, build="BUILD")]
"""


def test_an_unknown_name_suggests_and_lists(add_method: Add, load: Load) -> None:
    add_method("guest", "kto")
    with pytest.raises(PluginError) as raised:
        load().get("method", "kta")
    assert str(raised.value) == "there is no method called 'kta'; expected one of kto; did you mean 'kto'?"


def test_nothing_of_the_kind_is_installed(load: Load) -> None:
    with pytest.raises(PluginError, match=r"there is no metric called 'x'; expected one of \(none is installed\)$"):
        load().get("metric", "x")


def test_a_missing_plugin_names_the_one_that_failed(add: Add, load: Load) -> None:
    add("guest", "import flash_attn_that_is_absent", entry_point="kto", version="2.0")
    add("other", "1 / 0")
    with pytest.raises(PluginError) as raised:
        load().get("method", "kto")
    assert raised.value.hint == (
        "plugin 'kto' of guest 2.0 failed: ModuleNotFoundError: No module named 'flash_attn_that_is_absent'"
    )


def test_a_missing_builtin_is_found_by_its_entry_point(add: Add, load: Load) -> None:
    add("posttune-harness", "1 / 0", entry_point="method-dpo", module="own", version="0.1.0")
    registry = load()
    with pytest.raises(PluginError) as raised:
        registry.get("method", "dpo")
    assert (
        raised.value.hint == "plugin 'method-dpo' of posttune-harness 0.1.0 failed: ZeroDivisionError: division by zero"
    )
    with pytest.raises(PluginError) as raised:
        registry.get("metric", "dpo")
    assert raised.value.hint is None  # a method's entry point offers no metric


def test_a_missing_plugin_names_all_that_might_have_offered_it(add: Add, load: Load) -> None:
    for number in range(7):
        add(f"guest-{number}", "1 / 0")
    with pytest.raises(PluginError) as raised:
        load().get("method", "kto")
    lines = str(raised.value.hint).splitlines()
    assert lines[0].startswith("plugin 'guest-0' of guest-0 1.0, which may offer it, failed: ZeroDivisionError")
    assert len(lines) == 6
    assert lines[-1].strip() == "and 2 more: see `harness plugins`"


def test_a_blocked_plugin_is_named(add_method: Add, load: Load) -> None:
    add_method("guest", "kto", entry_point="kto")
    with pytest.raises(PluginError, match=r"plugin 'kto' of guest 1\.0 is blocked: blocked by -p no:NAME"):
        load(blocked=("kto",)).get("method", "kto")


def test_a_name_of_another_kind_is_told(add_method: Add, load: Load) -> None:
    add_method("guest", "kto")
    with pytest.raises(PluginError, match="there is a method of that name"):
        load().get("reward", "kto")


@pytest.fixture
def sharp(add: Add, load: Load) -> Registry:
    source = (
        "class Reward:\n"
        "    def __init__(self, options): self.options = options\n"
        "    def __call__(self, **rest): return []\n"
    )
    add("guest", REWARD.replace("BUILD", "sharp_reward:Reward"), more={"sharp_reward.py": source})
    return load()


def test_options_have_their_defaults(sharp: Registry) -> None:
    options = sharp.options("reward", "sharp", {"weights": [1, 2.5]})
    assert options.model_dump() == {"weights": (1.0, 2.5), "mode": "a", "flag": False, "count": 1}


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ({"weights": ["0.05"]}, ("weights", 0)),
        ({"weights": 1.0}, ("weights",)),
        ({"weights": [True]}, ("weights", 0)),
        ({"flag": 1}, ("flag",)),
        ({"flag": "yes"}, ("flag",)),
        ({"count": 1.5}, ("count",)),
        ({"count": "1"}, ("count",)),
        ({"mode": "c"}, ("mode",)),
        ({"mdoe": "a"}, ("mdoe",)),
        ({"mode": dt.date(2025, 1, 1)}, ("mode",)),
    ],
)
def test_options_are_taken_as_written(sharp: Registry, raw: dict[str, Any], place: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as raised:
        sharp.options("reward", "sharp", raw)
    assert [error["loc"] for error in raised.value.errors()] == [place]


def test_all_mistakes_come_at_once(sharp: Registry) -> None:
    with pytest.raises(ValidationError) as raised:
        sharp.options("reward", "sharp", {"mode": "c", "count": "x", "other": 1})
    assert raised.value.error_count() == 3


def test_build_imports_only_then(sharp: Registry) -> None:
    assert "sharp_reward" not in sys.modules
    reward = sharp.build("reward", "sharp", {"count": 3})
    assert reward.options.count == 3
    assert "sharp_reward" in sys.modules


def test_build_validates_again(sharp: Registry) -> None:
    with pytest.raises(PluginError, match=r"reward 'sharp' of guest 1\.0: options do not fit: count: .*; cuont: "):
        sharp.build("reward", "sharp", {"count": "x", "cuont": 1})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import torch_that_is_absent", "ModuleNotFoundError: No module named 'torch_that_is_absent'"),
        ("Other = 1", "AttributeError: module 'sharp_reward' has no attribute 'Reward'"),
        ("Reward = 1", "TypeError: sharp_reward:Reward is not callable"),
        ("def Reward(options): raise SystemExit(4)", "SystemExit: 4"),
        ("def Reward(options): return options.no_such_option", "AttributeError: 'Opts' object has no attribute"),
        ("def Reward(): return print", "TypeError: Reward() takes 0 positional arguments but 1 was given"),
        (
            "def Reward(options): return None",
            "`build` returned NoneType without __call__(); expected an object with __call__()",
        ),
        ("def Reward(options): return dict", "`build` returned <class 'dict'>; expected an object with"),
    ],
)
def test_a_plugin_that_cannot_be_built(add: Add, load: Load, source: str, message: str) -> None:
    add("guest", REWARD.replace("BUILD", "sharp_reward:Reward"), more={"sharp_reward.py": source})
    registry = load()
    with pytest.raises(PluginError) as raised:
        registry.build("reward", "sharp", {})
    assert str(raised.value).startswith("reward 'sharp' of guest 1.0: ")
    assert message in str(raised.value)


def test_an_object_of_another_kind(add_method: Add, load: Load, tmp_path: Path) -> None:
    add_method("guest", "kto")
    (tmp_path / "kto_method.py").write_text("class Method:\n    def __init__(self, options): ...\n    step = 3\n")
    with pytest.raises(
        PluginError, match=r"returned Method without .*; expected an object with setup\(\), step\(\), state_dict"
    ):
        load().build("method", "kto", {})


def test_a_plugin_s_own_input_error_passes_through(add: Add, load: Load) -> None:
    body = (
        "from harness.api import InputError\n"
        "def Reward(options):\n    raise InputError('no such word list', where='here')\n"
    )
    add("guest", REWARD.replace("BUILD", "sharp_reward:Reward"), more={"sharp_reward.py": body})
    with pytest.raises(InputError, match=r"^here: no such word list$") as raised:
        load().build("reward", "sharp", {})
    assert not isinstance(raised.value, PluginError)


def test_an_interrupt_while_building_is_an_interrupt(add: Add, load: Load) -> None:
    body = "def Reward(options):\n    raise KeyboardInterrupt\n"
    add("guest", REWARD.replace("BUILD", "sharp_reward:Reward"), more={"sharp_reward.py": body})
    with pytest.raises(KeyboardInterrupt):
        load().build("reward", "sharp", {})


def test_a_nested_name_may_be_built(add: Add, load: Load) -> None:
    body = "class Reward:\n    @staticmethod\n    def make(options): return print\n"
    add("guest", REWARD.replace("BUILD", "sharp_reward:Reward.make"), more={"sharp_reward.py": body})
    assert load().build("reward", "sharp", {}) is print


def test_a_row_names_its_provider() -> None:
    row = Plugin(None, "x", "x", "unknown", "", "m", "failed")
    assert row.provider == "unknown"
    assert Registry([row]).failures == (row,)
