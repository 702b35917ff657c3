"""An engine that draws a method's samples, and whose log-probs are then compared with the harness's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.lm.cuda.vllm_engine import VllmEngine
from harness.lm.decode.sampling import Drawn
from harness.lm.score.log_softmax import ScoringParams
from harness.spec.results.train import StepSampler

if TYPE_CHECKING:
    from torch import Tensor

    from harness.api import Batch
    from harness.lm.decode.noise import Noise
    from harness.lm.decode.sampling import SamplingParams
    from harness.lm.model.policy import Policy
    from harness.lm.score.logprobs import ScoringModule
    from harness.training.distributed import Ranks
    from harness.training.record import Settings, StepRecord
    from harness.training.scoring import InParts


def engine_of(policy: Policy, settings: Settings, ranks: Ranks) -> EngineSampler | None:
    """Return the engine that the settings name; None where the harness draws by itself.

    Raises:
        InputError: it does not do what else is asked.
    """
    if settings.engine != "vllm":
        return None
    where = f"method {settings.method!r}, recipe.sampling"
    if ranks.world > 1:
        what = "vLLM samples beside one process, and the stage has several"
        raise InputError(what, where=where, got=f"{ranks.world} processes", expected="no --processes")
    longest = settings.limits.prompt + settings.limits.completion
    return EngineSampler(VllmEngine(policy, longest=longest, where=where))


class EngineSampler:
    """Draws from the policy that is trained, through an engine."""

    def __init__(self, engine: VllmEngine) -> None:
        """Take the engine, which holds the policy."""
        self._engine = engine

    def draw(
        self,
        batch: Batch,
        params: SamplingParams,
        noise: Noise,
        *,
        scorer: InParts,
        module: ScoringModule,
        record: StepRecord,
    ) -> Drawn:
        """Draw one completion a temperature for each prompt; see :func:`harness.lm.decode.sampling.sample`.

        How far an engine's log-probs lie from those that ``scorer`` finds by ``module`` goes into the ``record``.
        """
        answers = self._engine.sample(batch.prompts, batch.ids, params, noise)
        done = answers.completions
        ours = scorer.logprobs(module, batch, done, ScoringParams(entropy=True), dropout=False)
        assert ours.entropy is not None
        record.sampler = merged(record.sampler, agreement(answers.logprobs, ours.values, done.mask))
        entropy = ours.entropy.double().masked_fill(~done.mask, 0.0).sum(-1) / done.lengths.clamp(min=1)
        return Drawn(done, entropy, answers.logprobs if params.with_logprobs else None)


def agreement(theirs: Tensor, ours: Tensor, mask: Tensor) -> StepSampler:
    """Compare the log-probs (B, K, T) of the tokens where ``mask`` is true."""
    far = (ours.detach().double() - theirs)[mask]
    if not len(far):
        return StepSampler(engine="vllm", tokens=0, mean_difference=0.0, largest_difference=0.0, mean_ratio=1.0)
    return StepSampler(
        engine="vllm",
        tokens=len(far),
        mean_difference=float(far.abs().mean()),
        largest_difference=float(far.abs().max()),
        mean_ratio=float(far.exp().mean()),
    )


def merged(before: StepSampler | None, new: StepSampler) -> StepSampler:
    """Return the agreement of two draws together."""
    if before is None or not before.tokens:
        return new
    tokens = before.tokens + new.tokens
    share = new.tokens / tokens

    def mean(one: float, other: float) -> float:
        return one * (1 - share) + other * share

    return StepSampler(
        engine=new.engine,
        tokens=tokens,
        mean_difference=mean(before.mean_difference, new.mean_difference),
        largest_difference=max(before.largest_difference, new.largest_difference),
        mean_ratio=mean(before.mean_ratio, new.mean_ratio),
    )
