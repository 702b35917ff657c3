"""What a plugin implements (Method, Dataset, Metric, RewardFunction) and what it is given (Run, MetricServices)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from harness.api.types import (
        Batch,
        Completions,
        Divergence,
        Example,
        Limits,
        Logits,
        LogProbs,
        MetricResult,
        Provenance,
        Rewards,
        Sample,
        State,
    )

Rows = TypeVar("Rows")


@runtime_checkable
class Method(Protocol):
    """A post-fine-tuning method: only the update. Everything else is a service of the run."""

    def setup(self, run: Run) -> None:
        """Prepare once, before the first step: add a value head, compute statistics."""

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Update the policy from one batch of prompts; return what to log."""

    def state_dict(self) -> Mapping[str, State]:
        """Return what must survive a restart."""

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """Take back what :meth:`state_dict` gave."""


class Progress(Protocol):
    """Where in the whole schedule the run stands."""

    @property
    def step(self) -> int:
        """Optimiser step about to be taken, from 0, counted over the whole schedule (shared start included)."""

    @property
    def total_steps(self) -> int:
        """Steps of the whole schedule."""

    @property
    def epoch(self) -> int:
        """Epoch of the step about to be taken, from 0."""

    @property
    def fraction(self) -> float:
        """Return step / total_steps."""


class Tokenizer(Protocol):
    """The policy's tokenizer, for methods and rewards: text to token ids and back, and no more.

    Text is data: the name of a special token inside it becomes ordinary tokens.
    """

    @property
    def vocab_size(self) -> int:
        """Ids that have a token."""

    @property
    def eos_id(self) -> int:
        """The id that ends a completion."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text as part of a completion: no BOS before it, no EOS behind it."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens, stripped of white space at both ends."""


class Policy(Protocol):
    """The model being trained."""

    @property
    def model(self) -> nn.Module:
        """The transformers model."""

    @property
    def vocab_size(self) -> int:
        """Ids that have a token; the model's logits may be wider."""

    @property
    def eos_id(self) -> int:
        """The id that ends a completion."""

    @property
    def parameter_count(self) -> int:
        """Trainable scalars, tied weights counted once."""


