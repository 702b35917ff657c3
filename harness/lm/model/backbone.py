"""A causal LM in two parts: the backbone, which gives hidden states, and the head, which makes logits of them.

Apart, the head runs only where logits are wanted: the last position while sampling, the scored ones while training.
Whether a model is nothing but head after backbone is tried, not believed: some scale or cap their logits.
"""

from __future__ import annotations

import inspect
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from harness.lm.model.policy import Policy

_parts: WeakKeyDictionary[nn.Module, tuple[nn.Module, nn.Module] | None] = WeakKeyDictionary()
_arguments: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch every module of ``model`` to evaluation mode, and those that trained back afterwards."""
    trained = [module for module in model.modules() if module.training]
    for module in trained:
        module.training = False
    try:
        yield
    finally:
        for module in trained:
            module.training = True


def recomputes(module: nn.Module) -> bool:
    """Tell whether a layer of ``module`` computes its activations again in the backward pass."""
    # transformers sets it on the layers themselves; asking a module for what it lacks is slow
    return any(vars(part).get("gradient_checkpointing") for part in module.modules())


@contextmanager
def scoring(module: nn.Module, *, dropout: bool, attention: str | None = None) -> Iterator[None]:
    """Turn dropout on or off inside ``module``, and put every module's mode back afterwards.

    So it is for the name of the attention that transformers is to use, if one is given.

    Layers whose gradients are checkpointed run again during the backward pass, long after this context was left: they
    are told to enter it again. They also check their own mode, so they train even where dropout is off.
    """
    before = [(part, part.training) for part in module.modules()]
    rates: list[tuple[nn.Module, str, float]] = []
    module.train(dropout)
    for layer, _ in before:
        if not getattr(layer, "gradient_checkpointing", False) or not hasattr(layer, "_gradient_checkpointing_func"):
            continue
        again = _Again(layer, dropout=dropout, attention=attention)
        rerun = partial(checkpoint, use_reentrant=False, context_fn=again.contexts)
        setattr(layer, "_gradient_checkpointing_func", rerun)  # noqa: B010  # the attribute is transformers' own
        if not dropout:
            layer.training = True
            rates += [
                (layer, name, rate)
                for name, rate in vars(layer).items()
                if "dropout" in name and isinstance(rate, float)
            ]
    for layer, name, _ in rates:
        setattr(layer, name, 0.0)
    try:
        with attending(module, attention) if attention else nullcontext():
            yield
    finally:
        for part, training in before:
            part.training = training
        for layer, name, rate in rates:
            setattr(layer, name, rate)


class _Again:
    """:func:`scoring` of one layer, to be entered any number of times: a graph may be walked back more than once."""

    def __init__(self, layer: nn.Module, *, dropout: bool, attention: str | None) -> None:
        self._layer = layer
        self._dropout = dropout
        self._attention = attention
        self._stack = ExitStack()

    def contexts(self) -> tuple[nullcontext[None], _Again]:
        """Return what the layer runs in, and what it runs in again."""
        return nullcontext(), self

    def __enter__(self) -> None:
        self._stack.enter_context(scoring(self._layer, dropout=self._dropout, attention=self._attention))

    def __exit__(self, *error: object) -> None:
        self._stack.close()


@contextmanager
def attending(module: nn.Module, name: str) -> Iterator[None]:
    """Let ``module`` use the attention that transformers knows by ``name``."""
    by_id = {id(config): config for part in module.modules() if (config := getattr(part, "config", None)) is not None}
    configs: list[Any] = list(by_id.values())
    before = [config._attn_implementation for config in configs]  # noqa: SLF001  # how transformers itself switches it
    for config in configs:
        config._attn_implementation = name  # noqa: SLF001  # as above
    try:
        yield
    finally:
        for config, earlier in zip(configs, before, strict=True):
            config._attn_implementation = earlier  # noqa: SLF001  # as above


def split(model: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """Return (backbone, head) of a transformers causal LM, or None where its logits need more than these two."""
    if model not in _parts:
        _parts[model] = _try_split(model)
    return _parts[model]


def forward(model: nn.Module, *, attention: str | None = None, **inputs: Any) -> tuple[Tensor, Tensor | None, Any]:
    """Run ``model`` without its head, where that can be had.

    Args:
        model: a transformers causal LM.
        attention: the name of the attention to use, the model's own unless given.
        inputs: of its forward; ``position_ids`` are left out where the architecture has none, and ``cache`` goes by the
            name that the architecture has for it.

    Returns:
        hidden states (R, L, D) of the last layer, after its final norm and projection; logits (R, L, V), or None
        where the head makes them of the hidden states; the cache.
    """
    if not has_argument(model, "position_ids"):
        inputs.pop("position_ids", None)
    if "cache" in inputs and not has_argument(model, "cache"):  # before transformers 5.24, and in others' models
        inputs["past_key_values"] = inputs.pop("cache")
    parts = split(model)
    with attending(model, attention) if attention else nullcontext():
        if parts is not None:
            output = parts[0](**inputs)
            return output.last_hidden_state, None, _cache(output)
        output = model(**inputs, output_hidden_states=True)
        return output.hidden_states[-1], output.logits, _cache(output)


def states(body: nn.Module, **inputs: Any) -> Tensor:
    """Return the hidden states (R, L, D) of a backbone that stands alone, as :func:`body` gives it."""
    if not has_argument(body, "position_ids"):
        inputs.pop("position_ids", None)
    last: Tensor = body(**inputs, use_cache=False).last_hidden_state
    return last


def body(model: nn.Module) -> nn.Module | None:
    """Return a causal LM without its head, None where the architecture does not name that part."""
    causal = inner(model)
    base = getattr(causal, "base_model", None)
    return None if base is None or base is causal else cast("nn.Module", base)


def head(model: nn.Module) -> nn.Module:
    """Return what makes logits (…, V) of the hidden states (…, D) that :func:`forward` gives without logits."""
    parts = split(model)
    assert parts is not None
    return parts[1]


def logits(policy: Policy, hidden: Tensor, ready: Tensor | None) -> Tensor:
    """Return logits (N, V) over the ids that have a token, of hidden states (N, D) or as the model made them itself."""
    with policy.autocast():
        return policy.restrict(head(policy.model)(hidden) if ready is None else ready)


def head_weight(model: nn.Module) -> Tensor | None:
    """Return the weight (V, D) of a head that is nothing but a product with it, None for any other."""
    parts = split(model)
    if parts is None or type(parts[1]) is not nn.Linear or getattr(parts[1], "bias", None) is not None:
        return None
    hooks = (parts[1]._forward_hooks, parts[1]._forward_pre_hooks)  # noqa: SLF001  # torch has no public question for hooks
    return None if any(hooks) else parts[1].weight


def config_of(model: nn.Module) -> Any:
    """Return the configuration of a transformers model, adapted or not; None where it has none."""
    return getattr(inner(model), "config", None)


def inner(model: nn.Module) -> Any:
    """Return the transformers model: adapters wrap one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]  # a method of PEFT's class


