"""The services that a method calls: sampling, rewards, log-probs, updates. Implements :class:`harness.api.Run`."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal

import torch

from harness.errors import InputError, PluginError
from harness.in_parts import decoding_batcher
from harness.lm.cuda.memory import decoding_tokens
from harness.lm.decode.beam import BeamParams, beam
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.model.load import WEIGHT_DTYPES
from harness.lm.score.log_softmax import ScoringParams
from harness.lm.score.logprobs import ScoringModule
from harness.text.stops import answer_texts
from harness.training import critic
from harness.training.drawing import engine_of
from harness.training.global_rows import gathered, rolled, shuffled
from harness.training.perturbation import Noise as WeightNoise
from harness.training.perturbation import Only, perturbed, weighted_sum
from harness.training.record import StepRecord
from harness.training.rewards import TrainerState
from harness.training.scoring import InLoss, InParts
from harness.training.seeds import generator
from harness.training.sharding import is_divided
from harness.training.tokenizer import PluginTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from harness.api import Batch, Completions, Logits, LogProbs, Rewards
    from harness.lm.model.policy import Policy
    from harness.spec.results.train import Phase
    from harness.training.critic import LoadRewardModel
    from harness.training.record import RunProgress, Settings
    from harness.training.reference_model import ReferenceModel
    from harness.training.rewards import CombinedReward
    from harness.training.scoring import Scorer
    from harness.training.updates import Updater

By = Literal["policy", "reference"]

#: What to do about a call that a loss may not make.
_BEFORE: Final = "call it before update(), and let the loss use the result"


class Services:
    """The run that a method sees."""

    def __init__(
        self,
        policy: Policy,
        *,
        settings: Settings,
        updater: Updater,
        position: RunProgress,
        reference: ReferenceModel,
        reward: CombinedReward | None = None,
        scoring: ScoringModule | None = None,
        load_reward_model: LoadRewardModel | None = None,
    ) -> None:
        """Serve ``policy``, which ``updater`` trains."""
        self.policy = policy
        self.progress = position
        self.limits = settings.limits
        self.tokenizer = PluginTokenizer(policy.tokeniser, policy.eos_id)
        self.modules: dict[str, nn.Module] = {}
        self.record = StepRecord()
        self.reference = reference
        self.scorer = InParts(updater.batcher.budget)
        self._settings = settings
        self._updater = updater
        self._optimiser, self._ranks, self._clock = updater.optimiser, updater.ranks, updater.clock
        self._reward = reward
        self._load_reward_model = load_reward_model
        self._scoring = scoring or ScoringModule(policy)
        self.decoding = decoding_batcher(decoding_tokens(policy))
        self.engine = engine_of(policy, settings, updater.ranks)

    def sample(
        self,
        batch: Batch,
        temperatures: Sequence[float],
        *,
        top_k: int = 0,
        top_p: float = 1.0,
        by: By = "policy",
        noise: int | None = None,
    ) -> Completions:
        """Draw one completion a temperature for each prompt; see :meth:`harness.api.Run.sample`."""
        params = SamplingParams(
            tuple(temperatures),
            self.limits.completion,
            top_k=top_k,
            top_p=top_p,
            suppress_stops=self._settings.suppress_stops,
        )
        if by == "reference":
            fixed = Noise(self._settings.seed, "reference")

            def draw(model: Policy, rows: Batch) -> Completions:
                return sample(model, rows.prompts, rows.ids, params, fixed, batcher=self.decoding).completions

            return self._by_reference(batch, params, draw)
        if noise is None:  # a second call in the same step has other noise
            purpose = f"sample {self.record.draws}" if self.record.draws else "sample"
            self.record.draws += 1
        else:
            purpose = f"common {int(noise)}"
        drawing = Noise(self._settings.seed, purpose, self.progress.step)
        if any(params.temperatures):
            self.record.noises.append(drawing)
        with self._asking("sampling"):
            if self.engine is None:
                drawn = sample(self.policy, batch.prompts, batch.ids, params, drawing, batcher=self.decoding)
            else:
                drawn = self.engine.draw(
                    batch, params, drawing, scorer=self.scorer, module=self._scoring, record=self.record
                )
        self._drew(batch, drawn.completions, drawn.entropy)
        return drawn.completions

    def greedy(self, batch: Batch) -> Completions:
        """Decode the most probable token at each position: (B, 1, T)."""
        return self.sample(batch, (0.0,), noise=0)  # which at this temperature makes no difference

    def beam(
        self,
        batch: Batch,
        *,
        beams: int,
        groups: int,
        diversity_penalty: float,
        by: By = "policy",
    ) -> Completions:
        """Diverse beam search; see :meth:`harness.api.Run.beam`."""
        limit, suppress = self.limits.completion, self._settings.suppress_stops
        params = BeamParams(beams, groups, diversity_penalty, limit, suppress_stops=suppress)

        def search(model: Policy, rows: Batch) -> Completions:
            return beam(model, rows.prompts, params, batcher=self.decoding)

        if by == "reference":
            return self._by_reference(batch, params, search)
        with self._asking("sampling"):
            completions = search(self.policy, batch)
        self._drew(batch, completions, None)
        return completions

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        """Score completions with the benchmark's reward: (B, K)."""
        if self._reward is None:
            raise InputError(
                "the method asks for a reward and the benchmark names none",
                where=f"method {self._settings.method!r}",
                expected="reward: in the file (and needs={'reward'} in the method's registration)",
            )
        with self._clock.phase("reward"):
            texts = answer_texts(self.policy.tokeniser, self.policy.stops, completions)
            rewards = self._reward.score(
                batch,
                completions,
                [text for text, _ in texts],
                state=TrainerState(
                    self.progress.step,
                    self.progress.total_steps,
                    self.progress.step / self.progress.steps_per_epoch,
                    self._settings.epochs,
                ),
                notes=self.record.notes,
            )
        self.record.rewarded += int((completions.lengths > 0).sum())
        self.record.groups.append((batch.ids, rewards))
        return rewards

    def logprobs(
        self,
        batch: Batch,
        completions: Completions,
        *,
        temperature: float = 1.0,
        dropout: bool = True,
        dtype: torch.dtype | None = None,
        hidden: bool = False,
        entropy: bool = False,
    ) -> LogProbs:
        """Log-probs (B, K, T), with gradient inside a loss; elsewhere there is nothing to take one for."""
        params = ScoringParams(temperature, dtype, hidden=hidden, entropy=entropy)
        with self._asking("forward_backward"):
            return self._scores.logprobs(self._scoring, batch, completions, params, dropout=self._dropout(dropout))

    def final_states(self, batch: Batch, completions: Completions, *, dropout: bool = True) -> Tensor:
        """Hidden state (B, K, D) at the last token of each completion, with gradient inside a loss."""
        with self._asking("forward_backward"):
            return self._scores.final_states(self._scoring, batch, completions, dropout=self._dropout(dropout))

    def reference_logprobs(self, batch: Batch, completions: Completions, *, temperature: float = 1.0) -> LogProbs:
        """Log-probs under the checkpoint at which the method started: no gradient, no dropout."""
        with self._asking("forward_backward"):
            return self.reference.logprobs(
                batch, completions, temperature=temperature, scorer=self.scorer, clock=self._clock
            )

    def logits(self, batch: Batch, completions: Completions, *, reference: bool = False) -> Iterator[Logits]:
        """Whole distributions at the scored positions, in chunks that bound memory; see :class:`harness.api.Run`."""
        chunks = self._scores.logits(self._scoring, batch, completions, dropout=self._dropout(wanted=True))
        if reference:
            chunks = self.reference.beside(chunks, batch, completions, scorer=self.scorer, clock=self._clock)
        return self._timed(chunks)

    def reference_logits(self, batch: Batch, completions: Completions) -> Iterator[Logits]:
        """The same of the reference model alone: no gradient, no dropout."""
        chunks = self.reference.logits(batch, completions, scorer=self.scorer, clock=self._clock)
        return self._timed(chunks)

    def log(self, name: str, numerator: Tensor | float, denominator: Tensor | float) -> None:
        """Log a mean; see :meth:`harness.api.Run.log`."""
        outputs = self._updater.outputs
        (self.record.logged if outputs is None else outputs.logged).add(name, numerator, denominator)

    def add_module(self, name: str, module: nn.Module, *, learning_rate: float | None = None) -> None:
        """Make ``module`` part of what is trained, with a peak learning rate of its own if given."""
        if name in self.modules:
            raise PluginError(f"a module called {name!r} was added before", where=f"method {self._settings.method!r}")
        if not any(map(is_divided, module.parameters())):
            module.to(device=self.policy.device, dtype=WEIGHT_DTYPES[self.policy.dtype])
        self.modules[name] = module
        self._optimiser.add(
            {f"modules/{name}.{key}": p for key, p in module.named_parameters() if p.requires_grad},
            learning_rate=learning_rate,
        )

    def add_critic(
        self,
        name: str,
        *,
        start: critic.Start,
        head: nn.Module | None = None,
        learning_rate: float | None = None,
    ) -> None:
        """Train a critic with a backbone of its own; see :meth:`harness.api.Run.add_critic`."""
        with self._clock.phase("other"):
            added = critic.load(
                start,
                head,
                load_policy=self.reference.load,
                load_reward_model=self._load_reward_model,
                recompute=self._settings.gradient_checkpointing,
                adapter=self._settings.adapter,
                seed=self._settings.seed,
            )
            added.to(dtype=WEIGHT_DTYPES[self.policy.dtype])
            self._ranks.divide(added)
        self.add_module(name, added, learning_rate=learning_rate)

    def critic_values(self, name: str, batch: Batch, completions: Completions) -> Tensor:
        """Values (B, K, T) of an added critic, with gradient inside a loss."""
        module = self.modules.get(name)
        if not isinstance(module, critic.Critic):
            raise PluginError(
                f"there is no critic called {name!r}",
                where=f"method {self._settings.method!r}",
                hint="call add_critic() in setup()",
            )
        with self._asking("forward_backward"):
            return self._scores.critic_values(module, batch, completions)

    def total(self, x: Tensor | float) -> Tensor:
        """Sum of ``x`` over all ranks, without gradient."""
        self._refuse_inside_a_loss("total()")
        value = x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64, device=self.policy.device)
        return self._ranks.sum(value)

    def shuffle(self, rows: Mapping[str, Any], parts: int, purpose: str) -> Iterable[Mapping[str, Any]]:
        """Cut rows into ``parts`` by one permutation of the global batch; a rank's share of a part may be empty."""
        self._refuse_inside_a_loss("shuffle()")
        yield from shuffled(self._ranks, rows, parts, self.generator(purpose))

    def roll(self, rows: Mapping[str, Any], shift: int) -> Mapping[str, Any]:
        """Rows that stand further on in the global batch; see :meth:`harness.api.Run.roll`."""
        self._refuse_inside_a_loss("roll()")
        return rolled(self._ranks, rows, shift)

    def gather(self, rows: Mapping[str, Any]) -> Mapping[str, Any]:
        """Rows of the whole global batch; see :meth:`harness.api.Run.gather`."""
        self._refuse_inside_a_loss("gather()")
        return gathered(self._ranks, rows)

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator seeded by (seed, purpose, step)."""
        return generator("method", self._settings.seed, purpose, self.progress.step)

    def perturbed(
        self, seed: int, scale: float, *, rank: int | None = None, only: Only = "all"
    ) -> AbstractContextManager[None]:
        """Weights plus ``scale`` times noise drawn from ``seed``; see :meth:`harness.api.Run.perturbed`."""
        self._refuse_noise("perturbed()")
        noise = WeightNoise((self._settings.seed, int(seed)), rank, only)
        return perturbed(list(self._optimiser.parameters.values()), scale, noise)

    def apply(
        self, noise: Iterable[tuple[int, float]], *, rank: int | None = None, only: Only = "all"
    ) -> Mapping[str, float]:
        """One optimiser step whose gradient is the sum of weight x noise(seed) over ``(seed, weight)`` pairs."""
        self._refuse_noise("apply()")
        self._refuse_inside_a_loss("apply()", "it takes a step of its own: call it in step(), before or after update()")
        pairs = [(int(seed), float(weight)) for seed, weight in noise]
        if any(other != pairs for other in self._ranks.gather(pairs)):
            raise PluginError(
                "apply() was given other weights on another rank",
                where=f"method {self._settings.method!r}",
                hint="sum what they are computed from with total()",
            )
        weights = [(weight, WeightNoise((self._settings.seed, seed), rank, only)) for seed, weight in pairs]
        update = self._updater.apply(self._settings.method, lambda parameters: weighted_sum(parameters, weights))
        self.record.updates.append(update)
        return update.report()

    def update(self, loss: Callable[..., Mapping[str, Tensor]], **rows: Any) -> Mapping[str, float]:
        """One optimiser step; see :meth:`harness.api.Run.update`."""
        update = self._updater.update(loss, rows)
        self.record.updates.append(update)
        return update.report()

    @property
    def _scores(self) -> Scorer:
        """What scores rows now: with gradient inside a loss, elsewhere in parts and without one."""
        outputs = self._updater.outputs
        return self.scorer if outputs is None else InLoss(outputs)

    def _refuse_inside_a_loss(self, call: str, hint: str = _BEFORE) -> None:
        if self._updater.outputs is not None:
            raise PluginError(
                f"{call} was called inside a loss, which sees a part of the rows only",
                where=f"method {self._settings.method!r}",
                hint=hint,
            )

    def _refuse_noise(self, call: str) -> None:
        """Refuse noise on both factors of a product, no normal noise on the weights, and on parts of weights."""
        if self._ranks.divided:
            raise InputError(
                f"this method changes all weights by noise ({call}), and execution.shard divides them among processes",
                where=f"method {self._settings.method!r}",
                expected="execution: {shard: false} for this benchmark: --processes N then keeps weights whole on each",
            )
        if self._settings.adapter is not None:
            raise InputError(
                f"this method changes all weights by noise ({call}), and recipe.adapter trains an adapter alone",
                where=f"method {self._settings.method!r}",
                expected="no adapter for this row: recipe: {adapter: null} in the method's entry",
            )

    def _dropout(self, wanted: bool) -> bool:  # noqa: FBT001  # private, one argument
        # Layers recompute their activations in training mode only; with probability 0 that mode drops nothing.
        return wanted or (self._settings.gradient_checkpointing and self._settings.dropout == 0)

    def _by_reference(
        self, batch: Batch, params: SamplingParams | BeamParams, decode: Callable[[Policy, Batch], Completions]
    ) -> Completions:
        """Return what the reference model says of each prompt: made once, whatever the step and the batch."""

        def new(rows: Batch) -> Completions:
            completions = decode(self.reference.policy(self._clock), rows)
            self.record.generated += int(completions.lengths.sum())
            return completions

        with self._asking("sampling"):
            settings = (type(params).__name__, sorted(asdict(params).items()))
            completions = self.reference.completions(batch, settings, new, self.policy.device)
        self.record.signal.drew(completions, self.limits.completion, None)
        return completions

    @contextmanager
    def _asking(self, phase: Phase) -> Iterator[None]:
        """Charge what models are asked to ``phase``, and let all ranks ask them as often."""
        with self._clock.phase(phase), self._ranks.together():
            yield

    def _timed(self, chunks: Iterator[Logits]) -> Iterator[Logits]:
        with self._ranks.together():
            while True:
                with self._clock.phase("forward_backward"):
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                yield chunk

    def _drew(self, batch: Batch, completions: Completions, entropy: Tensor | None) -> None:
        self.record.drew(batch.ids, completions)
        self.record.generated += int(completions.lengths.sum())
        self.record.signal.drew(completions, self.limits.completion, entropy)
