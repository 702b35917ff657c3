"""What runs behind the metric ``evaluate``; importing ``evaluate`` takes seconds, so it waits for the first answers."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

from harness.api import InputError, MachineError, MetricResult, StageError, suggest
from harness_plugins.metrics.evaluate import local_file
from harness_plugins.text.signature import signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.api import MetricServices, Sample
    from harness_plugins.metrics.evaluate import EvaluateOptions

#: What modules call the list of texts: metrics and some measurements the first, most measurements the second.
_ANSWERS = ("predictions", "data")


class EvaluateModule:
    """Calls ``compute`` on all answers, and on each alone for keys that give one number for the list.

    Answers without a reference are left out where the module reads references. A number that is NaN is missing.
    """

    def __init__(self, options: EvaluateOptions) -> None:
        """Keep the options."""
        self._options = options
        self._where = f"metric 'evaluate', module {options.module!r}"

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:  # noqa: ARG002  # the protocol's
        """Return one column a key, and over the list the numbers that the module gave for it.

        Raises:
            InputError: The module cannot be used so: its inputs, the keys of its result, a missing dependency.
            MachineError: The hub does not give the module.
            StageError: The module raised on these answers.
        """
        options = self._options
        with self._loaded() as module:
            inputs = self._inputs(module)
            places = [i for i, sample in enumerate(samples) if sample.references or "references" not in inputs]
            present = [samples[i] for i in places]
            values: dict[str, list[float | None]] = {key: [None] * len(samples) for key in options.keys}
            corpus: dict[str, float] = {}
            if present:
                whole = self._compute(module, inputs, present)
                single: list[Mapping[str, Any]] | None = None
                for key in options.keys:
                    result = self._value(whole, key)
                    if isinstance(result, list):
                        numbers: Sequence[Any] = self._one_each(key, result, len(present))
                    else:
                        if (number := self._number(key, result)) is not None:
                            corpus[key] = number
                        if not options.per_answer:
                            continue
                        single = single or [self._compute(module, inputs, [sample]) for sample in present]
                        numbers = [self._value(result, key) for result in single]
                    for place, number in zip(places, numbers, strict=True):
                        values[key][place] = self._number(key, number)
            return MetricResult(values=values, corpus=corpus, signature=self._signature(module, inputs))

    @contextlib.contextmanager
    def _loaded(self) -> Iterator[Any]:
        with tempfile.TemporaryDirectory(prefix="harness-evaluate-") as scratch:
            yield self._load(scratch)

    def _load(self, scratch: str) -> Any:
        import evaluate
        from evaluate import config
        from huggingface_hub import constants

        file = local_file(self._options.module)
        offline = config.HF_EVALUATE_OFFLINE
        config.HF_EVALUATE_OFFLINE = offline or constants.HF_HUB_OFFLINE  # evaluate has a switch of its own
        try:
            return evaluate.load(
                self._options.module if file is None else str(file),
                config_name=self._options.config_name,
                revision=self._options.revision,
                cache_dir=scratch,
                keep_in_memory=True,
                seed=0,  # else it is taken from numpy's global state
            )
        except (FileNotFoundError, ConnectionError) as error:
            raise MachineError(
                "the evaluate module cannot be loaded",
                where=self._where,
                got=str(error),
                hint="without the hub, give the path of a local module (`module: ./my_metric.py`), or load it once "
                "where the hub can be reached and take over the cache that HF_HOME names",
            ) from error
        except ImportError as error:
            raise InputError(
                "the evaluate module needs what is not installed", where=self._where, got=str(error)
            ) from error
        except Exception as error:  # the module's own code runs here
            raise InputError(
                f"the evaluate module raised {type(error).__name__} while it was loaded: {error}", where=self._where
            ) from error
        finally:
            config.HF_EVALUATE_OFFLINE = offline

    def _inputs(self, module: Any) -> dict[str, str]:
        """Return the module's inputs with what each is given: ``answers``, ``all`` references or the ``first``."""
        names = list(module._feature_names())  # noqa: SLF001  # evaluate tells it nowhere else
        answers = next((name for name in _ANSWERS if name in names), None)
        if answers is None or set(names) - {answers, "references"}:
            raise InputError(
                "the evaluate module takes other inputs than answers and references",
                where=self._where,
                got=names,
                expected="predictions (or data), with or without references",
            )
        inputs = {answers: "answers"}
        if "references" in names:
            inputs["references"] = self._references(module)
        return inputs

    def _references(self, module: Any) -> str:
        from datasets import Value

        formats = module.features if isinstance(module.features, list) else [module.features]
        several = any(not isinstance(features["references"], Value) for features in formats)
        single = any(isinstance(features["references"], Value) for features in formats)
        wanted = self._options.references
        if (wanted == "all" and not several) or (wanted == "first" and not single):
            raise InputError(
                "the evaluate module cannot take references so",
                where=self._where,
                got=f"references: {wanted}",
                expected="first" if single else "all",
            )
        return wanted if wanted != "auto" else "all" if several else "first"

    def _compute(self, module: Any, inputs: Mapping[str, str], samples: Sequence[Sample]) -> Mapping[str, Any]:
        given: dict[str, list[Any]] = {
            name: [
                sample.text if what == "answers" else list(sample.references) if what == "all" else sample.references[0]
                for sample in samples
            ]
            for name, what in inputs.items()
        }
        try:
            result = module.compute(**given, **self._options.kwargs)
        except Exception as error:  # a module may raise anything
            which = f"{len(samples)} answers" if len(samples) > 1 else f"the answer to {samples[0].id!r} alone"
            raise StageError(
                f"the evaluate module raised {type(error).__name__} on {which}: {error}",
                where=self._where,
                hint=None if len(samples) > 1 else "`per_answer: false` computes over the whole list only",
            ) from error
        if not isinstance(result, Mapping):
            raise InputError("the evaluate module gave no dictionary", where=self._where, got=type(result).__name__)
        return result

    def _value(self, result: Mapping[str, Any], key: str) -> Any:
        if key not in result:
            raise InputError(
                "the evaluate module's result has no such key",
                where=self._where,
                got=key,
                expected=f"one of {', '.join(map(str, result))}",
                did_you_mean=suggest(key, map(str, result)),
            )
        value = result[key]
        return value.tolist() if hasattr(value, "tolist") else value  # numpy's and torch's arrays and scalars

    def _one_each(self, key: str, result: list[Any], count: int) -> list[Any]:
        if len(result) != count:
            raise InputError(
                f"the evaluate module's result {key!r} is a list of another length",
                where=self._where,
                got=len(result),
                expected=f"a number, or {count} of them, one an answer",
            )
        return result

    def _number(self, key: str, value: Any) -> float | None:
        if value is None:
            return None
        if not isinstance(value, Real):
            raise InputError(
                f"the evaluate module's result {key!r} is not a number",
                where=self._where,
                got=type(value).__name__,
                expected="a number, or a list of numbers",
            )
        number = float(value)
        if math.isinf(number):
            raise StageError(f"the evaluate module's result {key!r} is infinite", where=self._where, got=str(number))
        return None if math.isnan(number) else number  # NaN is how modules say that there is none

    def _signature(self, module: Any, inputs: Mapping[str, str]) -> str:
        options = self._options
        return signature(
            "evaluate",
            module=module.name,
            code=(options.sha256 or str(module._hash))[:16],  # noqa: SLF001  # sha256 of the source that was loaded
            config=options.config_name or "default",
            refs=inputs.get("references", "none"),
            kwargs=",".join(f"{name}={value!r}" for name, value in sorted(options.kwargs.items())) or "none",
            packages=("evaluate",),
        )
