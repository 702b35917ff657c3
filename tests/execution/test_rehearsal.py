"""What is wrong with a plugin is said before the first stage, and what the data lacks before anything is trained."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny

from harness.api import MethodRegistration, MetricRegistration, Options, RewardRegistration
from harness.errors import InputErrors, PluginError
from harness.execution.rehearsal import UsedPlugin, inspect_plugins
from harness.plugins.registry import Plugin, Registry
from harness.testing.distributions import write_distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.api import Batch, Run, State

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things


class Supervised:
    """A method that needs nothing."""

    def __init__(self, options: Any = None) -> None: ...

    def setup(self, run: Run) -> None: ...

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        self.more(run, batch)
        tokens = run.total(batch.demonstrations.lengths.sum())
        return run.update(lambda batch: {"sft": -run.logprobs(batch, batch.demonstrations).sum().sum() / tokens},
                          batch=batch)  # fmt: skip

    def more(self, run: Run, batch: Batch) -> None: ...

    def state_dict(self) -> Mapping[str, State]:
        return {}

    def load_state_dict(self, state: Mapping[str, State]) -> None: ...


class Rewarded(Supervised):
    def more(self, run: Run, batch: Batch) -> None:
        run.reward(batch, run.greedy(batch))


class Referred(Supervised):
    def more(self, run: Run, batch: Batch) -> None:
        run.reference_logprobs(batch, batch.demonstrations)


class ByReference(Supervised):
    def more(self, run: Run, batch: Batch) -> None:
        run.sample(batch, [1.0], by="reference")


class Paired(Supervised):
    def more(self, run: Run, batch: Batch) -> None:
        assert batch.pairs is not None
        run.logprobs(batch, batch.pairs.chosen)


class Criticised(Supervised):
    def setup(self, run: Run) -> None:
        run.add_critic("critic", start="policy")


class Confused(Supervised):
    """Fails on a model that is no Llama, which is no affair of a rehearsal."""

    def more(self, run: Run, batch: Batch) -> None:
        raise ValueError(self.__class__.__name__, run.policy.model)


class OneArgument(Supervised):
    def step(self, run: Run) -> Mapping[str, float]:  # type: ignore[override]  # the mistake
        return {}


class Stateless:
    def setup(self, run: Run) -> None: ...

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        return {}

    def load_state_dict(self, state: Mapping[str, State]) -> None: ...


class AsyncState(Supervised):
    async def state_dict(self) -> Mapping[str, State]:  # type: ignore[override]  # the mistake
        return {}


def registry(registration: Any, kind: Any) -> Registry:
    row = Plugin(kind, "it", "it", "guest", "2.1", "guest", "ok", registration=registration)
    return Registry([row])


def inspect_method(build: Callable[[Any], Any], **settings: Any) -> None:
    registration = MethodRegistration(name="it", summary="s", build=build, **settings)
    inspect_plugins([UsedPlugin(kind="method", name="it", options={})], registry(registration, "method"))


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        (Supervised, set()),
        (Rewarded, {"reward"}),
        (Referred, {"reference"}),
        (ByReference, {"reference"}),
        (Paired, {"preferences"}),
        (Criticised, {"critic"}),
    ],
)
def test_what_a_method_uses_is_declared(method: Callable[[Any], Any], needs: set[Any]) -> None:
    inspect_method(method, needs=frozenset(needs))
    for need in needs:
        with pytest.raises(PluginError) as raised:
            inspect_method(method)
        assert str(raised.value).startswith("method 'it' of guest 2.1: the method uses ")
        assert f"does not declare that it needs {need!r}" in str(raised.value)


def test_a_method_that_fails_on_a_tiny_model_is_no_broken_contract() -> None:
    inspect_method(Confused)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("execution.test_rehearsal:Nobody", "has no attribute 'Nobody'"),
        (OneArgument, "step() cannot be called as step(run, batch): too many positional arguments"),
        (lambda _options: Stateless(), "returned Stateless without state_dict(); expected an object with setup()"),
        (AsyncState, "state_dict() is async, and nobody waits for it"),
    ],
)
def test_a_method_that_cannot_be_used(build: Any, message: str) -> None:
    with pytest.raises(PluginError) as raised:
        inspect_method(build)
    assert message in str(raised.value)


def category(completions: list[str], category: list[str], **_: Any) -> list[float]:
    return [float(text == name) for text, name in zip(completions, category, strict=True)]


def closed(prompts: list[str], completions: list[str], completion_ids: list[list[int]]) -> list[float]:
    return [0.0 for _ in completions]


def by_place(completions: list[str], /, **_: Any) -> list[float]:
    return [0.0 for _ in completions]


def inspect_reward(function: Callable[..., Any], **settings: Any) -> None:
    registration = RewardRegistration(name="it", summary="s", build=function, function=True, **settings)
    inspect_plugins([UsedPlugin(kind="reward", name="it", options={})], registry(registration, "reward"))


def test_a_reward_declares_the_columns_that_it_asks_for() -> None:
    inspect_reward(category, reads=("category",))
    inspect_reward(category, may_read=("category",))
    with pytest.raises(PluginError) as raised:
        inspect_reward(category, reads=("references",))
    assert str(raised.value) == (
        "reward 'it' of guest 2.1: it asks for 'category': no option of its own, and no column that its registration "
        'declares; expected reads=("references", "category") in its registration'
    )


def test_options_that_a_reward_takes_as_keywords_are_no_columns() -> None:
    class Named(Options):
        category: str = "open"

    inspect_reward(category, options=Named)


@pytest.mark.parametrize(
    ("function", "message"),
    [(closed, "it cannot be called with the keyword 'trainer_state'"), (by_place, "this takes values by place")],
)
def test_a_reward_that_cannot_be_called(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(PluginError, match=message.replace("(", r"\(")):
        inspect_reward(function)


def test_all_that_is_wrong_is_said_at_once() -> None:
    method = MethodRegistration(name="it", summary="s", build="execution.test_rehearsal:Nobody")
    metric = MetricRegistration(name="that", summary="s", build="execution.test_rehearsal:Nothing", columns=())
    rows = [
        Plugin("method", "it", "it", "guest", "1", "guest", "ok", registration=method),
        Plugin("metric", "that", "that", "guest", "1", "guest", "ok", registration=metric),
    ]
    used = [UsedPlugin(kind="method", name="it", options={}), UsedPlugin(kind="metric", name="that", options={})]
    with pytest.raises(InputErrors) as raised:
        inspect_plugins(used, Registry(rows))
    assert [type(error) for error in raised.value.errors] == [PluginError, PluginError]


SHARP = """
from harness.api import Column, MethodRegistration, MetricRegistration, MetricResult, RewardRegistration, hookimpl


