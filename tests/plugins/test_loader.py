"""One test a way in which a distribution can go wrong."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from harness.errors import PluginError
from harness.plugins.loader import load_registry
from harness.testing.distributions import installed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.plugins.registry import Plugin, Registry

    Add = Callable[..., None]
    Load = Callable[..., Registry]

HOST = "posttune-harness"


def only_failure(load: Load) -> Plugin:
    (row,) = load().failures
    return row


def test_good_plugins_carry_their_provider(add_method: Add, load: Load) -> None:
    add_method(HOST, "dpo", entry_point="method-dpo", version="0.1.0", module="own")
    add_method("my-kto", "kto", version="2.3")
    registry = load()
    assert [(row.kind, row.name, row.entry_point, row.provider, row.where, row.status) for row in registry.plugins] == [
        ("method", "dpo", "method-dpo", "posttune-harness 0.1.0", "own", "ok"),
        ("method", "kto", "my-kto", "my-kto 2.3", "my_kto", "ok"),
    ]
    assert registry.names("method") == ("dpo", "kto")
    assert registry.names("metric") == ()
    assert registry.failures == ()


def test_a_plugin_that_raises_at_import_stops_no_other(add_method: Add, add: Add, load: Load) -> None:
    add("a-broken", "import a_library_that_is_not_there\n")
    add_method("z-good", "kto")
    registry = load()
    assert [(row.name, row.status) for row in registry.plugins] == [("a-broken", "failed"), ("kto", "ok")]
    assert registry.failures[0].reason == "ModuleNotFoundError: No module named 'a_library_that_is_not_there'"
    assert registry.failures[0].kind is None
    assert "import a_library_that_is_not_there" in registry.failures[0].detail


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("class Odd(BaseException): pass\nraise Odd('two\\nlines')", "Odd: two lines"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_whatever_an_import_raises_is_one_line(add: Add, load: Load, statement: str, reason: str) -> None:
    add("odd", statement)
    assert only_failure(load).reason.startswith(reason)


def test_an_interrupt_while_loading_is_no_failed_plugin(add: Add, load: Load) -> None:
    add("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load()


def test_a_forgotten_marker(add: Add, load: Load) -> None:
    add("nomark", "def harness_register_methods():\n    return []\n")
    assert only_failure(load).reason == "harness_register_methods is not marked with @hookimpl"


def test_a_marker_forgotten_on_one_hook_of_two(add: Add, load: Load) -> None:
    source = "from harness.api import hookimpl\n@hookimpl\ndef harness_register_methods():\n    return []\n"
    add("halfmark", source + "def harness_register_metrics():\n    return []\n")
    assert only_failure(load).reason == "harness_register_metrics is not marked with @hookimpl"


def test_no_hook_at_all(add: Add, load: Load) -> None:
    add("empty", "x = 1\n")
    assert "implements no hook (is @hookimpl missing?)" in only_failure(load).reason
    assert "harness_register_datasets" in only_failure(load).reason


def test_a_misspelt_hook(add: Add, load: Load) -> None:
    add("typo", "from harness.api import hookimpl\n@hookimpl\ndef harness_register_method():\n    return []\n")
    assert (
        only_failure(load).reason == "unknown hook 'harness_register_method'; did you mean 'harness_register_methods'?"
    )


def test_a_hook_with_arguments(add: Add, load: Load) -> None:
    add("arg", "from harness.api import hookimpl\n@hookimpl\ndef harness_register_methods(config):\n    return []\n")
    reason = only_failure(load).reason
    assert "harness_register_methods" in reason
    assert "config" in reason


def test_what_is_refused_halfway_is_gone(add: Add, add_method: Add, load: Load) -> None:
    """Hooks are taken in the order of their names: that for datasets is in order, and the next one is not."""
    add(
        "half",
        "from harness.api import hookimpl\n@hookimpl\ndef harness_register_datasets():\n    return []\n"
        "@hookimpl\ndef harness_register_methods(config):\n    return []\n",
    )
    add_method("whole", "kto")
    first = load()
    assert [(row.name, row.status) for row in first.plugins] == [("half", "failed"), ("kto", "ok")]
    assert "config" in first.failures[0].reason
    assert [(row.name, row.status, row.reason) for row in load().plugins] == [
        (row.name, row.status, row.reason) for row in first.plugins
    ]


def test_a_wrapper_is_refused(add: Add, load: Load) -> None:
    add(
        "wrap",
        "from harness.api import hookimpl\n@hookimpl(wrapper=True)\ndef harness_register_methods():\n"
        "    return (yield)\n",
    )
    assert "is a wrapper" in only_failure(load).reason


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("'dpo'", "returned str 'dpo'; expected a list of MethodRegistration"),
        ("None", "returned None; expected a list of MethodRegistration (is `return` missing?)"),
        ("7", "returned int; expected a list of MethodRegistration"),
        ("{}", "returned dict; expected a list of MethodRegistration"),
        ("['dpo']", "returned a list with str 'dpo' in it; expected a list of MethodRegistration"),
        ("MethodRegistration(name='a', summary='b', build='c:d')", "returned MethodRegistration; expected a list"),
        ("[RewardRegistration(name='a', summary='b', build='c:d')]", "a list with RewardRegistration in it; expected"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_hook_that_returns_something_else(add: Add, load: Load, result: str, reason: str) -> None:
    add(
        "other",
        "from harness.api import *\n@hookimpl\ndef harness_register_methods():\n    return " + result + "\n",
    )
    assert reason in only_failure(load).reason


def test_a_generator_of_registrations_will_do(add: Add, load: Load) -> None:
    source = "from harness.api import *\n@hookimpl\ndef harness_register_rewards():\n"
    add("gen", source + "    yield RewardRegistration(name='r', summary='s', build=print)\n")
    assert load().names("reward") == ("r",)


def test_a_plugin_that_offers_nothing_is_still_listed(add: Add, load: Load) -> None:
    add("idle", "from harness.api import hookimpl\n@hookimpl\ndef harness_register_rewards():\n    return []\n")
    (row,) = load().plugins
    assert (row.kind, row.name, row.status, row.reason) == (None, "idle", "ok", "it offers nothing")
    with pytest.raises(PluginError, match=r"plugin 'idle' of idle 1\.0 is loaded: it offers nothing"):
        load().get("method", "idle")


def test_what_a_plugin_prints_goes_to_standard_error(
    add_method: Add, load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_method("chatty", "kto")
    with (tmp_path / "chatty.py").open("a") as file:
        file.write("print('loading chatty')\n")
    assert load().names("method") == ("kto",)
    assert capsys.readouterr() == ("", "loading chatty\n")


def test_a_taken_name_names_both_providers_and_versions(add_method: Add, load: Load) -> None:
    add_method(HOST, "dpo", entry_point="method-dpo", version="0.1.0", module="own")
    add_method("aaa-guest", "dpo", entry_point="aaa", version="9.9")
    registry = load()
    (failed,) = registry.failures
    assert failed.reason == (
        "method 'dpo' of aaa-guest 9.9 (aaa_guest) is already offered by posttune-harness 0.1.0 (own)"
    )
    assert registry.find("method", "dpo").distribution == HOST


def test_one_name_for_two_kinds_is_no_clash(add: Add, load: Load) -> None:
    add(
        "both",
        "from harness.api import *\n"
        "@hookimpl\ndef harness_register_rewards():\n"
        "    return [RewardRegistration(name='rouge', summary='s', build=print)]\n"
        "@hookimpl\ndef harness_register_metrics():\n"
        "    return [MetricRegistration(name='rouge', summary='s', build=print, columns=(Column('r', 'R'),))]\n",
    )
    registry = load()
    assert (registry.names("reward"), registry.names("metric")) == (("rouge",), ("rouge",))


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_the_order_of_the_path_decides_nothing(add_method: Add, tmp_path: Path, turn: int) -> None:
    add_method("aaa", "kto", entry_point="z-entry")
    add_method("zzz", "kto", entry_point="a-entry")
    add_method(HOST, "dpo", entry_point="method-dpo", module="own")
    with installed(tmp_path) as points:
        points.sort(key=lambda point: point.name)
        registry = load_registry(entry_points=points[turn:] + points[:turn], environment={})
    assert [row.distribution for row in registry.plugins] == [HOST, "aaa", "zzz"]
    assert registry.find("method", "kto").distribution == "aaa"


def test_an_entry_point_name_of_two_distributions(add_method: Add, load: Load) -> None:
    add_method(HOST, "dpo", entry_point="method-dpo", version="0.1.0", module="own")
    add_method("guest", "kto", entry_point="method-dpo")
    (failed,) = load().failures
    assert failed.distribution == "guest"
    assert failed.reason == "entry-point name 'method-dpo' is already taken by posttune-harness 0.1.0 (own)"


def test_a_guest_does_not_take_the_place_of_a_broken_builtin(add_method: Add, add: Add, load: Load) -> None:
    add(HOST, "import nowhere_to_be_found", entry_point="method-dpo", version="0.1.0", module="own")
    add_method("guest", "dpo")
    registry = load()
    assert registry.names("method") == ()
    assert [row.distribution for row in registry.failures] == [HOST, "guest"]
    assert registry.failures[0].kind == "method"  # the harness's own entry points tell the kind
    assert "would take the place of posttune-harness 0.1.0 (own), which failed" in registry.failures[1].reason


def test_a_guest_may_take_the_place_of_a_blocked_builtin(add_method: Add, load: Load) -> None:
    add_method(HOST, "dpo", entry_point="method-dpo", version="0.1.0", module="own")
    add_method("guest", "dpo")
    registry = load(blocked=("method-dpo",))
    assert registry.find("method", "dpo").distribution == "guest"


def test_a_failed_plugin_leaves_nothing_half_registered(add_method: Add, add: Add, load: Load) -> None:
    add(
        "half",
        "from harness.api import *\n"
        "@hookimpl\ndef harness_register_methods():\n"
        "    return [MethodRegistration(name='fine', summary='s', build='m:n')]\n"
        "@hookimpl\ndef harness_register_rewards():\n"
        "    return [RewardRegistration(name='Bad Name', summary='s', build='m:n')]\n",
    )
    add_method("zzz", "fine")
    registry = load()
    assert [(row.distribution, row.status) for row in registry.plugins] == [("half", "failed"), ("zzz", "ok")]
    assert registry.find("method", "fine").distribution == "zzz"


@pytest.mark.parametrize(
    ("requirement", "accepted"),
    [
        ("posttune-harness<0.1", False),
        ("posttune_harness >= 99", False),
        ("posttune-harness>=0.1,<1", True),
        ("Posttune.Harness", True),
        ("posttune-harness>=99; python_version < '3'", True),
        ("posttune-harness>=99; extra == 'dev'", True),
        ("posttune-harness-extras>=99", True),
        ("posttune-harness >>> 1", False),
    ],
)
def test_the_required_version_of_the_harness(add_method: Add, load: Load, requirement: str, *, accepted: bool) -> None:
    add_method("guest", "kto", requires=("numpy>=99", requirement))
    registry = load()
    assert (registry.names("method") == ("kto",)) is accepted
    if not accepted:
        assert "posttune" in registry.failures[0].reason.lower()


def test_a_wrong_requirement_is_told_before_the_import(add: Add, load: Load) -> None:
    add("guest", "1 / 0", requires=("posttune-harness<0.1",))
    assert only_failure(load).reason == "needs posttune-harness<0.1, this is posttune-harness 0.1.0"


@pytest.mark.parametrize(("declared", "accepted"), [("1", True), ("2", False), ("'1'", False)])
def test_the_version_of_the_plugin_api(
    add_method: Add, load: Load, tmp_path: Path, declared: str, *, accepted: bool
) -> None:
    add_method("guest", "kto")
    with (tmp_path / "guest.py").open("a") as file:
        file.write(f"HARNESS_API = {declared}\n")
    registry = load()
    assert (registry.names("method") == ("kto",)) is accepted
    if not accepted:
        assert registry.failures[0].reason == f"written for plugin API {declared}, this harness speaks 1"


def test_an_entry_point_that_is_no_import_string(add: Add, load: Load, tmp_path: Path) -> None:
    add("odd", "", module="odd")
    info = tmp_path / "odd-1.0.dist-info" / "entry_points.txt"
    info.write_text("[harness]\nodd = not a module\n")
    assert "must be 'package.module'" in only_failure(load).reason


def test_an_object_may_be_the_plugin(add: Add, load: Load, tmp_path: Path) -> None:
    source = (
        "from harness.api import *\nHARNESS_API = {api}\nclass Guest:\n    @hookimpl\n"
        "    def harness_register_rewards(self):\n"
        "        return [RewardRegistration(name='r', summary='s', build=print)]\nguest = Guest()\n"
    )
    add("guest", source.format(api=1), module="guest_module")
    (tmp_path / "guest-1.0.dist-info" / "entry_points.txt").write_text("[harness]\nguest = guest_module:guest\n")
    assert load().names("reward") == ("r",)
    (tmp_path / "guest_module.py").write_text(source.format(api=2) + "# longer, so that the cache is stale\n")
    assert "plugin API 2" in only_failure(load).reason


def test_damaged_metadata(add_method: Add, load: Load, tmp_path: Path) -> None:
    add_method("guest", "kto")
    (tmp_path / "guest-1.0.dist-info" / "METADATA").unlink()
    registry = load()
    assert registry.names("method") == ("kto",)


def test_blocked_by_entry_point_and_by_distribution(add_method: Add, load: Load) -> None:
    add_method("My.Guest", "kto", entry_point="kto-plugin", module="guest")
    add_method("other", "ppo")
    for name in ("kto-plugin", "my-guest"):
        registry = load(blocked=(name,))
        assert registry.names("method") == ("ppo",)
        row = next(row for row in registry.plugins if row.status == "blocked")
        assert (row.entry_point, row.reason) == ("kto-plugin", "blocked by -p no:NAME")
        assert registry.failures == ()


def test_a_blocked_plugin_is_not_imported(add: Add, load: Load) -> None:
    add("guest", "1 / 0", module="guest_never_imported")
    load(blocked=("guest",))
    assert "guest_never_imported" not in sys.modules


def test_blocking_what_is_not_there_is_an_error(add_method: Add, load: Load) -> None:
    add_method("harness-es", "es")
    with pytest.raises(PluginError, match=r"no plugin or distribution .* did you mean 'no:harness-es'\?"):
        load(blocked=("harnes-es",))


def test_off_loads_the_harness_alone(add_method: Add, load: Load) -> None:
    add_method(HOST, "dpo", entry_point="method-dpo", module="own")
    add_method("guest", "kto")
    registry = load(HARNESS_PLUGINS="off")
    assert registry.names("method") == ("dpo",)
    assert [(row.name, row.status, row.reason) for row in registry.plugins[1:]] == [
        ("guest", "blocked", "not among HARNESS_PLUGINS")
    ]


@pytest.mark.parametrize("value", ["guest", " kto-plugin , ", "guest,other"])
def test_a_list_of_allowed_plugins(add_method: Add, load: Load, value: str) -> None:
    add_method(HOST, "dpo", entry_point="method-dpo", module="own")
    add_method("guest", "kto", entry_point="kto-plugin")
    add_method("other", "ppo")
    expected = ("dpo", "kto", "ppo") if "other" in value else ("dpo", "kto")
    assert load(HARNESS_PLUGINS=value).names("method") == expected


def test_an_allowed_plugin_that_is_not_installed_is_a_failure(add_method: Add, load: Load) -> None:
    add_method("guest", "kto")
    registry = load(HARNESS_PLUGINS="guest,absent")
    assert registry.names("method") == ("kto",)
    assert [row.reason for row in registry.failures] == ["'absent' is named but not installed"]


@pytest.mark.parametrize(("value", "fatal"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_strict_makes_a_failure_fatal(add_method: Add, add: Add, load: Load, value: str, *, fatal: bool) -> None:
    add_method("good", "kto")
    add("one", "1 / 0")
    add("two", "import nowhere")
    if not fatal:
        assert len(load(HARNESS_STRICT_PLUGINS=value).failures) == 2
        return
    with pytest.raises(PluginError, match=r"one of one 1\.0: ZeroDivisionError(.|\n)*two of two 1\.0: ModuleNotFound"):
        load(HARNESS_STRICT_PLUGINS=value)
    assert len(load(strict=False, HARNESS_STRICT_PLUGINS=value).failures) == 2


def test_strict_with_nothing_wrong(add_method: Add, load: Load) -> None:
    add_method("good", "kto")
    assert load(HARNESS_STRICT_PLUGINS="1").names("method") == ("kto",)


def test_the_environment_is_read_by_default(add_method: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    add_method("guest", "kto")
    monkeypatch.setenv("HARNESS_PLUGINS", "off")
    points = [EntryPoint("guest", "guest", "harness")]
    assert load_registry(entry_points=points).names("method") == ()
    monkeypatch.delenv("HARNESS_PLUGINS")
    assert load_registry(entry_points=points).names("method") == ("kto",)


def test_registries_share_nothing(add_method: Add, load: Load) -> None:
    add_method("guest", "kto")
    first = load()
    assert load(blocked=("guest",)).names("method") == ()
    assert first.names("method") == ("kto",)
    assert load().names("method") == ("kto",)


@pytest.mark.parametrize(
    ("text", "editable"),
    [
        (None, False),
        ('{"url": "file:///x", "dir_info": {"editable": true}}', True),
        ('{"url": "file:///x", "dir_info": {}}', False),
        ("{broken", False),
        ('["list"]', False),
    ],
)
def test_an_editable_install_is_told_apart(
    add_method: Add, load: Load, tmp_path: Path, text: str | None, *, editable: bool
) -> None:
    add_method("guest", "kto")
    if text is not None:
        (folder,) = tmp_path.glob("guest-*.dist-info")
        (folder / "direct_url.json").write_text(text, encoding="utf-8")
    (row,) = [row for row in load().plugins if row.distribution == "guest"]
    assert row.status == "ok"
    assert row.editable is editable
    assert row.maker["editable"] is editable
