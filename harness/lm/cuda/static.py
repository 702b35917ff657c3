"""Decoding over static caches: each tensor of a step keeps its place and shape, so that it can be captured.

:class:`harness.lm.decode.prefix.SharedPrefix` cuts keys and values to what is written, and its grid to the rows that
are left, so each step has another shape. Here a step is a function of a bucket, how many prompts take part, and of
static tensors: where it writes and what it hides depends on :attr:`Cache.written`, a number on the device. Rows that
have left are computed along until so many prompts have no row left that a smaller bucket holds the others.

Nothing here needs CUDA. On a CPU the step runs as it is, to be compared; on CUDA a graph of it is replayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from harness.in_parts import RELEASES
from harness.lm.attention import KEYWORD, NAME, Settings, additive, product
from harness.lm.cuda import buckets
from harness.lm.cuda.graphs import capture
from harness.lm.cuda.no_cache import NoCache
from harness.lm.cuda.sizes import CAPTURED
from harness.lm.decode.prefix import SharedPrefix, in_groups, in_rows
from harness.lm.model import backbone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from harness.lm.model.policy import Policy

#: Caches that a model keeps: for what a method samples, and for what else it decodes (a greedy answer, a probe).
_KEPT = 2
#: Of a cache's room, the least share that is used: a longer one reads what is hidden.
_USED = 0.5


class Cache:
    """Static tensors for up to ``capacity`` prompts with ``repeats`` rows each, and the step over them."""

    def __init__(self, device: torch.device, capacity: int, repeats: int, width: int, room: int) -> None:
        """Make room for prompts of ``width`` tokens and ``room`` tokens a row; keys and values come with layers."""
        self.capacity, self.repeats, self.width, self.room = capacity, repeats, width, room
        self.sizes = buckets.prompts(capacity)
        rows = capacity * repeats
        with torch.inference_mode(mode=False):  # what is made in that mode could not be written to outside of it
            self.tokens = torch.zeros(rows, dtype=torch.int64, device=device)
            self.positions = torch.ones(rows, dtype=torch.int64, device=device)
            self.lengths = torch.ones(capacity, dtype=torch.int64, device=device)
            self.written = torch.zeros((), dtype=torch.int64, device=device)
            self.logits: Tensor | None = None
        #: Keys (capacity, G, P + S K, D) and values of each layer, laid out as in ``SharedPrefix``.
        self.stores: list[tuple[Tensor, Tensor]] = []
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._places = torch.arange(width + room * repeats, device=device)
        self._owners = torch.arange(repeats, device=device)

    def fits(self, prompts: int, repeats: int, width: int, room: int) -> bool:
        """Tell whether a batch can use it, and would not read more than twice of what it needs."""
        enough = self.capacity >= prompts and self.width >= width and self.room >= room
        used = width + room * repeats >= _USED * (self.width + self.room * self.repeats)
        return self.repeats == repeats and enough and used

    def store(self, layer: int, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the keys and values of a layer whose states are (1, G, L, D); zero, since what is hidden is read.

        Under autocast in its type, in which its product asks for them: norms may have made float32 of them.
        """
        kind = states[0].device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states[0].dtype
        if layer == len(self.stores):
            size = len(self._places)
            with torch.inference_mode(mode=False):
                keys, values = (
                    torch.zeros(self.capacity, s.shape[1], size, s.shape[3], dtype=dtype, device=s.device)
                    for s in states
                )
            self.stores.append((keys, values))
        for each in self.stores[layer]:
            each.zero_()
        return self.stores[layer]

    def run(self, policy: Policy, prompts: int) -> None:
        """Feed :attr:`tokens` to the first ``prompts``, which makes their :attr:`logits`."""
        if prompts in self.graphs:
            self.graphs[prompts].replay()
        else:
            self.step(policy, prompts)

    def step(self, policy: Policy, prompts: int) -> None:
        """Do what a graph replays."""
        rows = prompts * self.repeats
        with policy.autocast():
            states, ready, _ = backbone.forward(
                policy.model,
                attention=NAME,
                input_ids=self.tokens[:rows, None],
                position_ids=self.positions[:rows, None],
                cache=NoCache(1),
                use_cache=True,
                **{KEYWORD: _Bucket(self, prompts)},
            )
        made = backbone.logits(policy, states[:, -1], None if ready is None else ready[:, -1])
        if self.logits is None:
            with torch.inference_mode(mode=False):
                self.logits = torch.empty(len(self.tokens), made.shape[1], dtype=made.dtype, device=made.device)
        self.logits[:rows].copy_(made)
        self.positions[:rows].add_(1)
        self.written.add_(1)

    def begin(self, lengths: Tensor) -> None:
        """Stand behind prompts of ``lengths`` (B,); other places of the batch hold one token, and are not asked for."""
        for static, starts in ((self.lengths, lengths), (self.positions, lengths.repeat_interleave(self.repeats))):
            static.fill_(1)
            static[: len(starts)] = starts
        self.written.zero_()

    def capture(self, policy: Policy) -> None:
        """Capture a graph of each bucket, and stand at the beginning again; what prompts left is not touched."""

        def step(prompts: int) -> None:
            self.written.zero_()
            self.step(policy, prompts)

        def step_on(prompts: int) -> None:
            self.step(policy, prompts)

        self.graphs = capture(step_on, self.sizes, policy.device, warm_up=step)

    def here(self) -> Tensor:
        """Return where rows write: (K,)."""
        return self.width + self.written * self.repeats + self._owners

    def hidden(self, prompts: int, window: int | None) -> Tensor:
        """(B, K, P + S K) bool: padding, what others wrote, what is not written, and what lies before the window."""
        places, lengths = self._places, self.lengths[:prompts, None]
        behind = places >= self.width
        age = torch.div(places - self.width, self.repeats, rounding_mode="floor")
        gone = (~behind & (places >= lengths)) | (age > self.written)
        if window is not None:
            positions = torch.where(behind, lengths + age, places)
            gone = gone | (positions <= lengths + self.written - window)
        others = behind & ((places - self.width) % self.repeats != self._owners[:, None])
        return gone[:, None] | others

    def move(self, owners: Tensor, prompts: int) -> None:
        """Move the prompts ``owners`` to the front; a bucket of ``prompts`` is filled up by the first of them."""
        order = torch.cat((owners, owners[:1].expand(prompts - len(owners))))
        for static in (each for pair in self.stores for each in pair):
            static[:prompts] = static[order]
        self.lengths[:prompts] = self.lengths[order]
        self.positions.view(self.capacity, -1)[:prompts] = self.positions.view(self.capacity, -1)[order]