def sharp(completions, **columns):
    return [float(len(known)) for known in columns["mood"]]


def mild(completions, references, **columns):
    return [float(text in known) for text, known in zip(completions, references)]


class Moods:
    def __init__(self, options): ...

    def score(self, samples, services):
        return MetricResult({"mood": [float(len(sample.columns["mood"])) for sample in samples]}, {}, "moods|v1")


@hookimpl
def harness_register_methods():
    return [MethodRegistration(name="nobody", summary="s", build="sharp_method:Nobody"),
            MethodRegistration(name="forgetful", summary="s", build="sharp_method:Forgetful"),
            MethodRegistration(name="secret", summary="s", build="sharp_method:Secret")]


@hookimpl
def harness_register_rewards():
    return [RewardRegistration(name="mild", summary="s", build="sharp:mild", function=True),
            RewardRegistration(name="sharp", summary="s", build="sharp:sharp", function=True, reads=("mood",))]


@hookimpl
def harness_register_metrics():
    return [MetricRegistration(name="moods", summary="s", build="sharp:Moods", reads=("mood", "references"),
                               columns=(Column("mood", "Mood"),))]
"""

SHARP_METHOD = """
class Forgetful:
    def __init__(self, options): ...

    def setup(self, run): ...

    def step(self, run, batch):
        return {}

    def load_state_dict(self, state): ...


class Secret(Forgetful):
    def step(self, run, batch):
        run.reward(batch, run.greedy(batch))
        return {}

    def state_dict(self):
        return {}
"""


@pytest.fixture
def sharp(tmp_path: Path) -> dict[str, str]:
    """Return the environment in which a distribution of broken plugins is installed."""
    modules = {"sharp.py": SHARP, "sharp_method.py": SHARP_METHOD}
    write_distribution(tmp_path / "sharp", "sharp", "0.2", entry_points={"sharp": "sharp"}, modules=modules)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "sharp"), os.environ.get("PYTHONPATH", "")])}


def test_broken_plugins_are_refused_before_the_first_stage(tmp_path: Path, sharp: dict[str, str]) -> None:
    methods = ["sft", "eso", "nobody", "forgetful", "secret"]
    bench = Bench(tmp_path / "bench", tiny(methods=methods, reward={"use": "mild"}), sharp)
    said = bench.run("--jobs", "2", code=2)
    assert "method 'nobody' of sharp 0.2: cannot be built (sharp_method:Nobody): AttributeError" in said
    assert "method 'forgetful' of sharp 0.2: `build` returned Forgetful without state_dict()" in said
    assert "method 'secret' of sharp 0.2: the method uses reward(), and its registration does not declare" in said
    assert "reward 'mild' of sharp 0.2: it asks for 'references'" in said
    for name in ("nobody", "forgetful", "secret", "mild"):
        assert said.count(f"{name!r} of sharp 0.2: ") == 1
    assert bench.digests() == {}


def test_columns_that_the_data_lacks_are_named_before_anything_is_trained(
    tmp_path: Path, sharp: dict[str, str]
) -> None:
    changes: dict[str, Any] = {"reward": {"use": "sharp"}, "metrics": ["rouge", "moods"]}
    bench = Bench(tmp_path / "bench", tiny(**changes), sharp)
    said = bench.run("--jobs", "1", code=2)  # of two at a time, the other data set's may be found first
    train = "generated-instructions/train: no row has the column 'mood', which reward 'sharp' of sharp 0.2 reads"
    assert train in said
    assert "expected one of the columns there are: category, references, second_reference" in said
    assert {kind for kind, _ in bench.digests()} == {"prepare"}
