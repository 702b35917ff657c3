"""Linear layers whose weights are laid out once and applied many times: what decoding does little else than.

A decoding step multiplies a few rows by every weight of the model. BLAS lays each weight out anew in each product, and
bfloat16 autocast casts it anew, the head's included. For as long as the weights stand still, both need doing once.
:func:`packed` sees to that for any model: it finds the ``nn.Linear`` and ``Conv1D`` modules and replaces what they
compute, not what they are.

A weight is packed (put in oneDNN's own order) from :data:`NUMBERS` numbers on, and used so for :data:`ROWS` rows or
more. The time of oneDNN's product in shares of torch's own, float32, 16 rows, weights in turn so that none is in a
near cache (the two processors with AVX2 shared with others, so that one digit counts):

=============== ======================= ================== ==================
weight          EPYC, AVX-512, 2 cores  EPYC, AVX2, 2      EPYC, AVX2, 1
=============== ======================= ================== ==================
128 x 512       (not packed)            1.1                1.5
192 x 576                               0.8 to 1.0         1.3
256 x 768                               0.9                1.3
576 x 576       0.61                    0.7 to 1.0         1.0 to 1.2
576 x 1,536     0.57                    0.7 to 0.9         1.05
1,536 x 576     0.51                    0.8 to 0.9         1.0
8,192 x 256                             0.5                0.6
49,152 x 576                            0.3 to 0.4         0.5
=============== ======================= ================== ==================

Packing one costs as much as two products with it, and saves from none to half of each that follows.

Memory: a packed weight is a copy, so for the time of the context the linear layers take twice their memory (one and a
half times it for bfloat16, where the device multiplies that). Where there is not so much, nothing is packed.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch import nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from harness.in_parts import out_of_memory
from harness.lm.cuda import binding
from harness.lm.switches import PLAIN_LINEAR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from harness.lm.model.policy import Policy

log = logging.getLogger(__name__)

#: Numbers of a weight from which on it is packed. A product with a smaller one takes less than what is around it.
NUMBERS = 100_000
#: Rows from which on a packed weight is used. One row is a matter of reading the weight, in whatever order.
ROWS = 2

#: Products with a weight from which on it is worth packing.
USES = 16

_Apply: TypeAlias = "Callable[[Tensor], Tensor]"


@contextmanager
def packed(policy: Policy, *, uses: int) -> Iterator[None]:
    """Let the linear layers of a policy's model apply weights that are packed, and cast to autocast's type, once.

    Within the context a layer computes as before where gradients are on, and where its weight has been replaced or
    written to (not through ``.data``, of which torch keeps no count). Layers are left alone that are of a subclass (an
    adapter's, a quantised one's) or parametrised, that have hooks or a forward of their own, or whose weights are not
    float32. What is packed already stays so: contexts may be nested. Outcomes are those of the plain layers, but for
    rounding.

    Args:
        policy: its model is as before afterwards, whatever is raised meanwhile.
        uses: how often each layer will be called, at most; below :data:`USES` nothing is packed.
    """
    bound: list[nn.Module] = []
    try:
        if not PLAIN_LINEAR.on:
            with policy.autocast(), torch.no_grad():
                _bind(policy.model, bound, pack=uses >= USES)
        yield
    finally:
        _release(bound)


def _bind(model: nn.Module, bound: list[nn.Module], *, pack: bool) -> None:
    """Give the layers of ``model`` another forward, and note them."""
    try:
        for module in model.modules():
            forward = _forward(module, pack=pack) if _is_plain(module) else None
            if forward is not None:
                module.__dict__["forward"] = forward  # found before the class's own; hooks are called around either
                bound.append(module)
    except Exception as error:
        if not out_of_memory(error):
            raise
        log.warning("no memory for a copy of the weights in the order that is fastest to apply; sampling is slower")
        _release(bound)


def _release(bound: list[nn.Module]) -> None:
    while bound:
        del bound.pop().__dict__["forward"]


def _is_plain(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    hooks = (module._forward_hooks, module._forward_pre_hooks)  # noqa: SLF001  # torch has no public question for hooks
    return (
        type(module) in {nn.Linear, Conv1D}
        and "forward" not in vars(module)  # somebody else's, or ours
        and not any(hooks)
        and type(weight) is nn.Parameter
        and weight.dtype == torch.float32
        and weight.layout == torch.strided
        and not weight.is_meta
        and not weight.is_inference()  # such a one does not count how often it is written to
    )


def _forward(module: Any, *, pack: bool) -> _Apply | None:
    """Return what a plain layer computes, by a weight that stands still; None where its own way is as good."""
    weight = module.weight if type(module) is nn.Linear else module.weight.t()
    kind = weight.device.type
    if kind in binding.DEVICES and torch.is_autocast_enabled(kind):
        return binding.bound_forward(module, torch.get_autocast_dtype(kind))
    casts, pack = torch.is_autocast_enabled(kind), pack and _packable(weight)
    if casts:
        fixed = _cast(weight, module.bias, torch.get_autocast_dtype(kind), pack=pack)
    elif pack:
        fixed = _packed(weight, module.bias)
    else:
        return None
    plain, versions = module.forward, _versions(module)
    least = 0 if casts else ROWS * weight.shape[1]

    def forward(inputs: Tensor) -> Tensor:
        if (
            inputs.numel() < least
            or torch.is_grad_enabled()
            or torch.is_autocast_enabled(kind) != casts
            or _versions(module) != versions
        ):
            return cast("Tensor", plain(inputs))
        return fixed(inputs)

    return forward


def _versions(module: Any) -> list[tuple[int, int]]:
    """Return what changes when a parameter of a layer is written to or replaced."""
    parameters = (module.weight, module.bias)
    return [(p.data_ptr(), p._version) for p in parameters if p is not None]  # noqa: SLF001  # no public question for it


def _packable(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.numel() >= NUMBERS and _onednn() is not None


def _packed(weight: Tensor, bias: Tensor | None) -> _Apply:
    """Return the product with ``weight`` (out, in)."""
    onednn = _onednn()
    ready = onednn._reorder_linear_weight(weight.detach().contiguous())  # noqa: SLF001  # what torch.compile calls
    return lambda inputs: cast("Tensor", onednn._linear_pointwise(inputs, ready, bias, "none", [], ""))  # noqa: SLF001  # as above


def _cast(weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, pack: bool) -> _Apply:
    """Return the product with ``weight`` (out, in) that autocast makes: of rounded numbers, and rounded."""
    # where the processor does not multiply the type, torch is slow; products summed in float32 are the same by BLAS
    exact = dtype if _multiplies(dtype) else torch.float32
    ready = weight.detach().to(dtype).to(exact).contiguous()
    shift = None if bias is None else bias.detach().to(dtype).to(exact)
    product = _packed(ready, shift) if pack else lambda inputs: linear(inputs, ready, shift)
    return lambda inputs: product(inputs.to(dtype).to(exact)).to(dtype)


def _multiplies(dtype: torch.dtype) -> bool:
    """Tell whether the processor multiplies numbers of this type."""
    onednn = _onednn()
    return dtype != torch.bfloat16 or (onednn is not None and bool(onednn._is_mkldnn_bf16_supported()))  # noqa: SLF001  # as above


def _onednn() -> Any:
    """Return torch's operations of oneDNN, None where they cannot be had."""
    operations = cast("Any", torch.ops.mkldnn)
    wanted = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    there = cast("Any", torch.backends.mkldnn).is_available() and all(hasattr(operations, name) for name in wanted)
    return operations if there else None