def attention_of(model: nn.Module) -> str:
    """Return the name of the attention that ``model`` uses."""
    return str(getattr(config_of(model), "_attn_implementation", None))


def alike(model: nn.Module, values: Tensor, expected: Tensor) -> bool:
    """Tell whether two ways to compute the same logits agree but for rounding.

    Rounding grows with the logits and with the layers; measured are 5e-7 of the largest logit for two layers and 4e-6
    for eighty. In float64 too: transformers computes some norms and softmaxes in float32, whatever the model's type.
    """
    finite = expected.isfinite()  # ids without a token have minus infinity
    if not bool(finite.any()) or not torch.equal(values.isfinite(), finite):
        return False
    values, expected = values[finite], expected[finite]
    bound = 1e-5 * max(1, getattr(config_of(model), "num_hidden_layers", 1))
    return float((values - expected).abs().max()) <= bound * float(expected.abs().max())


def has_argument(model: nn.Module, name: str) -> bool:
    """Tell whether the model's forward has an argument of this name."""
    arguments = _arguments.get(model)
    if arguments is None:
        arguments = _arguments[model] = frozenset(inspect.signature(inner(model).forward).parameters)
    return name in arguments


def _cache(output: Any) -> Any:
    # asked for by a name that it does not have, an output warns
    return getattr(output, "cache" if hasattr(type(output), "cache") else "past_key_values", None)


def _try_split(model: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    causal = inner(model)
    backbone, output = getattr(causal, "base_model", None), causal.get_output_embeddings()
    if backbone is None or backbone is causal or output is None:
        return None
    ids = torch.tensor([[0, 1, 0], [1, 1, 0]], device=next(model.parameters()).device)
    with torch.no_grad(), evaluating(model):
        whole = model(input_ids=ids, use_cache=False).logits
        apart = output(backbone(input_ids=ids, use_cache=False).last_hidden_state)
    return (cast("nn.Module", backbone), cast("nn.Module", output)) if torch.equal(whole, apart) else None
