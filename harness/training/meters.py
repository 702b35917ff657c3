"""What a step is measured by: where its time went, and the signal that its samples and rewards carried.

All sums are additive over ranks, so that the ranks' records of a step are added up before anything is divided.
"""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.spec.results.train import (
    PHASES,
    Phase,
    Quartiles,
    StepGroups,
    StepRewards,
    StepSamples,
    StepSeconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.api import Completions, Rewards
    from harness.spec.results.train import TrainStep


class Clock:
    """Seconds by phase. Every moment belongs to exactly one phase, the innermost one that was entered."""

    def __init__(self, device: torch.device) -> None:
        """Start in the phase ``other``; on a GPU what was launched is waited for at every change."""
        self._wait = device.type == "cuda"
        self._device = device
        self._phase: Phase = "other"
        self._since = time.perf_counter()
        self.seconds = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Charge what happens inside to ``name``."""
        before = self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def lap(self) -> dict[Phase, float]:
        """Return the seconds since the last call, by phase, and start again from zero."""
        self._switch(self._phase)
        seconds, self.seconds = self.seconds, dict.fromkeys(PHASES, 0.0)
        return seconds

    def _switch(self, name: Phase) -> Phase:
        if self._wait:
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.seconds[self._phase] += now - self._since
        before, self._phase, self._since = self._phase, name, now
        return before


@dataclass
class Signal:
    """Additive sums over one step."""

    sums: dict[str, float] = field(default_factory=dict)
    by_candidate: list[tuple[float, float, int]] = field(default_factory=list)
    """Of each candidate index: sum, sum of squares and count of its rewards."""
    parts: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, **amounts: float) -> None:
        """Add to named sums."""
        for name, amount in amounts.items():
            self.sums[name] = self.sums.get(name, 0.0) + amount

    def drew(self, completions: Completions, limit: int, entropy: torch.Tensor | None) -> None:
        """Take the samples (B, K, T) of which each may have ``limit`` tokens; ``entropy`` (B, K) in nats a token."""
        count = completions.lengths.numel()
        self.add(
            samples=count,
            empty=int((completions.answer_lengths == 0).sum()),
            truncated=int((~completions.finished & (completions.lengths >= limit)).sum()),
            length=int(completions.answer_lengths.sum()),
            generated=int(completions.lengths.sum()),
        )
        if entropy is not None:
            self.add(entropy=float(entropy.sum()), entropies=count)

    def rewarded(self, rewards: Rewards) -> None:
        """Take the rewards of one step's groups (B, K). A single candidate is not a group: it has no spread."""
        values, present = rewards.values.cpu(), rewards.present.cpu()
        low = values.masked_fill(~present, float("inf")).amin(1)
        high = values.masked_fill(~present, float("-inf")).amax(1)
        centred = torch.where(present, values - rewards.mean().cpu(), 0.0)
        self.add(
            rewards=int(present.sum()),
            missing=int((~present).sum()),
            reward=float(values[present].sum()),
        )
        if values.shape[1] > 1:
            self.add(
                within=float(centred.square().sum()),
                spread=int(present.sum()),
                groups=len(rewards),
                flat=int((high <= low).sum()),
            )
        columns = [values[:, column][present[:, column]] for column in range(values.shape[1])]
        self._add_candidates([(float(here.sum()), float(here.square().sum()), len(here)) for here in columns])
        for label, part in rewards.parts.items():
            present_values = part[~part.isnan()]
            total, count = self.parts.get(label, (0.0, 0))
            self.parts[label] = (total + float(present_values.sum()), count + len(present_values))

    def merge(self, other: Signal) -> None:
        """Add another rank's sums."""
        self.add(**other.sums)
        self._add_candidates(other.by_candidate)
        for label, (total, count) in other.parts.items():
            mine_total, mine_count = self.parts.get(label, (0.0, 0))
            self.parts[label] = (mine_total + total, mine_count + count)

    def _add_candidates(self, sums: Sequence[tuple[float, float, int]]) -> None:
        for place, (total, squares, count) in enumerate(sums):
            if place < len(self.by_candidate):
                mine = self.by_candidate[place]
                self.by_candidate[place] = (mine[0] + total, mine[1] + squares, mine[2] + count)
            else:
                self.by_candidate.append((total, squares, count))

    def samples(self) -> StepSamples | None:
        """Return what the log says of the samples, if there were any; their entropy is a mean over them."""
        sums = self.sums
        count = sums.get("samples")
        if not count:
            return None
        return StepSamples(
            count=int(count),
            empty=int(sums["empty"]),
            truncated=int(sums["truncated"]),
            mean_length=sums["length"] / count,
            entropy=sums["entropy"] / sums["entropies"] if sums.get("entropies") else None,
        )

    def rewards(self, *, calls: int = 0, notes: Mapping[str, float] | None = None) -> StepRewards | None:
        """Return what the log says of the rewards, if any were asked for.

        With the means by candidate the standard deviation tells how much of the spread the temperatures alone explain.

        Args:
            calls: how many were asked for.
            notes: means of what the rewards reported.
        """
        sums = self.sums
        if "rewards" not in sums:
            return None
        count = sums["rewards"]
        # a list with holes would say nothing of the others' places
        listed = self.by_candidate if all(n for _, _, n in self.by_candidate) else None
        return StepRewards(
            missing=int(sums["missing"]),
            mean=sums["reward"] / count if count else None,
            sd=(sums["within"] / sums["spread"]) ** 0.5 if sums.get("spread") else None,
            parts={label: total / n for label, (total, n) in self.parts.items() if n} if count else None,
            by_candidate=None if listed is None else tuple(total / n for total, _, n in listed),
            sd_by_candidate=None
            if listed is None
            else tuple(max(0.0, squares / n - (total / n) ** 2) ** 0.5 for total, squares, n in listed),
            calls=calls,
            notes=dict(notes) if notes else None,
        )

    def groups(self) -> StepGroups | None:
        """Return what the log says of groups, if prompts had more than one candidate."""
        if "groups" not in self.sums:
            return None
        return StepGroups(count=int(self.sums["groups"]), without_spread=int(self.sums["flat"]))


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the median and the quartiles (linear interpolation between order statistics)."""
    if len(values) < 2:
        only = values[0] if values else 0.0
        return Quartiles(median=only, q1=only, q3=only)
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(median=median, q1=q1, q3=q3)


def step_seconds(rows: Sequence[TrainStep]) -> StepSeconds:
    """Return the quartiles of the seconds a step, by phase and in ``total``."""
    phases = {name: quartiles([row.seconds[name] for row in rows]) for name in PHASES}
    return StepSeconds(**phases, total=quartiles([row.total_seconds for row in rows]))


class PeakMemory:
    """Most bytes held since this was made: of the GPU's memory by tensors, else of main memory by the process."""

    def __init__(self, device: torch.device) -> None:
        """Forget earlier peaks, where the system lets one."""
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        with suppress(OSError):  # elsewhere the peak of the whole process is what there is
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM

    def read(self) -> int:
        """Return the peak in bytes."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        try:
            lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            import resource
            import sys

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else peak * 1024
