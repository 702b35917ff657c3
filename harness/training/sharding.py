"""Weights divided among the ranks of a run, by torch's FSDP2 (``fully_shard``): parameters, gradients and moments.

Each layer is a group of its own, whose weights are gathered when it runs; what is no layer (embeddings, the last norm,
the head) is one more, gathered for as long as a service of the run or a loss needs it. A model is loaded in the memory
of the host and goes to its device a group at a time, so a device never holds the whole of one.

Gathering takes all ranks, and their work differs: answers end earlier here, and a micro-batch has no counterpart there.
So the ranks keep step. Before a model runs on one rank they tell each other which (:meth:`ShardedRanks._meet`); a rank
that has nothing to ask lets that model run over a single token, and forgets what it says. In a loss it keeps that, to
walk back from it with a gradient of zero. Nothing else is exchanged, and no result depends on it.

A rank that fails while it waits for no other says so at the next meeting (see :mod:`harness.training.distributed`). One
that fails in the middle of a model, where memory runs out, leaves others waiting for weights: it closes the group that
these go through, so that they turn to the meeting, and learn why there.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from harness.api import Completions, Prompts
from harness.errors import InputError, MachineError, PluginError, StageError
from harness.lm.model import backbone
from harness.lm.score.logprobs import ScoringModule, prepare
from harness.lm.way import way_of
from harness.training.distributed import PATIENCE, ManyRanks, Ranks
from harness.training.shares import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from torch import Tensor, nn
    from torch.distributed.tensor import DTensor

    from harness.lm.model.policy import Policy

#: The first number that stands for something to do; those below say how deep a rank stands whose work is done.
_WORK = 64


class ShardedRanks(ManyRanks):
    """A run of several processes, each of which holds a part of every weight."""

    divided = True
    in_vain = "out of memory, and a step with divided weights is not begun again"

    def __init__(self, world: int, device: torch.device, patience: timedelta) -> None:
        """Join the run, as :class:`ManyRanks` does; weights go through a group of their own."""
        import torch.distributed as dist
        from torch.distributed.device_mesh import DeviceMesh

        super().__init__(world, device, patience)
        self._group: Any = dist.new_group(timeout=patience)
        self._mesh = DeviceMesh.from_group(self._group, self.device.type)
        self._works: list[Callable[[], None]] = []
        self._depth = 0
        self._alone = True  # whether what runs was begun here, and not for the sake of another rank
        self._running: object = None
        self._roots: list[Any] = []
        self._gathered: dict[Any, None] = {}
        self.forwards = 0
        """Forwards of this part of a step of which a gradient may be asked."""
        self.company: dict[tuple[int, str], Tensor] = {}
        """What those gave that ran for the sake of another rank, by number and kind."""

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients of what every rank holds whole: those of divided weights are summed already."""
        for root in self._roots:
            root.reshard()  # unless a backward has done it
        super().sum_gradients([parameter for parameter in parameters if not is_divided(parameter)])

    def divide(self, module: nn.Module) -> None:
        """Leave a part of the weights of ``module`` on each rank: what scores with a policy's model, or a critic.

        The policy computes on this rank's device from now on.

        Raises:
            InputError: the model's layers cannot be told.
        """
        from torch.distributed.fsdp import FSDPModule, fully_shard

        root: Any = module
        policy: Policy = root.policy
        way_of(policy)  # tried while the model is whole
        parts = backbone.split(policy.model)
        scores = isinstance(module, ScoringModule)
        body = root.backbone if not scores else policy.model if parts is None else parts[0]
        for layer in _layers(body, policy):
            fully_shard(layer, mesh=self._mesh)
        fully_shard(root, mesh=self._mesh, reshard_after_forward=False)
        for part in root.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
        _move(policy, self.device)
        quiet = len(self._works)
        self._works += [partial(self._echo, root, body, None), partial(self._echo, root, body, "values")]
        if scores:
            self._works += [partial(self._echo, root, body, "logits"), partial(self._echo, root, body, "states")]
        kinds = {kind: _WORK + quiet + 1 + place for place, kind in enumerate(("values", "logits", "states"))}

        def before(_: object, _args: object, given: Mapping[str, Any]) -> None:
            learns = torch.is_grad_enabled() and any(weight.requires_grad for weight in root.parameters())
            self._begin(root, root, kinds[given.get("output", "values")] if learns else _WORK + quiet, learns=learns)

        def before_body(*_: object) -> None:
            if self._running is not root:
                if torch.is_grad_enabled():
                    raise PluginError(
                        "the policy's model was run by itself, and its weights are divided among processes",
                        where="execution.shard",
                        hint="ask run.logprobs(), run.logits() or run.final_states() instead",
                    )
                self._begin(root, body, _WORK + quiet, learns=False)

        root.register_forward_pre_hook(before, prepend=True, with_kwargs=True)
        root.register_forward_hook(self._end)
        body.register_forward_pre_hook(before_body, prepend=True)
        body.register_forward_hook(self._end)
        with self.together():  # what is gathered first outside inference mode may be used in and out of it
            root(_token(policy), **({"dropout": False} if scores else {}))
        root.reshard()
        self._roots.append(root)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Return a context in which ranks ask models as often as each has to; it is left by all at once."""
        self._depth += 1
        try:
            with self._weights():
                yield
                while self._meet(self._depth) != self._depth:
                    pass
        finally:
            self._depth -= 1
            if not self._depth:
                for root in self._gathered:
                    root.reshard()
                self._gathered.clear()

    def for_all(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return what lets all ranks do ``work`` as soon as one of them calls it, :meth:`together`."""
        number = _WORK + len(self._works)
        self._works.append(work)

        def do() -> None:
            self._meet(number)
            work()

        return do

    def even(self, parts: list[list[int]]) -> list[list[int]]:
        """Return this rank's parts of a step's rows, empty ones added where other ranks have more."""
        parts = [part for part in parts if part]
        return parts + [[]] * (self.worst(len(parts)) - len(parts))

    def outputs(self) -> Outputs:
        """Return what a loss's outputs are noted in."""
        self.forwards = 0
        self.company.clear()
        return SharedOutputs(self)

    def any(self, flag: bool) -> bool:  # noqa: FBT001  # one argument
        """Return whether a flag is set on any rank."""
        return bool(self.worst(int(flag)))

    def moved(self, shares: Mapping[str, bool]) -> Mapping[str, bool]:
        """Return which shares of a loss moved on any rank, in one order on all."""
        found: dict[str, bool] = {}
        for other in self.gather(dict(shares)):
            for name, yes in other.items():
                found[name] = found.get(name, False) or yes
        return dict(sorted(found.items()))

    def fail(self, error: BaseException) -> None:
        """Tell the other ranks that this one cannot go on; first let go of those that wait for weights."""
        if self._running is not None:
            if self.device.type != "cpu":  # what they wait for on a GPU ends with this process
                sys.stderr.write(f"{error}\n")
                return
            torch.distributed.destroy_process_group(self._group)
        super().fail(error)

    @contextmanager
    def walking(self) -> Iterator[None]:
        """Return the context of a backward, in which all ranks are at the same time."""
        with self._weights():
            self._running = "backward"
            yield
            self._running = None

    @contextmanager
    def _weights(self) -> Iterator[None]:
        """Where weights no longer come, raise what befell the rank that should have sent its part."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "gloo" not in str(error).lower():
                raise
            self._running = None
            self._check()
            raise MachineError("weights of another process of this run did not come", hint="run again") from error

    def _meet(self, mine: int) -> int:
        """Tell the others what this rank is about to do, and do what they do if it is done itself; return which."""
        if self._running is not None:
            raise MachineError(
                "memory ran out in the middle of a model whose weights are divided among processes",
                where="execution.shard",
                hint="more processes, shorter texts, or recipe.gradient_checkpointing",
            )
        if not self._depth:
            raise PluginError(
                "a model was run outside the services of the run, and its weights are divided among processes",
                where="execution.shard",
            )
        works = mine >= _WORK
        most, least = self._agree(mine, -mine if works else -(1 << 30))
        if most >= _WORK and most != -least:
            raise StageError(
                "processes that share weights asked different models at the same time",
                where="execution.shard",
                hint="let the method call the same services in the same order for whatever rows it is given",
            )
        if most >= _WORK and not works:
            self._alone = False
            try:
                self._works[most - _WORK]()
            finally:
                self._alone = True
        return most

    def _begin(self, root: Any, module: object, number: int, *, learns: bool) -> None:
        """Meet, unless the model runs for the sake of others, and gather what is no layer."""
        if self._alone:
            self._meet(number)
        root.unshard()
        self._running = module
        if learns:
            self.forwards += 1
        else:
            self._gathered[root] = None

    def _end(self, module: object, *_: object) -> None:
        if self._running is module:
            self._running = None

    def _echo(self, root: Any, body: Any, kind: str | None) -> None:
        """Let a model run over one token, and keep what it says where others take a gradient of it."""
        packed = _token(root.policy)
        if kind is None:
            with torch.no_grad():
                body(input_ids=packed.input_ids[:1, :1], use_cache=False)
            return
        with torch.enable_grad():
            if isinstance(root, ScoringModule):
                said = root(packed, dropout=False, output=cast("Any", kind))
                said["hidden"] = said.get("states")
            else:
                said = {"values": root(packed)}
        self.company |= {(self.forwards, name): tensor for name, tensor in said.items() if tensor is not None}


class SharedOutputs(Outputs):
    """What one call of a loss was given, where a walk back from it takes all ranks."""

    def __init__(self, ranks: ShardedRanks) -> None:
        """Start with nothing handed out."""
        super().__init__()
        self._ranks = ranks
        self._places: list[tuple[int, str]] = []

    def hand_out(self, output: Tensor, kind: str = "values") -> Tensor:
        """Return a leaf with the values of ``output``, and note of which forward it came."""
        if output.requires_grad:
            self._places.append((self._ranks.forwards, kind))
        return super().hand_out(output, kind)

    def gradient(self, name: str, parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
        """Return one share's gradient by a backward of its own; of divided weights summed over all ranks."""
        kept = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        self._add_direct(name, parameters)
        self._walk(self._slopes.get(name, [None] * len(self._made)), again=True)
        found: list[Tensor | None] = [parameter.grad for parameter in parameters]
        for parameter, gradient in zip(parameters, kept, strict=True):
            parameter.grad = gradient
        return found

    def _walk(self, slopes: Sequence[Tensor | None], *, again: bool = False) -> None:
        """Walk back from what any rank walks back from, with zeros where this one has no slope."""
        reached = [(output, slope) for output, slope in zip(self._made, slopes, strict=True) if slope is not None]
        mine = {place for place, slope in zip(self._places, slopes, strict=True) if slope is not None}
        made = dict(zip(reversed(self._places), reversed(self._made), strict=True))
        for place in sorted(set().union(*self._ranks.gather(mine)) - mine):
            output = made[place] if place in made else self._ranks.company[place]
            reached.append((output, torch.zeros_like(output)))
        with self._ranks.walking():
            if reached:
                outputs, gradients = zip(*reached, strict=True)
                torch.autograd.backward(outputs, gradients, retain_graph=again)


