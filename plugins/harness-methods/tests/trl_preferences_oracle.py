"""What TRL's own loss functions make of given log-probs. Run as a program: TRL takes long to import."""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch

SEEDS = range(20)
KTO: list[dict[str, Any]] = [
    {"beta": 0.1},
    {"beta": 0.5, "desirable_weight": 1.3, "undesirable_weight": 0.7},
    {"beta": 0.5, "loss": "apo_zero_unpaired"},
]
CPO: list[dict[str, Any]] = [
    {"loss_type": "sigmoid", "beta": 0.1},
    {"loss_type": "sigmoid", "beta": 0.5, "label_smoothing": 0.1},
    {"loss_type": "hinge", "beta": 0.3},
    {"loss_type": "ipo", "beta": 0.3},
    {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.5},
    {"loss_type": "simpo", "beta": 2.5, "simpo_gamma": 1.4, "label_smoothing": 0.2},
    {"loss_type": "sigmoid", "beta": 0.3, "alphapo": 0.2},
    {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.3, "alphapo": -0.4},
]
ONLINE: list[dict[str, Any]] = [
    {"beta": 0.1},
    {"beta": 0.6, "missing_eos_penalty": 1.0},
    {"beta": 0.3, "loss_type": "ipo"},
]


def case(seed: int) -> dict[str, Any]:
    """Return ragged log-probs: of each row two answers under both models, labels, rewards, and mismatched ratios."""
    draw = random.Random(seed)
    size = draw.randint(1, 5)

    def logps(length: int) -> list[float]:
        return [-3 * draw.random() for _ in range(length)]

    lengths = [[draw.randint(2, 6) for _ in range(2)] for _ in range(size)]
    return {
        "policy": [[logps(n) for n in pair] for pair in lengths],
        "reference": [[logps(n) for n in pair] for pair in lengths],
        "labels": [draw.random() < 0.5 for _ in range(size)],
        "rewards": [[draw.choice([0.0, 0.5, draw.random()]) for _ in range(2)] for _ in range(size)],
        "finished": [[draw.random() < 0.6 for _ in range(2)] for _ in range(size)],
        "mismatched": [draw.uniform(-1.0, 2.0) for _ in range(size)] if size > 1 else [0.0],
    }


def padded(rows: list[list[float]]) -> torch.Tensor:
    """Return (B, T) float64, 0 behind the end of a row."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.float64) for row in rows], batch_first=True)


def _stub(**attributes: Any) -> Any:
    same = SimpleNamespace(device="cpu", gather_for_metrics=lambda value: value, backward=lambda _loss: None)
    return SimpleNamespace(accelerator=same, aux_loss_enabled=False, **attributes)


def kto(given: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return the loss of the first answers."""
    from trl import KTOTrainer

    first = [pair[0] for pair in given["policy"]]
    values, mask = padded(first), padded([[1.0] * len(row) for row in first]).long()
    before = torch.ones(len(first), 1, dtype=torch.long)  # one prompt token
    outputs = SimpleNamespace(log_probs=values, entropy=torch.zeros_like(values), mean_logits=torch.zeros_like(values))

    def model(**_: Any) -> Any:
        return outputs

    model.training = True  # type: ignore[attr-defined]  # what a module has
    loss = settings.get("loss", "kto")
    self = _stub(
        model=model, precompute_ref_logps=True, calculate_KL=loss == "kto", loss_type=loss, beta=settings["beta"],
        desirable_weight=settings.get("desirable_weight", 1.0),
        undesirable_weight=settings.get("undesirable_weight", 1.0),
        _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1,
        _compute_kl_logps=lambda _model, _batch: torch.tensor(given["mismatched"], dtype=torch.float64),
    )  # fmt: skip
    inputs = {
        "input_ids": torch.cat((before, mask), 1),
        "attention_mask": torch.cat((before, mask), 1),
        "completion_mask": torch.cat((0 * before, mask), 1),
        "label": torch.tensor(given["labels"]),
        "ref_logps": padded([pair[0] for pair in given["reference"]]).sum(1),
        "ref_KL_logps": torch.zeros(len(first), dtype=torch.float64),
    }
    return float(KTOTrainer._compute_loss(self, model, inputs, return_outputs=False))