class _Bucket:
    """Who sees whom in a step of some prompts: a :class:`harness.lm.attention.Layout`."""

    def __init__(self, cache: Cache, prompts: int) -> None:
        self._cache, self._prompts = cache, prompts
        self._here = cache.here()
        self._masks: dict[tuple[int, torch.dtype, int | None], Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, settings: Settings) -> Tensor:
        """Keep keys and values (N, G, 1, D) of a position; return what the queries (N, H, 1, D) find: (N, 1, H, E)."""
        batch, repeats = self._prompts, self._cache.repeats
        keys, values = (store[:batch] for store in self._cache.stores[layer])
        for store, new in ((keys, key), (values, value)):
            store.index_copy_(2, self._here, new.view(batch, repeats, new.shape[1], -1).transpose(1, 2).to(store.dtype))
        shared = query.shape[1] // key.shape[1]
        which = (shared, keys.dtype, settings.window)
        if which not in self._masks:
            hidden = self._cache.hidden(batch, settings.window).repeat_interleave(
                shared, 1, output_size=repeats * shared
            )
            self._masks[which] = additive(hidden, keys)[:, None]
        found = product(in_groups(query[:, :, 0], keys), keys, values, settings, mask=self._masks[which])
        return in_rows(found, len(query))


class StaticPrefix(SharedPrefix):
    """Rows over a static cache. Implements :class:`harness.lm.decode.decoder.Decoder`."""

    def __init__(self, policy: Policy, prompts: Tensor, lengths: Tensor, repeats: int, room: int) -> None:
        """Prefill; the arguments are those of :func:`harness.lm.decode.choose.decoder`."""
        batch = len(prompts)
        self._cache = cache = _cache_for(policy, batch, repeats, int(lengths.max()), max(1, room))
        self._rows: Tensor | None = None
        super().__init__(policy, prompts, lengths, repeats, cache.room, width=cache.width)
        self._bucket = buckets.smallest(cache.sizes, batch)
        if policy.device.type in CAPTURED and not cache.graphs:
            cache.begin(lengths)
            cache.capture(policy)
        cache.begin(lengths)

    def step(self, tokens: Tensor) -> None:
        """Feed each row a token (N,)."""
        cache = self._cache
        if self._rows is None:
            cache.tokens[: len(tokens)] = tokens
        else:
            cache.tokens.index_copy_(0, self._rows, tokens)
        cache.run(self._policy, self._bucket)
        assert cache.logits is not None
        # a copy: the next step writes over it
        self.logits = cache.logits[: len(tokens)].clone() if self._rows is None else cache.logits[self._rows]
        self._written += 1

    def select(self, rows: Tensor) -> None:
        """Keep the rows that the index ``rows`` names; a smaller bucket is taken where it holds their prompts."""
        self.logits = self.logits[rows]
        slots = rows if self._rows is None else self._rows[rows]
        owners, place = torch.unique(slots // self._repeats, return_inverse=True)
        bucket = buckets.smallest(self._cache.sizes, max(1, len(owners)))
        if len(owners) and bucket < self._bucket:
            self._cache.move(owners, bucket)
            slots, self._bucket = place * self._repeats + slots % self._repeats, bucket
        self._rows = slots

    def _new_store(self, states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the cache's own."""
        keys, values = self._cache.store(len(self._stores), states)
        return keys[: len(self._lengths)], values[: len(self._lengths)]


def release() -> None:
    """Forget all static caches and their graphs, whose memory somebody else needs more."""
    _caches.clear()


_caches: WeakKeyDictionary[nn.Module, list[tuple[tuple[object, ...], Cache]]] = WeakKeyDictionary()
RELEASES.append(release)


def _cache_for(policy: Policy, prompts: int, repeats: int, longest: int, room: int) -> Cache:
    """Return a cache that fits, one that was used before if possible: to capture takes a second."""
    width = buckets.width(longest)
    known = _caches.setdefault(policy.model, [])
    identity = _identity(policy)
    known[:] = [(whose, cache) for whose, cache in known if whose == identity]
    for entry in known:
        if entry[1].fits(prompts, repeats, width, room):
            known.remove(entry)
            known.append(entry)  # the last one used
            return entry[1]
    cache = Cache(policy.device, buckets.capacity(prompts), repeats, width, buckets.room(room))
    del known[: len(known) + 1 - _KEPT]
    known.append((identity, cache))
    return cache


def _identity(policy: Policy) -> tuple[object, ...]:
    """Return what a captured step depends on, the contents of tensors apart."""
    modules = [vars(module).get("forward") for module in policy.model.modules() if "forward" in vars(module)]
    bound = tuple(getattr(forward, "reads", id(forward)) for forward in modules)
    weights = tuple(parameter.data_ptr() for parameter in policy.model.parameters())
    return policy.dtype, policy.vocab_size, id(policy._absent), weights, bound  # noqa: SLF001  # a graph reads that mask