def join(world: int, device: torch.device, patience: timedelta = PATIENCE) -> Ranks:
    """Return this process's place among ``world`` processes that divide weights; alone when that is 1."""
    return ShardedRanks(world, device, patience) if world > 1 else Ranks()


def is_divided(tensor: Tensor) -> bool:
    """Return whether this rank holds a part of a tensor alone."""
    return hasattr(tensor, "full_tensor")


def own(tensor: Tensor) -> Tensor:
    """Return what this rank holds of a tensor."""
    return cast("DTensor", tensor).to_local() if is_divided(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return the whole of a tensor, a weight or a moment, on the CPU if it is divided; all ranks must ask for it."""
    return cast("DTensor", tensor.detach()).full_tensor().cpu() if is_divided(tensor) else tensor


def divided_like(value: Tensor, tensor: Tensor) -> Tensor:
    """Return ``value`` as it is, or this rank's part of it, where ``tensor`` is divided."""
    if not is_divided(tensor):
        return value
    from torch.distributed.tensor import distribute_tensor

    like = cast("DTensor", tensor)
    # every rank has the value: nothing need be sent
    return distribute_tensor(value.to(own(tensor).device), like.device_mesh, like.placements, src_data_rank=None)


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Return the norm of all gradients as one vector, those of divided weights whole."""
    parts = [gradient for gradient in gradients if is_divided(gradient)]
    rest = [gradient for gradient in gradients if not is_divided(gradient)]
    if not parts:
        return torch.nn.utils.get_total_norm(rest)
    square = torch.nn.utils.get_total_norm([own(gradient) for gradient in parts]).double().square()
    torch.distributed.all_reduce(square, group=cast("DTensor", parts[0]).device_mesh.get_group())
    return (square + (torch.nn.utils.get_total_norm(rest).double().square() if rest else 0)).sqrt()


def weights_of(policy: Policy) -> dict[str, Tensor] | None:
    """Return what :meth:`Policy.save` is to write of divided weights, whole; None where the model itself is whole.

    All ranks must ask for it. Names of tied weights have the same tensor.
    """
    if not any(is_divided(weight) for weight in policy.model.parameters()):
        return None
    state = policy.model.state_dict(keep_vars=True) if policy.adapter is None else policy.adapter.tensors()
    found: dict[int, Tensor] = {}
    for tensor in state.values():
        if id(tensor) not in found:
            found[id(tensor)] = whole(tensor).detach()
    return {name: found[id(tensor)] for name, tensor in state.items()}


def _layers(body: nn.Module, policy: Policy) -> list[nn.Module]:
    """Return the layers of a model: the modules that transformers says must not be split, or its longest list."""
    named = set(getattr(backbone.inner(policy.model), "_no_split_modules", None) or ())
    layers = [module for module in body.modules() if type(module).__name__ in named]
    if not layers:
        lists = [module for module in body.modules() if isinstance(module, torch.nn.ModuleList)]
        layers = list(max(lists, key=len, default=()))
    if not layers:
        what = "this model's layers cannot be told, so its weights cannot be divided among processes"
        raise InputError(what, where="execution.shard", expected="false")
    return layers


def _move(policy: Policy, device: torch.device) -> None:
    """Let a policy compute on another device, where its model is."""
    policy.device = device
    absent = policy._absent  # noqa: SLF001  # what was made on the device that it was loaded on
    policy._absent = None if absent is None else absent.to(device)  # noqa: SLF001  # as above


def _token(policy: Policy) -> Any:
    """Return a prompt of one token with an answer of one."""
    one = torch.ones(1, 1, dtype=torch.int64, device=policy.device)
    prompts = Prompts(one - 1, one[0], ("",))
    return prepare(policy, prompts, Completions(one[None] - 1, one, one > 0))
