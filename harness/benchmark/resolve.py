"""From a file to the resolved benchmark: profile and overrides laid over it, everything looked up and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from harness.benchmark import overlay
from harness.benchmark.consistency import FileParts, check_together
from harness.benchmark.context import Context
from harness.benchmark.data import data_use, is_model_name, model
from harness.benchmark.elsewhere import elsewhere, is_elsewhere
from harness.benchmark.head import Head, installed
from harness.benchmark.methods import method
from harness.benchmark.problems import Place, Problems, printable
from harness.benchmark.reward_model import reward_model
from harness.benchmark.scores import check_weights, metric, reward
from harness.benchmark.sections import FilePart, check, check_label, part_of
from harness.benchmark.source import Node, read_file
from harness.benchmark.sweep import MAX_ENTRIES, expand
from harness.benchmark.template import check_models, template_of
from harness.benchmark.tuning import Rows, check_held_out, tune
from harness.benchmark.views import cases, check_groups, check_pareto, compare, overoptimisation
from harness.errors import InputError, suggest
from harness.spec.benchmark import Benchmark, Compare, MethodEntry, MetricUse, Scorer, Timing, Tune
from harness.spec.decoding import Decoding
from harness.spec.execution import Execution
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from harness.plugins.registry import Registry
    from harness.spec.elsewhere import ElsewhereEntry
    from harness.spec.model import Model
    from harness.spec.reward import Reward

Found = TypeVar("Found")

#: Every key at the top of a benchmark file.
FILE_KEYS: Final = (
    *Head.model_fields, "profile", "profiles", "models", "template", "train", "validation", "evaluate", "reward",
    "reward_model", "recipe", "decoding", "methods", "metrics", "scorer", "timing", "tune", "compare", "cases",
    "overoptimisation", "sources", "execution",
)  # fmt: skip

#: What an evaluation needs; all of it or, where there is ``timing``, nothing.
EVALUATION: Final = ("evaluate", "decoding", "metrics")
#: Tables that show what was evaluated, and those that show training alone.
EVALUATED_TABLES: Final = frozenset({
    "scores", "cross-dataset", "fluency", "paid", "overoptimisation", "decoding", "win-rates", "cases", "pareto",
})  # fmt: skip
TRAINING_TABLES: Final = ("timing", "signal")


def load_benchmark(
    path: Path, *, registry: Registry, profile: str | None = None, overrides: Sequence[str] = ()
) -> Benchmark:
    """Read a benchmark file and return it resolved, with one profile and ``-o`` settings laid over it.

    Raises:
        InputErrors: every mistake of the file, each with file, line, column and key.
        InputError: the file cannot be read as YAML at all.
    """
    problems = Problems()
    whole = _read(path, problems)
    root, name = overlay.choose(whole, profile, problems)
    settings = [setting for text in overrides if (setting := overlay.parse_override(text, problems))]
    root = overlay.apply(root, settings, problems)
    source = root.place.source
    values = {key: node for key, node in root.items.items() if node.value is not None}
    top = FilePart("", Place(source, 1, 1), values)
    context = Context(registry, problems, path.absolute().parent)
    resolver = _Resolver(top, context, _names(whole))
    resolver.unknown_keys(root)
    resolved = resolver.resolve(name, overlay.recorded(settings))
    problems.stop(source)
    assert resolved is not None  # whatever is missing has been said
    return resolved


def profiles(path: Path) -> tuple[str, ...]:
    """Return the names of a file's profiles, in its order.

    Raises:
        InputError: the file cannot be read, or is not a mapping.
    """
    problems = Problems()
    root = _read(path, problems)
    problems.stop(root.place.source)
    return overlay.profile_names(root)


def _read(path: Path, problems: Problems) -> Node:
    root = read_file(path, problems)
    if not root.is_mapping:
        what = "is empty" if root.value is None else "is not a mapping"
        hint = "a benchmark file begins like this: benchmark: my-benchmark"
        raise InputError(what, where=str(root.place), expected="key: value", hint=hint)
    return root


def _names(whole: Node) -> set[str]:
    """Return what the models and data uses of a file and all its profiles are called."""
    names: set[str] = set()
    profiles_node = whole.items.get("profiles")
    for layer in (whole, *(profiles_node.items.values() if profiles_node else ())):
        nodes = [layer.items.get(key) for key in ("models", "evaluate", "train", "validation")]
        judge = layer.items.get("reward_model")
        nodes += [judge.items.get(key) for key in ("train", "test", "model")] if judge else []
        for node in (entry for listed in nodes if listed for entry in (listed.elements or (listed,))):
            names |= {str(named.value) for key in ("name", "label") if (named := node.items.get(key))}
            names |= {node.value} if isinstance(node.value, str) else set()
        scorer = layer.items.get("scorer")
        names |= {str(scorer.items["model"].value)} if scorer and "model" in scorer.items else set()
    return names | {name.rpartition("/")[2] for name in names}


class _Resolver:
    def __init__(self, top: FilePart, context: Context, names: set[str]) -> None:
        self.top = top
        self.context = context
        self.problems = context.problems
        self.names = names

    def resolve(self, profile: str, overrides: tuple[str, ...]) -> Benchmark | None:
        """Return the benchmark; None where something is wrong, after adding everything else that is."""
        head = self._head()
        if head is not None and self._not_installed(head):
            return None  # what its plugins are called means nothing without them
        sources = self._sources()
        self.context.sources = sources
        models = self._list("models", lambda node, key: model(node, key, self.context, self.top.place))
        template = template_of(self.top.values.get("template"), self.top, self.problems)
        check_models(template, models, self.problems)
        train = self._one("train", lambda n, k: data_use(n, k, "train", self.context, self.top.place), required=True)
        validation = self._one("validation", lambda n, k: data_use(n, k, "validation", self.context, self.top.place))
        evaluate = self._list("evaluate", lambda node, key: data_use(node, key, "test", self.context, self.top.place))
        scored = self._one("reward", lambda node, _: reward(node, self.context))
        recipe, recipe_part = self._recipe()
        judged = self._one("reward_model", lambda node, _: reward_model(node, recipe_part, train, self.context))
        decoding = self._decoding()
        foreign = self._elsewhere([found for _, found in models if found])
        methods = self._methods(recipe_part)
        metrics = self._list("metrics", lambda node, key: metric(node, key, self.context, self.top.place))
        scorer = self._scorer({name for _, found in models if found for name in (found.name, found.label)})
        timing = check(Timing, self._part("timing"), self.problems) if "timing" in self.top.values else None
        execution = check(Execution, self._part("execution"), self.problems)
        tuned = None
        if "tune" in self.top.values:
            tuned, methods = self._tune(recipe_part, methods, metrics, scored, head)
            check_held_out(self.top, self.context, validation, evaluate)
        parts = FileParts(models, train, validation, evaluate, methods, foreign, metrics, decoding, recipe, scored)
        check_together(self.top, self.context, parts)
        check_pareto(self.top.values.get("pareto"), metrics, self.context)
        compared = self._one("compare", lambda node, _: compare(node, methods, self.context))
        check_groups(self.top, self.context, {"train": train, "validation": validation})
        shown = self._one("cases", lambda node, _: cases(node, evaluate, decoding, self.problems))
        turning = self._one("overoptimisation", lambda node, _: overoptimisation(node, metrics, self.context))
        if self.problems.met or not (head and template and train and recipe and scorer and execution):
            return None
        return Benchmark(
            **dict(head),
            profile=profile,
            models=tuple(found for _, found in models if found),
            template=template,
            train=train,
            validation=validation,
            evaluate=tuple(found for _, found in evaluate if found),
            reward=scored,
            reward_model=judged,
            recipe=recipe,
            decoding=decoding,
            methods=tuple(found for _, found in methods if found),
            elsewhere=tuple(found for _, found in foreign if found),
            metrics=tuple(found for _, found in metrics if found),
            scorer=scorer,
            compare=compared or Compare(),
            cases=shown,
            overoptimisation=turning,
            timing=timing,
            tune=tuned,
            sources=self.context.resolved_sources,
            execution=execution,
            overrides=overrides,
        )

    def unknown_keys(self, root: Node) -> None:
        """Add the keys of a file that none has, also those that are null."""
        for name, node in root.items.items():
            if name not in FILE_KEYS:
                hint = f"{name} is a key of recipe" if name in Recipe.model_fields else None
                near = None if hint else suggest(name, FILE_KEYS)
                self.problems.add(node.key or node.place, "unknown key", key=name, did_you_mean=near, hint=hint)

    def _only_timed(self, name: str) -> bool:
        """Whether ``name`` may be absent: nothing is evaluated, because training is timed."""
        return name in EVALUATION and "timing" in self.top.values and not self.top.values.keys() & {*EVALUATION}

    def _part(self, name: str) -> FilePart:
        return part_of(self.top.values.get(name), name, self.top.place, self.problems)

    def _head(self) -> Head | None:
        given = {"tables": TRAINING_TABLES} if self._only_timed("metrics") and "tables" not in self.top.values else {}
        head = check(Head, self.top.only(Head.model_fields), self.problems, **given)
        for name in ("seeds", "tables"):
            seen: set[tuple[type, Any]] = set()  # 1 and true are equal, and not the same
            for node in self.top.values[name].elements if name in self.top.values else ():
                if isinstance(node.value, (str, int)):
                    if node.value in EVALUATED_TABLES and self._only_timed("metrics"):
                        what, expected = "nothing is evaluated that this table could show", ", ".join(EVALUATION)
                        self.problems.add(node.place, what, key=name, got=node.value, expected=expected)
                    if (type(node.value), node.value) in seen:
                        self.problems.add(node.place, "is listed twice", key=name, got=node.value)
                    seen.add((type(node.value), node.value))
        return head

    def _not_installed(self, head: Head) -> bool:
        missing = [name for name in head.requires if not installed(name)]
        if missing:
            what, hint = "this file needs plugins that are not installed", f"pip install {' '.join(missing)}"
            self.problems.add(self.top.at("requires"), what, key="requires", got=", ".join(missing), hint=hint)
        return bool(missing)

    def _sources(self) -> Mapping[str, Node]:
        part = self._part("sources")
        names = {*self.context.registry.names("dataset"), *self.names}
        for name, node in part.values.items():
            if name not in names:
                what = "no data set, model or label of this file has this name"
                near = suggest(name, names)
                self.problems.add(node.key or node.place, what, key=part.path(name), did_you_mean=near)
            elif not node.place.line:  # given on this very command line: worth a word even where nothing uses it
                self.context.path(node, part.path(name))
        return part.values

    def _one(self, name: str, build: Callable[[Node, str], Found | None], *, required: bool = False) -> Found | None:
        node = self.top.values.get(name)
        if node is None:
            if required:
                self.problems.add(self.top.place, "is missing", key=name)
            return None
        return build(node, name)

    def _elements(self, name: str) -> tuple[Node, ...]:
        node = self.top.values.get(name)
        if node is None:
            if not self._only_timed(name):
                self.problems.add(self.top.place, "is missing", key=name)
            return ()
        if not node.is_list or not (node.elements or name == "methods"):
            self.problems.add(
                node.place, "is wrong", key=name, got=node.plain(), expected="a list of one or more entries"
            )
        return node.elements

    def _list(self, name: str, build: Callable[[Node, str], Found | None]) -> list[tuple[Node, Found | None]]:
        entries = []
        for index, node in enumerate(self._elements(name)):
            key = overlay.entry_key(name, index, node)
            entries.append((node, build(node, key)))
        return entries

    def _recipe(self) -> tuple[Recipe | None, FilePart]:
        part = self._part("recipe")
        recipe = check(Recipe, part, self.problems)
        return recipe, part

    def _decoding(self) -> dict[str, Decoding]:
        node = self.top.values.get("decoding")
        if node is None:
            if not self._only_timed("decoding"):
                self.problems.add(self.top.place, "is missing", key="decoding", expected="name: {settings}")
            return {}
        part = self._part("decoding")
        decodings: dict[str, Decoding] = {}
        for name, setting in part.values.items():
            if setting.value is None:
                continue  # a profile takes away what the file has
            key = part.path(name)
            check_label(Node(name, setting.key or setting.place), key, self.problems)
            one = part_of(setting, key, part.place, self.problems)
            decoding = check(Decoding, one, self.problems)
            if decoding is None:
                continue
            decodings[name] = decoding
            if decoding.temperature == 0 and decoding.draws > 1:
                what = "greedy answers are all the same: one draw says it all"
                self.problems.add(one.at("draws"), what, key=one.path("draws"), got=decoding.draws)
        if node.is_mapping and not any(setting.value is not None for setting in part.values.values()):
            self.problems.add(node.place, "names no way to decode", key="decoding", expected="name: {settings}")
        return decodings

    def _entries(self) -> tuple[Node, ...]:
        """Return the entries of ``methods`` that are trained here."""
        return tuple(node for node in self._elements("methods") if not is_elsewhere(node))

    def _elsewhere(self, models: list[Model]) -> list[tuple[Node, ElsewhereEntry | None]]:
        nodes = self.top.values["methods"].elements if "methods" in self.top.values else ()
        return [
            (node, elsewhere(node, overlay.entry_key("methods", index, node), models, self.context, self.top.place))
            for index, node in enumerate(nodes)
            if is_elsewhere(node)
        ]

    def _methods(self, recipe: FilePart) -> list[tuple[Node, MethodEntry | None]]:
        rows: list[Node] = []
        for index, node in enumerate(self._entries()):
            rows += expand(overlay.as_mapping(node, "use"), overlay.entry_key("methods", index, node), self.problems)
        if len(rows) > MAX_ENTRIES:
            self.problems.add(self.top.at("methods"), f"has {len(rows):,} rows", key="methods",
                              expected=f"at most {MAX_ENTRIES}")  # fmt: skip
            rows = rows[:MAX_ENTRIES]
        return [
            (node, method(node, overlay.entry_key("methods", index, node), recipe, self.context, self.top.place))
            for index, node in enumerate(rows)
        ]

    def _tune(
        self,
        recipe: FilePart,
        methods: list[tuple[Node, MethodEntry | None]],
        metrics: list[tuple[Node, MetricUse | None]],
        scored: Reward | None,
        head: Head | None,
    ) -> tuple[Tune | None, list[tuple[Node, MethodEntry | None]]]:
        def resolve(node: Node, key: str) -> MethodEntry | None:
            entry = method(node, key, recipe, self.context, self.top.place)
            if entry is not None and entry.reward_weights:
                check_weights(node, entry, scored, self.context)
            return entry

        nodes = [node for node, _ in methods]
        rows = Rows(nodes, [entry for _, entry in methods], self._entries(), resolve)
        tuned, entries = tune(self.top, self.context, rows, metrics, head.seeds if head else ())
        return tuned, list(zip(nodes, entries, strict=True))

    def _scorer(self, listed: AbstractSet[str | None]) -> Scorer | None:
        part = self._part("scorer")
        scorer = check(Scorer, part, self.problems)
        if scorer is None or scorer.model == "start":
            return scorer
        path = self.context.source((scorer.model,), None, "")
        place = part.at("model")
        if path is None and scorer.model not in listed and self.context.folder_called(scorer.model, place):
            self.problems.add(
                place,
                "is a folder here, and would be taken for the name of a model on the hub",
                key=part.path("model"),
                got=scorer.model,
                expected="start, a name in models, a hub name, or a name that sources gives a folder",
                hint=f"sources: {{NAME: {scorer.model}}} gives the folder a name",
            )
        elif path is None and not is_model_name(scorer.model):
            expected = "start, a name in models, a hub name, or a name that sources gives a folder"
            got = printable(scorer.model)
            self.problems.add(place, "is not the name of a model", key=part.path("model"), got=got, expected=expected)
        return scorer
