"""The services that a method calls: sampling, rewards, log-probs, updates. Implements :class:`harness.api.Run`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from harness.api import Completions, Logits, LogProbs, Rewards
from harness.errors import InputError, PluginError, StageError
from harness.lm.decode.sampling import Drawn
from harness.lm.model.policy import WEIGHT_DTYPES
from harness.lm.score.logprobs import ScoringModule, final_states, score, score_logits
from harness.training import critic, memo
from harness.training.budget import count_rows, row_tokens, take_all
from harness.training.decode import Decode
from harness.training.perturbation import perturbed, weighted_sum
from harness.training.record import StepRecord
from harness.training.rewards import TrainerState
from harness.training.seeds import generator
from harness.training.summary import module_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from harness.api import Batch
    from harness.lm.model.policy import Policy
    from harness.training.critic import LoadRewardModel
    from harness.training.distributed import Ranks
    from harness.training.meters import Clock
    from harness.training.optimiser import Optimiser
    from harness.training.record import RunProgress, Settings
    from harness.training.reference import StoredLogProbs
    from harness.training.rewards import CombinedReward
    from harness.training.updates import Updater

By = Literal["policy", "reference"]


class Services:
    """The run that a method sees."""

    def __init__(
        self,
        policy: Policy,
        *,
        settings: Settings,
        updater: Updater,
        optimiser: Optimiser,
        ranks: Ranks,
        clock: Clock,
        position: RunProgress,
        reward: CombinedReward | None,
        load_reference: Callable[[], Policy],
        load_reward_model: LoadRewardModel | None = None,
        stored: StoredLogProbs | None = None,
        reference_digest: str = "",
    ) -> None:
        """Serve ``policy``; the reference model is loaded when it is first asked for what is not ``stored``.

        ``reference_digest`` is what its weights must come to, where that is known.
        """
        self.policy = policy
        self.progress = position
        self.modules: dict[str, nn.Module] = {}
        self.record = StepRecord()
        self.memo = memo.Memo()
        self.reference: Policy | None = None
        self._settings = settings
        self._updater = updater
        self._optimiser = optimiser
        self._ranks = ranks
        self._clock = clock
        self._reward = reward
        self._load_reference = load_reference
        self._load_reward_model = load_reward_model
        self._scoring = ScoringModule(policy)
        self._reference_scoring: ScoringModule | None = None
        self._decode = Decode(settings.seed, settings.max_new_tokens, suppress_stops=settings.suppress_stops)
        self._stored = stored
        self._reference_digest = reference_digest

    def sample(
        self,
        batch: Batch,
        temperatures: Sequence[float],
        *,
        top_k: int = 0,
        top_p: float = 1.0,
        by: By = "policy",
    ) -> Completions:
        """Draw one completion a temperature for each prompt; see :meth:`harness.api.Run.sample`."""
        options: dict[str, Any] = {"temperatures": list(temperatures), "top_k": top_k, "top_p": top_p}
        if by == "reference":

            def draw(model: Policy, rows: Batch) -> Drawn:
                return self._decode.draw(model, rows, purpose="reference", step=0, **options)

            return self._by_reference(batch, "sample", options, draw)
        # a second call in the same step has other noise
        purpose = f"sample {self.record.draws}" if self.record.draws else "sample"
        self.record.draws += 1
        return self._drawn(batch, purpose, **options)

    def greedy(self, batch: Batch) -> Completions:
        """Decode the most probable token at each position: (B, 1, T)."""
        return self._drawn(batch, "greedy", temperatures=[0.0])

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
        options: dict[str, Any] = {"beams": beams, "groups": groups, "diversity_penalty": diversity_penalty}
        if by == "reference":
            return self._by_reference(batch, "beam", options, lambda m, b: self._decode.search(m, b, **options))
        with self._clock.phase("sampling"):
            completions = self._decode.search(self.policy, batch, **options)
        self._drew(completions, None)
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
            lengths = completions.answer_lengths.tolist()
            ids = completions.ids.tolist()
            answers = [
                row[:n] for group, ns in zip(ids, lengths, strict=True) for row, n in zip(group, ns, strict=True)
            ]
            rewards = self._reward.score(
                batch,
                completions,
                self.policy.tokeniser.decode_batch(answers),
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
    ) -> LogProbs:
        """Log-probs (B, K, T), with gradient inside a loss; elsewhere there is nothing to take one for."""
        options: dict[str, Any] = {
            "temperature": temperature,
            "dtype": dtype,
            "hidden": hidden,
            "dropout": self._dropout(dropout),
        }
        outputs = self._updater.outputs
        with self._clock.phase("forward_backward"):
            if outputs is None:
                with torch.no_grad():
                    return self._in_parts(self.policy, self._scoring, batch, completions, **options)
            made = score(self.policy, batch.prompts, completions, module=self._scoring, **options)
        if torch.is_grad_enabled():
            outputs.tokens += int(completions.lengths.sum())
        return replace(
            made,
            values=outputs.hand_out(made.values),
            hidden=None if made.hidden is None else outputs.hand_out(made.hidden),
        )

    def final_states(self, batch: Batch, completions: Completions, *, dropout: bool = True) -> Tensor:
        """Hidden state (B, K, D) at the last token of each completion, with gradient inside a loss."""
        options: dict[str, Any] = {"dropout": self._dropout(dropout), "module": self._scoring}
        outputs = self._updater.outputs
        with self._clock.phase("forward_backward"):
            if outputs is None:
                with torch.no_grad():
                    return self._states_in_parts(batch, completions, options)
            made = final_states(self.policy, batch.prompts, completions, **options)
        if torch.is_grad_enabled():
            outputs.tokens += int(completions.lengths.sum())
        return outputs.hand_out(made)

    def reference_logprobs(self, batch: Batch, completions: Completions, *, temperature: float = 1.0) -> LogProbs:
        """Log-probs under the checkpoint at which the method started: no gradient, no dropout."""
        options: dict[str, Any] = {"temperature": temperature, "dropout": False}
        with self._clock.phase("forward_backward"), torch.no_grad():
            stored = self._stored.find(batch.prompts, completions) if self._stored and temperature == 1 else None
            if stored is not None:
                return LogProbs(stored, completions.mask)
            reference = self._reference()
            scoring = self._reference_scoring = self._reference_scoring or ScoringModule(reference)
            lengths = completions.lengths.amax(1).tolist()

            def compute(places: list[int]) -> list[Tensor]:
                rows = take_all({"batch": batch, "completions": completions}, places)
                found = self._in_parts(reference, scoring, rows["batch"], rows["completions"], **options)
                return [found.values[i, :, : lengths[place]].clone() for i, place in enumerate(places)]

            settings = "logprobs" if temperature == 1 else f"logprobs at {temperature!r}"
            keys = list(memo.keys(batch.ids, settings, completions))
            values = self.memo.look_up(keys, compute)
            width = completions.ids.shape[2]
            device = completions.ids.device
            return LogProbs(memo.widen([value.to(device) for value in values], width), completions.mask)

    def logits(self, batch: Batch, completions: Completions) -> Iterator[Logits]:
        """Whole distributions at the scored positions, in chunks that bound memory."""
        outputs = self._updater.outputs
        dropout = self._dropout(wanted=True)
        with self._clock.phase("forward_backward"):
            if outputs is None:
                with torch.no_grad():
                    chunks = list(
                        score_logits(self.policy, batch.prompts, completions, dropout=dropout, module=self._scoring)
                    )
            else:
                outputs.tokens += int(completions.lengths.sum())
                made = score_logits(self.policy, batch.prompts, completions, dropout=dropout, module=self._scoring)
                chunks = [replace(chunk, values=outputs.hand_out(chunk.values)) for chunk in made]
        yield from chunks

    def add_module(self, name: str, module: nn.Module, *, learning_rate: float | None = None) -> None:
        """Make ``module`` part of what is trained, with a peak learning rate of its own if given."""
        if name in self.modules:
            raise PluginError(f"a module called {name!r} was added before", where=f"method {self._settings.method!r}")
        module.to(device=self.policy.device, dtype=WEIGHT_DTYPES[self.policy.dtype])
        self.modules[name] = module
        self._optimiser.add(
            {f"modules/{name}.{key}": parameter for key, parameter in module.named_parameters()},
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
            made = critic.load(
                start,
                head,
                load_policy=self._load_reference,
                load_reward_model=self._load_reward_model,
                recompute=self._settings.gradient_checkpointing,
            )
        self.add_module(name, made, learning_rate=learning_rate)

    def critic_values(self, name: str, batch: Batch, completions: Completions) -> Tensor:
        """Values (B, K, T) of an added critic, with gradient inside a loss."""
        found = self.modules.get(name)
        if not isinstance(found, critic.Critic):
            raise PluginError(
                f"there is no critic called {name!r}",
                where=f"method {self._settings.method!r}",
                hint="call add_critic() in setup()",
            )
        outputs = self._updater.outputs
        with self._clock.phase("forward_backward"):
            if outputs is None:
                return critic.values_in_parts(found, batch, completions, self._updater)
            return outputs.hand_out(found.values(batch, completions))

    def total(self, x: Tensor | float) -> Tensor:
        """Sum of ``x`` over all ranks, without gradient."""
        if self._updater.outputs is not None:
            raise PluginError(
                "total() was called inside a loss, which sees a part of the rows only",
                where=f"method {self._settings.method!r}",
                hint="call it before update(), and let the loss use the result",
            )
        value = x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64, device=self.policy.device)
        return self._ranks.sum(value)

    def shuffle(self, rows: Mapping[str, Any], parts: int, purpose: str) -> Iterable[Mapping[str, Any]]:
        """Cut rows into ``parts`` by one permutation of the global batch; a rank's share of a part may be empty."""
        size = count_rows(rows)
        sizes = self._ranks.gather(size)
        first, total = sum(sizes[: self._ranks.rank]), sum(sizes)
        order = torch.randperm(total, generator=self.generator(purpose)).tolist()
        for part in range(parts):
            chosen = order[part * total // parts : (part + 1) * total // parts]
            yield take_all(rows, [place - first for place in chosen if first <= place < first + size])

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator seeded by (seed, purpose, step)."""
        return generator("method", self._settings.seed, purpose, self.progress.step)

    def perturbed(self, seed: int, scale: float) -> AbstractContextManager[None]:
        """Weights plus ``scale`` times standard normal noise drawn from ``seed``; bit-equal afterwards."""
        return perturbed(list(self._optimiser.parameters.values()), scale, self._settings.seed, seed)

    def apply(self, noise: Iterable[tuple[int, float]]) -> Mapping[str, float]:
        """One optimiser step whose gradient is the sum of weight x noise(seed) over ``(seed, weight)`` pairs."""
        pairs = [(int(seed), float(weight)) for seed, weight in noise]
        every = self._ranks.gather(pairs)
        if any(other != pairs for other in every):
            raise PluginError(
                "apply() was given other weights on another rank",
                where=f"method {self._settings.method!r}",
                hint="sum what they are computed from with total()",
            )
        weights = [(weight, (self._settings.seed, seed)) for seed, weight in pairs]
        update = self._updater.apply(self._settings.method, lambda parameters: weighted_sum(parameters, weights))
        self.record.updates.append(update)
        return update.report()

    def update(self, loss: Callable[..., Mapping[str, Tensor]], **rows: Any) -> Mapping[str, float]:
        """One optimiser step; see :meth:`harness.api.Run.update`."""
        update = self._updater.update(loss, rows)
        self.record.updates.append(update)
        return update.report()

    def check_reference(self) -> None:
        """Raise StageError if the reference model, or what is stored of it, is not what it was when it was loaded."""
        where = f"method {self._settings.method!r}"
        if self.reference is not None and module_digest(self.reference.model) != self._reference_digest:
            raise StageError("the weights of the reference model were changed", where=where)
        if self._stored is not None and not self._stored.unchanged():
            raise StageError("the stored log-probs of the reference model were changed", where=where)

    def _dropout(self, wanted: bool) -> bool:  # noqa: FBT001  # private, one argument
        # Layers recompute their activations in training mode only; with probability 0 that mode drops nothing.
        return wanted or (self._settings.gradient_checkpointing and self._settings.dropout == 0)

    def _reference(self) -> Policy:
        if self.reference is None:
            with self._clock.phase("other"):
                self.reference = self._load_reference()
                self.reference.model.requires_grad_(requires_grad=False)
                digest = module_digest(self.reference.model)
                if self._reference_digest not in {"", digest}:
                    raise StageError(
                        "the reference model is not the one whose log-probs were stored",
                        where=f"method {self._settings.method!r}",
                    )
                self._reference_digest = digest
        return self.reference

    def _by_reference(
        self,
        batch: Batch,
        kind: str,
        options: Mapping[str, Any],
        search: Callable[[Policy, Batch], Completions | Drawn],
    ) -> Completions:
        """Return what the reference model says of each prompt: made once, whatever the step and the batch."""
        with self._clock.phase("sampling"):
            reference = self._reference()

            def compute(places: list[int]) -> list[Tensor]:
                found = search(reference, batch[places])
                completions = found.completions if isinstance(found, Drawn) else found
                self.record.generated += int(completions.lengths.sum())
                ends = torch.stack((completions.lengths, completions.finished.long()), dim=2)
                packed = torch.cat((ends, completions.ids), dim=2)
                return [row[:, : 2 + int(row[:, 0].max())].clone() for row in packed]

            keys = list(memo.keys(batch.ids, (kind, sorted(options.items()), self._settings.max_new_tokens)))
            rows = self.memo.look_up(keys, compute)
            packed = memo.widen([row.to(self.policy.device) for row in rows], max(row.shape[1] for row in rows))
            completions = Completions(packed[:, :, 2:], packed[:, :, 0], packed[:, :, 1].bool())
        self.record.signal.drew(completions, self._settings.max_new_tokens, None)
        return completions

    def _drew(self, completions: Completions, entropy: Tensor | None) -> None:
        self.record.generated += int(completions.lengths.sum())
        self.record.signal.drew(completions, self._settings.max_new_tokens, entropy)

    def _drawn(self, batch: Batch, purpose: str, **options: Any) -> Completions:
        with self._clock.phase("sampling"):
            step = self.progress.step
            drawn = self._decode.draw(self.policy, batch, purpose=purpose, step=step, **options)
        self._drew(drawn.completions, drawn.entropy)
        return drawn.completions

    def _states_in_parts(self, batch: Batch, completions: Completions, options: Mapping[str, Any]) -> Tensor:
        """As :meth:`_in_parts`, for final states."""
        rows: dict[str, Any] = {"prompts": batch.prompts, "completions": completions}
        if not len(batch):
            return final_states(self.policy, batch.prompts, completions, **options)

        def attempt(cut: Sequence[Sequence[int]]) -> list[Tensor]:
            every = (rows if len(index) == len(batch) else take_all(rows, index) for index in cut)
            return [final_states(self.policy, part["prompts"], part["completions"], **options) for part in every]

        cut, found = self._updater.in_memory(row_tokens(rows), attempt)
        places = torch.tensor([place for index in cut for place in index], device=completions.ids.device).argsort()
        return torch.cat(found)[places]

    def _in_parts(
        self, model: Policy, scoring: ScoringModule, batch: Batch, completions: Completions, **options: Any
    ) -> LogProbs:
        """Score without gradient, as many rows at a time as the token budget allows."""
        if not len(batch):
            values = torch.zeros(completions.ids.shape, dtype=torch.float32, device=completions.ids.device)
            return LogProbs(values, completions.mask)
        rows: dict[str, Any] = {"prompts": batch.prompts, "completions": completions}
        costs = row_tokens(rows)

        def attempt(cut: Sequence[Sequence[int]]) -> list[LogProbs]:
            every = (rows if len(index) == len(batch) else take_all(rows, index) for index in cut)
            return [score(model, part["prompts"], part["completions"], module=scoring, **options) for part in every]

        cut, found = self._updater.in_memory(costs, attempt)
        if len(found) == 1:
            return found[0]
        places = torch.tensor([place for index in cut for place in index], device=completions.ids.device).argsort()
        hidden = [part.hidden for part in found if part.hidden is not None]
        return LogProbs(
            torch.cat([part.values for part in found])[places],
            completions.mask,
            torch.cat(hidden)[places] if hidden else None,
        )