def cpo(given: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return the mean loss of the pairs, without the supervised term."""
    from trl.experimental.cpo import CPOTrainer

    average = settings["loss_type"] in {"ipo", "simpo"}
    self = _stub(
        alpha=settings.get("alphapo", 0.0), beta=settings["beta"], loss_type=settings["loss_type"],
        simpo_gamma=settings.get("simpo_gamma", 0.5), label_smoothing=settings.get("label_smoothing", 0.0),
    )  # fmt: skip
    sides = [torch.tensor([sum(pair[side]) / (len(pair[side]) if average else 1) for pair in given["policy"]],
                          dtype=torch.float64) for side in (0, 1)]  # fmt: skip
    return float(CPOTrainer.cpo_loss(self, *sides)[0].mean())


class Wide(torch.Tensor):
    """A float64 tensor that stays one where TRL would make it float32."""

    def float(self) -> Wide:
        return self


def orpo(given: dict[str, Any]) -> float:
    """Return the mean odds-ratio loss of the pairs, at a weight of 1."""
    from trl.experimental.orpo import ORPOTrainer

    sides = [torch.tensor([sum(pair[side]) / len(pair[side]) for pair in given["policy"]], dtype=torch.float64)
             for side in (0, 1)]  # fmt: skip
    losses = ORPOTrainer.odds_ratio_loss(_stub(beta=1.0), *(side.as_subclass(Wide) for side in sides))[0]
    return -float(losses.mean())


def online(given: dict[str, Any], settings: dict[str, Any]) -> float:
    """Return the loss of a step that draws the two answers of each row."""
    from trl.experimental.online_dpo import OnlineDPOTrainer

    columns = [[pair[side] for side in (0, 1) for pair in given[name]] for name in ("policy", "reference")]
    values, reference = (padded(rows) for rows in columns)
    mask = padded([[1.0] * len(row) for row in columns[0]]).long()
    ends = [pair[side] for side in (0, 1) for pair in given["finished"]]
    ids = torch.ones_like(mask)
    for row, (length, end) in enumerate(zip(mask.sum(1).tolist(), ends, strict=True)):
        ids[row, length - 1] = 0 if end else 1
    reference_model = object()
    rewards = torch.tensor([pair[side] for side in (0, 1) for pair in given["rewards"]], dtype=torch.float64)
    self = _stub(
        args=SimpleNamespace(
            use_vllm=False, missing_eos_penalty=settings.get("missing_eos_penalty"), torch_empty_cache_steps=None,
            loss_type=settings.get("loss_type", "sigmoid"), optim="adamw_torch", n_gpu=1, gradient_accumulation_steps=1,
        ),
        _generate=lambda _model, _prompts, _images: (mask[:, :1], mask[:, :1], ids, mask, None),
        _forward=lambda model, *_: reference if model is reference_model else values,
        _calculate_rewards_from_functions=lambda **_: rewards.clone(),
        eos_token_ids=[0], ref_model=reference_model, beta=settings["beta"], reward_funcs=[None],
        processing_class=SimpleNamespace(batch_decode=lambda rows, **_: ["" for _ in rows]),
        stats=defaultdict(list), state=SimpleNamespace(global_step=0),
    )  # fmt: skip
    model: Any = SimpleNamespace(train=lambda: None)
    return float(OnlineDPOTrainer.training_step(self, model, {"prompt": ["p"] * len(given["labels"])}))


def main() -> None:
    """Print, as JSON, the losses by method, setting and seed."""
    cases = [case(seed) for seed in SEEDS]
    found = {
        "version": __import__("trl").__version__,
        "kto": [[kto(given, settings) for given in cases] for settings in KTO],
        "cpo": [[cpo(given, settings) for given in cases] for settings in CPO],
        "orpo": [[orpo(given) for given in cases]],
        "online": [[online(given, settings) for given in cases] for settings in ONLINE],
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
