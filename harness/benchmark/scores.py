"""What judges answers in a benchmark file: the reward, and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ConfigDict

from harness.api.registration import MethodRegistration
from harness.benchmark.overlay import as_mapping
from harness.benchmark.sections import FilePart, check, check_label, part_of
from harness.errors import suggest
from harness.spec.benchmark import MetricUse
from harness.spec.reward import Reward, RewardUse

if TYPE_CHECKING:
    from harness.benchmark.context import Context
    from harness.benchmark.problems import Place
    from harness.benchmark.source import Node
    from harness.spec.benchmark import MethodEntry

#: Keys of a reward's entry, and of one that has parts, that the harness reads.
PART_KEYS: Final = ("use", "label", "weight")
REWARD_KEYS: Final = ("parts", "aggregate")


class _Aggregate(Reward):
    """The keys of a reward beside its parts."""

    model_config = ConfigDict(extra="forbid")

    parts: tuple[RewardUse, ...] = ()


def reward(node: Node, context: Context) -> Reward | None:
    """Return the reward: a name, one part with its options, or ``parts`` and how they are put together."""
    part = part_of(as_mapping(node, "use"), "reward", node.place, context.problems)
    if "parts" not in part.values:
        hints = {"aggregate": "aggregate is for a reward with parts:"}
        single = _part(part, context, hints)
        return None if single is None else Reward(parts=(single,))
    problems = context.problems
    listed = part.values["parts"]
    if "use" in part.values:
        problems.add(part.at("use"), "a reward has either use or parts", key="reward.use")
    shell = check(_Aggregate, part.without({"parts", "use"}), problems)
    if not listed.is_list or not listed.elements:
        expected = "a list of rewards, each with use, weight and its options"
        problems.add(listed.place, "is wrong", key="reward.parts", got=listed.plain(), expected=expected)
        return None
    uses = []
    for index, element in enumerate(listed.elements):
        key = f"reward.parts[{index}]"
        uses.append(_part(part_of(as_mapping(element, "use"), key, element.place, problems), context, {}))
    named = [(use.label, element.place, f"reward.parts[{i}]")
             for i, (use, element) in enumerate(zip(uses, listed.elements, strict=True)) if use]  # fmt: skip
    context.duplicates(named, "part")
    parts = tuple(use for use in uses if use is not None)
    if shell is None or len(parts) < len(uses):
        return None
    return Reward(parts=parts, aggregate=shell.aggregate)


def _part(part: FilePart, context: Context, hints: dict[str, str]) -> RewardUse | None:
    registration = context.registration("reward", part.values.get("use"), part, "use")
    given = {} if "use" in part.values else {"use": "?"}
    use = check(RewardUse, part.only(PART_KEYS), context.problems, **given)
    if "label" in part.values:
        check_label(part.values["label"], part.path("label"), context.problems)
    if registration is None:
        return None
    options = context.options("reward", registration, part.without(PART_KEYS), hints)
    return use and use.model_copy(update={"options": options, "label": use.label or use.use})


def check_weights(node: Node, entry: MethodEntry, reward: Reward | None, context: Context) -> None:
    """Add weights that a method's entry gives to what is not part of the reward, or that nothing would read."""
    registration = context.registry.get("method", entry.use)
    assert isinstance(registration, MethodRegistration)
    weights, key = node.items["reward_weights"], f"methods.{entry.label}.reward_weights"
    if "reward" not in registration.needs:
        context.problems.add(weights.key or weights.place, f"method {entry.use} reads no reward", key=key)
    elif reward is not None:
        labels = [part.label for part in reward.parts]
        for name in entry.reward_weights.keys() - set(labels):
            place = weights.items[name].key or weights.items[name].place
            what, expected = "no part of the reward has this label", f"one of {', '.join(labels)}"
            near = suggest(name, labels)
            context.problems.add(place, what, key=f"{key}.{name}", expected=expected, did_you_mean=near)


def metric(node: Node, key: str, context: Context, otherwise: Place) -> MetricUse | None:
    """Return a metric: a name, or a mapping with its options."""
    part = part_of(as_mapping(node, "use"), key, otherwise, context.problems)
    registration = context.registration("metric", part.values.get("use"), part, "use")
    if registration is None:
        return None
    options = context.options("metric", registration, part.without({"use"}), {})
    return MetricUse(use=registration.name, options=options)