class Run(Protocol):
    """The services of one training run. Every call is metered; results do not depend on micro-batches or ranks."""

    @property
    def policy(self) -> Policy:
        """The model being trained."""

    @property
    def progress(self) -> Progress:
        """Where in the whole schedule the run stands."""

    @property
    def limits(self) -> Limits:
        """How long prompts, completions and both together may be."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The policy's tokenizer."""

    def sample(
        self,
        batch: Batch,
        temperatures: Sequence[float],
        *,
        top_k: int = 0,
        top_p: float = 1.0,
        by: Literal["policy", "reference"] = "policy",
        noise: int | None = None,
    ) -> Completions:
        """Draw one completion a temperature for each prompt, without gradient and without dropout: (B, K, T).

        ``by="reference"`` samples from the checkpoint at which the method started, always the same completions for a
        prompt, as if they had been drawn once before training. Each call of a step draws with random numbers of its
        own; calls with the same ``noise`` share them, so that perturbed models can be compared on common ones.
        """

    def beam(
        self,
        batch: Batch,
        *,
        beams: int,
        groups: int,
        diversity_penalty: float,
        by: Literal["policy", "reference"] = "policy",
    ) -> Completions:
        """Diverse beam search (Vijayakumar et al. 2018, Hamming diversity), best first in a group: (B, beams, T)."""

    def greedy(self, batch: Batch) -> Completions:
        """Decode the most probable token at each position: (B, 1, T)."""

    def reward(self, batch: Batch, completions: Completions) -> Rewards:
        """Score completions with the benchmark's reward: (B, K)."""

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
        """Log-probs (B, K, T) with gradient, all candidates of a prompt in one forward.

        ``dropout=False`` for methods that compare with stored log-probs. ``dtype`` is that of the log-softmax
        (float32 unless given; float64 for a float64 model). ``entropy`` asks for that of each token's distribution
        (see :class:`LogProbs`), ``hidden`` for the states that it was predicted from.
        """

    def final_states(self, batch: Batch, completions: Completions, *, dropout: bool = True) -> Tensor:
        """Hidden state (B, K, D) of the last layer at the last token of each completion; 0 for an absent one.

        With gradient inside a loss. D is the width of what the language model's head takes. The state of a finished
        completion is that of its EOS, wherever padding stands and whatever id it has.
        """

    def reference_logprobs(self, batch: Batch, completions: Completions, *, temperature: float = 1.0) -> LogProbs:
        """Log-probs under the checkpoint at which the method started: no gradient, no dropout."""

    def logits(self, batch: Batch, completions: Completions, *, reference: bool = False) -> Iterator[Logits]:
        """Whole distributions at the scored positions, in chunks that bound memory.

        With ``reference`` each chunk has the reference model's logits at the same positions beside the policy's: what
        an exact divergence between the two needs.
        """

    def reference_logits(self, batch: Batch, completions: Completions) -> Iterator[Logits]:
        """The same of the checkpoint at which the method started alone: no gradient, no dropout."""

    def log(self, name: str, numerator: Tensor | float, denominator: Tensor | float) -> None:
        """Log a mean: the sum of ``numerator`` over the sum of ``denominator``, in a loss or in ``step``.

        Both are summed over their own elements, then over micro-batches, updates and ranks of the step, so that what
        is logged does not depend on how a batch is cut; a part that ran out of memory and is done again counts once. A
        name without any denominator is left out of the step's row. No rank need call it as often as another. A column
        of the registration's ``logs`` shows it in tables.
        """

    def add_module(self, name: str, module: nn.Module, *, learning_rate: float | None = None) -> None:
        """Make ``module`` part of the trained module, with a learning rate of its own if given."""

    def add_critic(
        self,
        name: str,
        *,
        start: Literal["policy", "reward_model"],
        head: nn.Module | None = None,
        learning_rate: float | None = None,
    ) -> None:
        """Train a critic with a backbone of its own, in ``setup()``; without dropout.

        It starts as the checkpoint at which the method started, with ``head`` (…, D) → (…, 1) on it (zeros where
        None), or as the reward model with the head that this has.
        """

    def critic_values(self, name: str, batch: Batch, completions: Completions) -> Tensor:
        """Return (B, K, T) the value of the state before each token; 0 outside the completion."""

    def total(self, x: Tensor | float) -> Tensor:
        """Sum of ``x`` over all ranks, without gradient: what a share of the global loss is divided by."""

    def shuffle(self, rows: Mapping[str, Any], parts: int, purpose: str) -> Iterable[Mapping[str, Any]]:
        """Cut rows (anything indexable along B) into ``parts`` by one permutation of the global batch."""

    def roll(self, rows: Mapping[str, Any], shift: int) -> Mapping[str, Any]:
        """Return in the place of each row the one that stands ``shift`` places further on in the global batch.

        Beyond the last row it goes on with the first one. Rows are anything indexable along B: tensors that are equally
        wide on all ranks, tuples, :class:`Completions`.
        """

    def gather(self, rows: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the rows of the whole global batch, in its order, on every rank: see :meth:`roll` for what rows are.

        For what must be ranked or compared over all prompts, such as the best share of all rewards. Without gradient.
        """

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator seeded by (seed, purpose, step)."""

    def perturbed(
        self, seed: int, scale: float, *, rank: int | None = None, only: Literal["all", "matrices"] = "all"
    ) -> AbstractContextManager[None]:
        """Weights plus ``scale`` times noise drawn from ``seed``; bit-equal afterwards.

        The noise is standard normal. With ``rank`` r that of a matrix is ``A @ B.T / sqrt(r)`` with standard normal A
        and B of r columns: entries of variance 1 that are uncorrelated (EGGROLL, arXiv:2511.16652, Eq. 8); what is no
        matrix has full noise. ``only="matrices"`` leaves weights of other than two dimensions as they are.
        """

    def apply(
        self,
        noise: Iterable[tuple[int, float]],
        *,
        rank: int | None = None,
        only: Literal["all", "matrices"] = "all",
    ) -> Mapping[str, float]:
        """One optimiser step whose gradient is the sum of weight x noise(seed) over ``(seed, weight)`` pairs.

        ``rank`` and ``only`` are those of :meth:`perturbed`. Under ``recipe.optimizer: sgd``, without clipping and
        weight decay, the step is exactly minus the learning rate times that sum.
        """

    def update(self, loss: Callable[..., Mapping[str, Tensor]], **rows: Any) -> Mapping[str, float]:
        """One optimiser step.

        Cuts ``rows`` (each indexable along B) by token budget, calls ``loss(**part)`` for each part, which returns
        named SHARES of the global loss: the part's numerator over a global denominator (see :meth:`total`).
        Backward on their sum, clip, one step. Returns the value of each share's total and the gradient norms.
        """


class RewardFunction(Protocol):
    """TRL's reward signature: keywords only; None is an absent reward; may be async.

    A reward that a registration builds is called with ``prompts``, ``completions``, ``completion_ids``, every column of
    the data set (``references`` among them), ``trainer_state``, ``log_extra`` and ``log_metric``; all lists have one
    entry a completion. One that registered ``needs={"reward_model"}`` gets ``reward_model`` as well, and one that
    registered ``needs={"tokenizer"}`` the policy's ``tokenizer``.
    """

    def __call__(
        self, *, prompts: list[str], completions: list[str], completion_ids: list[list[int]], **columns: Any
    ) -> list[float | None]:
        """Return one reward a completion."""


@runtime_checkable
class Dataset(Protocol):
    """A data set: ``prepare`` fetches or converts once, ``load`` reads what was prepared.

    It may also have ``notes(folder, split)``, which returns sentences for the captions that concern one split, such as
    how many of its rows :meth:`load` leaves out; and ``prepare_split(source, folder, split, limit)``, which is called
    in place of :meth:`prepare` and fetches what the first ``limit`` rows (None for all) of one split need.
    """

    def identity(self, source: Path | None) -> Mapping[str, Any]:
        """What fixes the content, before loading it: a file's sha256, a hub revision, a generator's version.

        Called while planning: no network, no heavy import. ``source`` is the user's ``path:``, None for the default.
        """

    def prepare(self, source: Path | None, folder: Path) -> Provenance:
        """Fetch or make the upstream content into ``folder``."""

    def load(self, folder: Path, split: str) -> Iterator[Example]:
        """Read one split of what :meth:`prepare` left in ``folder``, in an order that is part of the content."""


class MetricServices(Protocol):
    """What a metric may ask for: models, when its registration says so in ``needs``, other rows and a place to keep."""

    def answers_of(self, label: str) -> Sequence[Sample]:
        """Return the answers of a row named in ``opponents``, one for each of the answers that are scored.

        Each is the row's answer to the same prompt, of the same draw; a row with n draws gives draw modulo n.
        """

    def cache(self, name: str) -> Path:
        """Return a folder that survives runs and is shared by all stages, for what must not be bought twice."""

    def tell(self, done: int, total: int, note: str) -> None:
        """Say how far the metric is."""

    @property
    def retry_before(self) -> float:
        """When the user asked for another try, in seconds since 1970; 0 otherwise.

        What a metric keeps in its cache as a reply without a value, and got before this moment, is asked for again.
        """

    def answer_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Negative log-likelihood in nats and token count of each answer under the fixed scoring model."""

    def reference_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Teacher-forced negative log-likelihood and token count of each first reference under the policy."""

    def prefix_nll(self, samples: Sequence[Sample]) -> Sequence[Sequence[tuple[float, float]]]:
        """Loss of the first reference under the policy, position by position, behind two beginnings of one length.

        For each sample a list of ``(own, drawn)`` in nats: -log p(r_t | x, r_<t) and -log p(r_t | x, a_<t) for
        reference r (EOS included) and answer a, for t = 1 … min(len(r), len(a) + 1); empty without a reference.
        """

    def text_nll(self, texts: Sequence[str]) -> Sequence[tuple[float, int]]:
        """Negative log-likelihood in nats and token count of each text under the policy: plain text, without a prompt.

        It stands behind BOS where the tokenizer puts one; elsewhere the first token, which nothing predicts, does not
        count. No EOS is added.
        """

    def divergences(self, samples: Sequence[Sample], label: str) -> Sequence[Divergence]:
        """How far the policy is from the model of a row named in ``models_of``, along each sample's text.

        At each of its tokens, and at the EOS of a finished one, the two whole distributions behind the sample's prompt
        and the text so far are compared. The samples need not be the policy's own (see :meth:`answers_of`).
        """

    def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> Sequence[float]:
        """Score of each text as an answer to its sample's prompt under the benchmark's reward model, normalised."""

    @property
    def scorer_label(self) -> str:
        """Name of the fixed scoring model, for the signature."""


@runtime_checkable
class Metric(Protocol):
    """A metric over generated answers."""

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return one value a sample and column, in the order of ``samples``."""
