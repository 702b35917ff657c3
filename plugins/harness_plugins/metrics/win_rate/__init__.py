"""``win-rate``: how often a judge prefers an answer to the data set's own, or to another row's.

``options`` is all that a list or a plan imports. ``metric`` says what is compared and what choices come to
(``comparison``); ``endpoint`` buys verdicts (``request``: what is asked; ``client``, ``replies``: one exchange;
``cache``, ``ledger``, ``secret``: what is kept, spent and never shown); ``offline`` judges without asking anybody.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

from harness.api import Column, InputError, MetricRegistration, hookimpl
from harness_plugins.metrics.win_rate.options import CHOSEN, WinRateOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WHERE: Final = "metric 'win-rate'"


def _by_options(options: WinRateOptions) -> Mapping[str, Any]:
    columns = []
    for name in options.against:
        columns += [
            Column(
                f"win:{name}",
                f"wins against {name}",
                higher_is_better=True,
                unit="%",
                scale=100.0,
                digits=1,
                range=(0.0, 1.0),
            ),
            Column(
                f"consistent:{name}",
                f"consistent, {name}",
                unit="%",
                scale=100.0,
                digits=1,
                shown=False,
                range=(0.0, 1.0),
            ),
            Column(
                f"first:{name}",
                f"first place wins, {name}",
                unit="%",
                scale=100.0,
                digits=1,
                shown=False,
                range=(0.0, 1.0),
            ),
            Column(
                f"null:{name}",
                f"null answer wins against {name}",
                unit="%",
                scale=100.0,
                digits=1,
                shown=False,
                range=(0.0, 1.0),
            ),
            Column(f"margin_length:{name}", f"longer than {name} by", unit="characters", digits=1, shown=False),
        ]
    corpus = [
        Column("unparsable", "replies without a verdict", higher_is_better=False, digits=0, shown=False),
        Column("refused", "declined", higher_is_better=False, digits=0, shown=False),
        Column("unanswered", "without a reply", higher_is_better=False, digits=0, shown=False),
        Column("calls", "replies", digits=0, shown=False),
    ]
    if options.price_per_million is not None:
        corpus.append(Column("cost", "cost", digits=4, shown=False))
    return {
        "columns": tuple(columns),
        "corpus": tuple(corpus),
        "headline": columns[0].name,
        "opponents": options.rows,
        "reads": _reads(options),
        "needs": frozenset({"reward_model"} if options.judge == "reward-model" else ()),
    }


def _reads(options: WinRateOptions) -> tuple[str, ...]:
    """Return the columns that the data set's own answers, or the judge, cannot do without."""
    own = (options.column or "references",) if CHOSEN in options.against else ()
    by_rule = ("references",) if options.judge == "rule" and options.rule == "rouge-l" else ()
    return tuple(dict.fromkeys((*own, *by_rule)))


def _preflight(options: WinRateOptions) -> None:
    """Refuse a judge that cannot be asked: without its library, or without its key."""
    if options.judge != "endpoint":
        return
    if importlib.util.find_spec("openai") is None:
        raise InputError(
            "judge: endpoint needs the package openai, which is not installed",
            where=_WHERE,
            expected="pip install 'posttune-harness[judge]'",
        )
    from harness_plugins.metrics.win_rate.secret import read_key

    read_key(options.api_key_env, _WHERE)


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``win-rate``."""
    return [
        MetricRegistration(
            name="win-rate",
            summary="how often a judge prefers the answer to the data set's own or to another row's",
            build="harness_plugins.metrics.win_rate.metric:WinRate",
            options=WinRateOptions,
            source="https://arxiv.org/abs/2305.18290",
            role="judge",
            may_read=("references",),
            columns=(
                Column(
                    "win:chosen", "wins against chosen", higher_is_better=True, unit="%", scale=100.0, range=(0.0, 1.0)
                ),
            ),
            by_options=_by_options,
            retryable=("unparsable", "refused"),
            preflight=_preflight,
        )
    ]
