"""PPO: proximal policy optimisation with a critic and a KL penalty in the reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.api import InputError
from harness_plugins.methods.building_blocks.meter import Means
from harness_plugins.methods.building_blocks.supervised import supervised_loss, supervised_weights
from harness_plugins.methods.ppo.losses import (
    adapted,
    explained_variance,
    gae,
    kl_estimate,
    missing_eos_scores,
    policy_losses,
    token_rewards,
    value_losses,
    whiten,
)
from harness_plugins.methods.ppo.rollout import Rollout, actions, value_head, with_end_state, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from harness.api import Batch, Completions, Run, State
    from harness_plugins.methods.ppo import PPOOptions

#: The name of the critic, or of the head that stands for one.
CRITIC = "critic"
#: Means over tokens that each update is described by, as TRL names them.
_MEANS = ("policy/approxkl", "policy/clipfrac", "loss/policy", "val/ratio", "loss/value", "val/clipfrac")


class PPO:
    """Proximal policy optimisation of a language model (Schulman et al. 2017; Ziegler et al. 2019, arXiv:1909.08593).

    In formulas, for the tokens a_1 .. a_T of an answer to the prompt x, EOS included::

        r_t = -kl_coef KL_t + [t = T] score            KL_t of policy to reference at a_t, k1 or k3
        A_t = sum_l (gamma lam)^l d_{t+l},  d_t = r_t + gamma V_{t+1} - V_t,  V_{T+1} = 0;  R_t = A_t + V_t
        rho_t = p(a_t) / p_old(a_t)
        L   = mean_t max(-A'_t rho_t, -A'_t clip(rho_t, 1 +- cliprange))                A' is A, whitened
              + vf_coef mean_t 1/2 max((V_t - R_t)^2, (clip(V_t, V_old,t +- cliprange_value) - R_t)^2)

    with ``num_ppo_epochs`` x ``num_mini_batches`` optimiser steps for each batch of answers. p_old, V_old and KL are
    computed once, after sampling; dropout is off in policy, reference and critic. The recipe's learning rate changes
    with batches of answers, not with optimiser steps.

    Differs from TRL 1.12 and from the reproductions of OpenAI's code (see ``docs/paper-and-code.md``):

    1. Means and whitening are over all tokens of the (mini-)batch on all ranks, not over what one GPU, or one
       micro-batch of it, holds; one permutation of the whole batch makes the mini-batches.
    2. The score falls on an answer's last token and nothing is worth anything behind it. TRL gives the state behind the
       EOS a value and the score (``compat.end_state: true``), and where padding and EOS are one id trains no stop
       decision (``compat.include_eos_in_logp: false``).
    3. Sampling stops at the EOS instead of going on and cutting the rest off; logits are divided by the temperature,
       not by the temperature + 1e-7.
    4. p_old is what a forward of the training model says, not what the sampler said.
    5. Statistics count real tokens alone: TRL's approxkl, entropy and ratio average over padding too.
    6. An answer without a reward counts nowhere, as if it had never been drawn.
    7. ``critic: policy`` starts the critic as the policy, since there may be no reward model; TRL and its predecessor
       start it as the reward model.
    """

    def __init__(self, options: PPOOptions) -> None:
        """Keep the options."""
        self.options = options
        self.kl_coef = options.kl_coef
        self._head: torch.nn.Linear | None = None

    def setup(self, run: Run) -> None:
        """Add the critic."""
        options = self.options
        rate = options.value_learning_rate
        if options.critic == "reward_model":
            run.add_critic(CRITIC, start="reward_model", learning_rate=rate)
            return
        model: Any = run.policy.model
        width = model.get_output_embeddings().weight.shape[1]
        head = value_head(width, options.compat.value_init, run.generator("value head"))
        if options.critic == "policy":
            run.add_critic(CRITIC, start="policy", head=head, learning_rate=rate)
        else:
            run.add_module(CRITIC, head, learning_rate=rate)
            self._head = head

    def state_dict(self) -> Mapping[str, State]:
        """Return the KL coefficient, which the controller moves."""
        return {"kl_coef": self.kl_coef}

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """Take back the KL coefficient."""
        kl_coef = state.get("kl_coef")
        if not isinstance(kl_coef, float) or len(state) > 1:
            raise InputError("the saved state is another method's", got=sorted(state), expected="kl_coef")
        self.kl_coef = kl_coef

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """Sample, judge, and take the optimiser steps.

        Returns:
            Of the answers, a mean over them: ``objective/kl`` and ``objective/entropy`` (sums over tokens, nats),
            ``objective/non_score_reward``, ``objective/scores`` and their sum ``objective/rlhf_reward``, ``eos_rate``.
            Of the updates, a mean over them: ``policy/approxkl`` (half the mean squared log-ratio),
            ``policy/clipfrac``, ``val/clipfrac``, ``val/ratio`` with its variance over updates ``val/ratio_var``,
            ``loss/policy``, ``loss/value`` (before its weight). And ``explained_variance`` of the returns by the values
            before the updates, ``kl_coef`` as used.
        """
        options = self.options
        drawn = run.sample(batch, (options.temperature,) * options.num_generations)
        rewards = run.reward(batch, drawn)
        samples = without(drawn, rewards.present)
        scores = torch.where(
            rewards.present,
            missing_eos_scores(
                rewards.values, samples.finished, options.missing_eos_penalty, options.compat.missing_eos
            ),
            0.0,
        )
        places = with_end_state(samples, run.policy.eos_id) if options.compat.end_state else samples
        rollout, report = self._judge(run, batch, samples, places, scores)
        described = [
            self._update(run, part)
            for number in range(options.num_ppo_epochs)
            for part in self._parts(run, number, batch=batch, samples=places, rollout=rollout)
        ]
        updates = [means for means in described if means is not None]
        if updates:
            report |= {name: sum(means[name] for means in updates) / len(updates) for name in _MEANS}
            report["val/ratio_var"] = _variance([means["val/ratio"] for means in updates])
        answers = float(run.total((samples.lengths > 0).sum()))
        if options.kl_controller == "adaptive" and answers:
            self.kl_coef = adapted(
                self.kl_coef,
                report["objective/kl"],
                target=options.kl_target,
                horizon=options.kl_horizon,
                answers=answers,
            )
        return report

    def _judge(
        self, run: Run, batch: Batch, samples: Completions, places: Completions, scores: Tensor
    ) -> tuple[Rollout, dict[str, float]]:
        """Return what is learnt from the answers, and what is logged of them.

        Args:
            run: the run.
            batch: B prompts.
            samples: (B, K, T) their answers.
            places: the same, with the end states where there are any.
            scores: (B, K) float64; 0 where absent.
        """
        options = self.options
        states = places.mask
        acting = actions(samples, states.shape[2], include_eos=options.compat.include_eos_in_logp)
        logp, values = (x.detach().double() for x in self._forward(run, batch, places))
        reference = run.reference_logprobs(batch, places, temperature=options.temperature).values.double()
        kl = torch.where(acting, kl_estimate(logp, reference, options.kl_estimator), 0.0)
        rewards = token_rewards(kl, scores, (places.lengths - 1).clamp(min=0), self.kl_coef)
        unbiased = options.compat.whitening_variance == "unbiased"
        if options.whiten_rewards:
            rewards = whiten(rewards, states, run.total, unbiased=unbiased, shift_mean=False)
        raw = gae(rewards, values, options.gamma, options.lam)
        rollout = Rollout(
            logp=torch.where(acting, logp, 0.0),
            values=values,
            advantages=whiten(raw, acting, run.total, unbiased=unbiased),
            returns=torch.where(states, raw + values, 0.0),
            actions=acting,
            states=states,
        )
        sums = torch.stack(
            [
                kl.sum(),
                -rollout.logp.sum(),
                scores.sum(),
                samples.finished.sum().double(),
                (samples.lengths > 0).sum().double(),
            ]
        )
        whole = run.total(sums)
        kl_mean, entropy, score, ended = (whole[:4] / whole[4].clamp(min=1)).tolist()
        return rollout, {
            "objective/kl": kl_mean,
            "objective/entropy": entropy,
            "objective/non_score_reward": -self.kl_coef * kl_mean,
            "objective/scores": score,
            "objective/rlhf_reward": score - self.kl_coef * kl_mean,
            "eos_rate": ended,
            "explained_variance": explained_variance(rollout.returns, values, states, run.total),
            "kl_coef": self.kl_coef,
        }

    def _parts(self, run: Run, number: int, **rows: Any) -> Iterable[Mapping[str, Any]]:
        """Return the mini-batches of a pass."""
        parts = self.options.num_mini_batches
        return [rows] if parts == 1 else run.shuffle(rows, parts, f"pass {number}")

    def _update(self, run: Run, rows: Mapping[str, Any]) -> dict[str, float] | None:
        """Take one optimiser step; return what describes it, None where no answer counts and there is none to take."""
        options = self.options
        tokens = run.total(rows["rollout"].actions.sum())
        places = run.total(rows["rollout"].states.sum())
        if not float(places):
            return None
        lengths = rows["batch"].demonstrations.lengths[:, 0]
        sft_weights = options.sft_coef * supervised_weights(
            lengths, options.sft_reduction, options.sft_micro_batch, run.total
        )
        numbers = torch.arange(len(rows["batch"]), device=lengths.device)
        meter = Means(numbers, _MEANS)

        def loss(
            batch: Batch, samples: Completions, rollout: Rollout, sft_weights: Tensor, numbers: Tensor
        ) -> Mapping[str, Tensor]:
            logp, values = self._forward(run, batch, samples)
            acting, states = rollout.actions, rollout.states
            difference = torch.where(acting, logp - rollout.logp.to(logp.dtype), 0.0)
            ratio = difference.exp()
            losses, clipped = policy_losses(ratio, rollout.advantages.to(logp.dtype), options.cliprange)
            wrong, held = value_losses(
                values, rollout.values.to(values.dtype), rollout.returns.to(values.dtype), options.cliprange_value
            )
            meter.put(
                numbers,
                acting,
                **{
                    "policy/approxkl": 0.5 * difference.square(),
                    "policy/clipfrac": clipped,
                    "loss/policy": losses,
                    "val/ratio": ratio,
                },
            )
            meter.put(numbers, states, **{"loss/value": wrong, "val/clipfrac": held})
            shares = {
                "policy": torch.where(acting, losses, 0.0).sum() / tokens.clamp(min=1),
                "value": options.vf_coef * torch.where(states, wrong, 0.0).sum() / places,
            }
            if options.sft_coef:
                supervised = run.logprobs(batch, batch.demonstrations).sum()[:, 0]
                shares["sft"] = supervised_loss(supervised, sft_weights)
            return shares

        run.update(loss, **rows, sft_weights=sft_weights, numbers=numbers)
        return meter.values(run)

    def _forward(self, run: Run, batch: Batch, places: Completions) -> tuple[Tensor, Tensor]:
        """Return (B, K, T) log-probs and values, with gradient inside a loss."""
        temperature = self.options.temperature
        if self._head is None:
            logp = run.logprobs(batch, places, temperature=temperature, dropout=False)
            return logp.values, run.critic_values(CRITIC, batch, places)
        logp = run.logprobs(batch, places, temperature=temperature, dropout=False, hidden=True)
        assert logp.hidden is not None
        hidden = logp.hidden.detach() if self.options.critic == "detached" else logp.hidden
        values = self._head(hidden.to(self._head.weight.dtype))[..., 0]
        return logp.values, torch.where(logp.mask, values, 0.0)


def _variance(values: list[float]) -> float:
    """Return the unbiased variance, 0 of a single value."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
