"""One training segment: from a checkpoint, over some steps of a schedule, to the next checkpoint.

A segment is a function of its start, its rows and its plan. Nothing is remembered between steps but weights, moments
and what the method keeps: the data order, the learning rate and all random numbers are closed forms of the step. So
training on from a stored checkpoint gives, bit for bit, what training in one go gives.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from harness import disk
from harness.errors import HarnessError, MachineError, StageError, first_line
from harness.in_parts import Batcher, out_of_memory
from harness.lm.cuda.memory import training_tokens
from harness.lm.score.logprobs import ScoringModule
from harness.models.folders import weights_digest
from harness.spec.results.files import CHECKPOINT
from harness.spec.results.train import PHASES, MicroBatches, RowsUsed, TrainSummary
from harness.text.encode import collate
from harness.training import checkpoint, memo
from harness.training.distributed import check_batch, equal_everywhere, stop_together
from harness.training.extent import Spending, Steps
from harness.training.meters import Clock, PeakMemory, step_seconds
from harness.training.optimiser import Optimiser
from harness.training.order import Order
from harness.training.points import PointCheckpoints
from harness.training.probe import ROWS, Probe
from harness.training.record import RunProgress, Settings, StepRecord, step_digests
from harness.training.reference_model import ReferenceModel, no_reference
from harness.training.schedule import LearningRate
from harness.training.seeds import own_generators, seed_step
from harness.training.services import Services
from harness.training.sharding import weights_of
from harness.training.stop import Stopped
from harness.training.summary import active, models_held, over_ranks, step_row
from harness.training.unfinished import Unfinished, logged
from harness.training.updates import Updater
from harness.training.weights import align, module_digest, recompute_activations, sums

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.api import Method
    from harness.lm.model.policy import Policy
    from harness.spec.budget import BudgetPoint
    from harness.spec.results.train import Phase, TrainStep
    from harness.text.encode import EncodedRow
    from harness.training.assignment import Judges, RunContext, TrainingPlan


def train(
    plan: TrainingPlan,
    policy: Policy,
    rows: Sequence[EncodedRow],
    method: Method,
    folder: Path,
    *,
    context: RunContext,
    judges: Judges,
) -> TrainSummary:
    """Train one segment and write its checkpoint.

    Args:
        plan: what to do.
        policy: the model at the segment's start, with the recipe's dropout; it is trained in place.
        rows: the encoded training rows, over-long ones left out; all of them, on every rank.
        method: does the steps.
        folder: where rank 0 writes ``checkpoint/`` and the files beside it (see :mod:`harness.training.checkpoint`).
        context: log, progress, ranks, where states are kept.
        judges: whom the method may ask beside the policy.

    Returns:
        The summary. The same on every rank, but for timings.

    Raises:
        DivergedError: a loss, gradient or weight is not finite; nothing is written.
        Stopped: a signal asked for an end; the state is kept if ``context.unfinished`` is given.
        HarnessError: whatever the method, the reward or the machine did wrong. On all ranks, whichever it befell.
    """
    with own_generators(context.ranks.device or policy.device), stop_together(context.ranks):
        try:
            segment = Segment(plan, policy, rows, method, context=context, judges=judges)
            segment.points = PointCheckpoints(context.unfinished or folder)
            segment.begin()
            segment.run()
            return segment.finish(folder)
        except Exception as error:
            if isinstance(error, HarnessError) or not out_of_memory(error):
                raise
            raise MachineError(f"{context.ranks.in_vain}: {first_line(error)}") from error


class Segment:
    """A segment while it is trained."""

    def __init__(
        self,
        plan: TrainingPlan,
        policy: Policy,
        rows: Sequence[EncodedRow],
        method: Method,
        *,
        context: RunContext,
        judges: Judges,
    ) -> None:
        """Set up everything that does not depend on the step."""
        recipe, precomputed = plan.recipe, judges.precomputed
        self.precomputed = precomputed
        self.plan = plan
        self.policy = policy
        self.rows = rows
        self.method = method
        self.context = context
        self.reward_model = judges.reward_model
        self.ranks = context.ranks
        align(policy.model)
        scoring = ScoringModule(policy)
        self.ranks.divide(scoring)
        self.memory = PeakMemory(policy.device)
        self.order = Order([row.id for row in rows], seed=plan.seed, batch_size=recipe.batch_size)
        check_batch(recipe.batch_size, self.ranks)
        per_epoch = self.order.steps_per_epoch
        self.extent = _extent(plan, per_epoch)
        self.step = self.first = self.extent.first
        self.clock = Clock(policy.device)
        self.optimiser = Optimiser(recipe)
        named = {name: p for name, p in policy.model.named_parameters() if p.requires_grad}
        self.optimiser.add(named)
        if plan.gradient_checkpointing:
            recompute_activations(policy.model)
        self.updater = Updater(
            self.optimiser,
            self.ranks,
            self.clock,
            budget=plan.tokens_per_micro_batch or training_tokens(policy),
            max_grad_norm=recipe.max_grad_norm,
        )
        self.services = Services(
            policy,
            settings=Settings.of(plan, policy.positions_limit),
            updater=self.updater,
            position=RunProgress(self.extent.total(self.first), per_epoch),
            reward=judges.reward,
            reference=ReferenceModel(
                judges.load_reference or no_reference,
                adapted=policy if policy.adapter is not None else None,
                stored=precomputed.load(self._own_rows()) if precomputed else None,
                digest=precomputed.weights_sha256 if precomputed else "",
                where=f"method {plan.method!r}",
                ranks=self.ranks,
            ),
            scoring=scoring,
            load_reward_model=judges.load_reward_model,
        )
        self.start_sums = sums(named.values())
        self.trained = checkpoint.Trained(named, self.services.modules, self.optimiser, method, plan.method)
        self.probe: Probe | None = None
        self.log: list[TrainStep] = []
        self.kept: Unfinished | None = None
        self.points: PointCheckpoints | None = None
        self.saved = time.monotonic()

    def begin(self) -> None:
        """Load what the segment goes on from, and let the method prepare."""
        plan = self.plan
        if self.precomputed is not None and self._start_sha256() != self.precomputed.weights_sha256:
            raise StageError(
                "the stored reference log-probs are those of other weights than this stage starts from",
                where=str(self.precomputed.path),
            )
        self.services.progress.move(self.first, self.extent)
        with self.ranks.together():
            self.probe = self._probe() if self.ranks.first else None
        seed_step(plan.seed, self.first, rank=0)  # the same on all ranks: a new module must start the same on each
        self.method.setup(self.services)
        if plan.previous is not None:
            same = checkpoint.written_by(plan.previous) == plan.method
            checkpoint.load_moments(plan.previous, self.trained, modules=same)
            if same:
                checkpoint.load_method(plan.previous, self.trained)
        if self.context.unfinished is not None:
            self._resume(self.context.unfinished)
        self.clock.lap()

    def run(self) -> None:
        """Take the steps that are left."""
        began, start = time.monotonic(), self.step
        self.saved = began
        while not self.extent.over(self.step):
            self._take_step()
            done, planned = self.step - start, self.extent.planned(self.step)
            self.context.progress(self.step - self.first, planned, done / max(1e-9, time.monotonic() - began))
            # one exchange for both questions: a signal outweighs a state that is due, and asks for one too
            number, due = divmod(self.ranks.worst(2 * self.context.stop() + self._is_due()), 2)
            more = not self.extent.over(self.step)
            if self.kept is not None and more and (number or due):
                self._keep()
                self.saved = time.monotonic()
                self.clock.lap()
            if number and more:
                raise Stopped(number, self.step)

    def finish(self, folder: Path) -> TrainSummary:
        """Check and write the result, and return the summary."""
        self.updater.check_weights()
        if self.ranks.world > 1 and not self.ranks.divided:
            equal_everywhere(self.ranks, module_digest(self.policy.model), "the weights after training")
        self.services.reference.check()
        digest = None
        if isinstance(self.extent, Spending):
            self._save_points(self.extent.rest())
        weights, state = weights_of(self.policy), checkpoint.Whole.of(self.trained)
        if self.ranks.first:
            if self.points is not None:
                self.points.hand_over(folder)
            with checkpoint.writing(folder), disk.by_library(folder):
                self.policy.save(folder / CHECKPOINT, weights)
            checkpoint.save_state(folder, self.trained, state)
            digest = weights_digest(folder / CHECKPOINT)
        digest = next(each for each in self.ranks.gather(digest) if each is not None)
        if self.kept is not None and self.ranks.first:
            self.kept.discard()
        return self._summary(digest)

    def _take_step(self) -> None:
        step, plan = self.step, self.plan
        services, updater = self.services, self.updater
        services.progress.move(step, self.extent)
        services.record = StepRecord()
        updater.step = step
        updater.rate, updater.peak = self.extent.rate(step)
        updater.diagnose = self._diagnosed(step)
        seed_step(plan.seed, step, self.ranks.rank)
        rows = [self.rows[place] for place in self.order.batch(step)]
        batch = collate(rows[self.ranks.part(self.order.batch_size)], self.policy.device)
        said = self.method.step(services, batch)
        totals = over_ranks(services.record, self.ranks)
        drift = None
        if updater.diagnose:
            updater.check_weights()
            with self.ranks.together():
                drift = self.probe.compare(self.policy) if self.probe is not None else None
        row = step_row(
            totals,
            said,
            method=plan.method,
            progress=services.progress,
            rate=updater.rate,
            drift=drift,
            digests=step_digests((row.id for row in rows), totals.drawn, services.record.noises),
            seconds=self._seconds(),
        )
        self.step = step + 1
        self._save_points(self._note(row))

    def _seconds(self) -> dict[Phase, float]:
        """Return the seconds since the last step; where they decide about the end, those of the first rank for all."""
        seconds = self.clock.lap()
        by_clock = self.plan.budget is not None and self.plan.budget.unit == "seconds"
        return self.ranks.gather(seconds)[0] if by_clock else seconds

    def _save_points(self, points: Sequence[BudgetPoint]) -> None:
        if points and self.points is not None:
            with self.clock.phase("other"):
                weights = weights_of(self.policy)
                if self.ranks.first:
                    self.points.save(points, self.policy, weights)

    def _is_due(self) -> bool:
        """Return whether this rank wants a state kept; the first one's clock counts for all."""
        steps = self.plan.save_every
        asked = self.context.keep()
        late = self.ranks.first and time.monotonic() - self.saved >= 60 * self.plan.save_minutes
        return asked or late or bool(steps and (self.step - self.first) % steps == 0)

    def _start_sha256(self) -> str:
        return self.plan.start_sha256 or module_digest(self.policy.model)

    def _own_rows(self) -> list[EncodedRow]:
        """Return the rows that this rank sees between the first and the last step."""
        part = self.ranks.part(self.order.batch_size)
        if not isinstance(self.extent, Steps):
            return list(self.rows)
        steps = range(self.first, self.extent.last)
        places = {place for step in steps for place in self.order.batch(step)[part]}
        return [self.rows[place] for place in sorted(places)]

    def _diagnosed(self, step: int) -> bool:
        return step == self.first or self.extent.ends_with(step) or step % self.plan.recipe.diagnose_every == 0

    def _probe(self) -> Probe | None:
        if not self.plan.speaks:
            return None
        return Probe.of(self.policy, [self.rows[place] for place in self.order.chosen("probe", ROWS)])

    def _resume(self, folder: Path) -> None:
        plan = self.plan
        ranks = {"ranks": self.ranks.world} | ({"divided": True} if self.ranks.divided else {})
        identity = {"stage": plan.identity, "environment": dict(plan.environment), **ranks}
        self.kept = Unfinished(folder, identity)
        state = self.kept.find()
        equal_everywhere(self.ranks, state and state[0], "the step to go on from")
        if state is None:
            if self.kept.left:
                self.context.note("an unfinished state was made in another environment or is broken: starting again")
            return
        self.step, place, extra = state
        checkpoint.load_weights(place / checkpoint.WEIGHTS, self.trained.parameters)
        checkpoint.load_moments(place, self.trained, modules=True)
        checkpoint.load_method(place, self.trained)
        self.services.reference.memo.load(place / memo.FILE, self.ranks.rank)
        for name, batcher in self._batchers().items():
            batcher.budget, batcher.halvings = extra["batchers"][self.ranks.rank][name]
        for row in logged(place):
            reached = self._note(row)
            if self.points is not None and self.ranks.first:
                self.points.check(reached)
        self.context.note(f"going on at step {self.step}")

    def _keep(self) -> None:
        kept = self.kept
        memos = self.ranks.gather(self.services.reference.memo.content())
        learnt = {name: (batcher.budget, batcher.halvings) for name, batcher in self._batchers().items()}
        batchers = self.ranks.gather(learnt)
        state = checkpoint.Whole.of(self.trained, weights=True)
        if kept is None or not self.ranks.first:
            return

        def write(place: Path) -> None:
            checkpoint.save_state(place, self.trained, state)
            with checkpoint.writing(place), disk.by_library(place):
                memo.save(memos, place / memo.FILE)

        kept.save(self.step, self.log, {"batchers": batchers}, write)

    def _batchers(self) -> dict[str, Batcher]:
        """Return this rank's batchers, whose cuts show in the last bit of what is computed.

        The first rank has a probe and the others have none.
        """
        services = self.services
        batchers = {"training": self.updater.batcher, "scoring": services.scorer.batcher, "decoding": services.decoding}
        if self.probe is not None:
            batchers["probe"] = self.probe.batcher
        if self.reward_model is not None:
            batchers["reward model"] = self.reward_model.batcher
        return batchers

    def _note(self, row: TrainStep) -> Sequence[BudgetPoint]:
        self.log.append(row)
        if self.ranks.first:
            self.context.log(row)
        return self.extent.take(row)

    def _summary(self, digest: str) -> TrainSummary:
        policy = self.policy
        trained = self.trained.parameters.values()
        name = torch.cuda.get_device_name(policy.device) if policy.device.type == "cuda" else str(policy.device)
        return TrainSummary(
            steps=self.step - self.first,
            first_step=self.first,
            last_step=self.step,
            seconds={phase: sum(row.seconds[phase] for row in self.log) for phase in PHASES},
            step_seconds=step_seconds(self.log),
            tokens_generated=sum(row.tokens.generated for row in self.log),
            tokens_trained=sum(row.tokens.trained for row in self.log),
            reward_calls=sum(row.reward.calls for row in self.log if row.reward is not None),
            active=active(self.log),
            peak_memory_bytes=self.memory.read(),
            device=name,
            threads=torch.get_num_threads(),
            ranks=self.ranks.world,
            models_held=models_held(policy, trained, self.services, self.reward_model),
            reference_logprobs=self.precomputed.cost if self.precomputed else None,
            weights_sha256=digest,
            weights_sums=sums(trained),
            start_sums=self.start_sums,
            rows=RowsUsed(used=len(self.rows), dropped_overlong=self.plan.dropped),
            micro_batches=MicroBatches(
                tokens=self.updater.batcher.budget,
                halvings=self.updater.batcher.halvings,
                total=sum(row.micro_batches for row in self.log),
            ),
            concurrent=self.plan.concurrent,
            budget=self.extent.spent if isinstance(self.extent, Spending) else None,
        )


def _extent(plan: TrainingPlan, per_epoch: int) -> Steps | Spending:
    curve, first = LearningRate.of(plan.curve, per_epoch), plan.first.step(per_epoch)
    if plan.budget is None:
        return Steps(first, plan.last.step(per_epoch), curve)
    return Spending(plan.budget, first, curve, patience=max(3, per_epoch), where=f"method {plan.method!r}")
