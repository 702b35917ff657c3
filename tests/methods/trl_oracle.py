"""What TRL's DPOTrainer makes of given pairs. Run as a program: TRL changes the classes of transformers it meets."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import torch

#: The settings that both sides have.
SETTINGS: list[dict[str, Any]] = [
    {"loss_type": "sigmoid", "beta": 0.1},
    {"loss_type": "sigmoid", "beta": 0.5},
    {"loss_type": "hinge", "beta": 0.1},
    {"loss_type": "ipo", "beta": 0.3},
    {"loss_type": "robust", "beta": 0.1, "label_smoothing": 0.1},
    {"loss_type": "robust", "beta": 0.7, "label_smoothing": 0.3},
]
SEEDS = range(20)


def random_logprobs(seed: int) -> dict[str, torch.Tensor]:
    """Return the log-probs of a ragged batch of pairs: policy and reference (B, 2, T) float64, 0 beyond ``lengths``."""
    generator = torch.Generator().manual_seed(seed)
    size, width = 1 + seed % 5, 9
    lengths = torch.randint(1, width + 1, (size, 2), generator=generator)
    mask = torch.arange(width) < lengths[..., None]

    def draw() -> torch.Tensor:
        return -3 * torch.rand(size, 2, width, generator=generator, dtype=torch.float64) * mask

    return {"policy": draw(), "reference": draw(), "lengths": lengths}


def main() -> None:
    """Print, as JSON, the losses of random log-probs, and a whole step on the tiny model."""
    import tempfile

    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from harness.testing.tiny import tiny_examples, tiny_policy

    policy, reference = tiny_policy(), tiny_policy(1)
    rows = [
        {"prompt": f"{example.fields['instruction']}:", "chosen": example.chosen, "rejected": example.rejected}
        for example in tiny_examples()
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = DPOConfig(
            output_dir=folder, report_to="none", use_cpu=True, bf16=False, per_device_train_batch_size=len(rows),
            max_length=None, disable_tqdm=True, loss_type=["sigmoid"],
        )  # fmt: skip
        trainer = DPOTrainer(
            model=policy.model, ref_model=reference.model, args=arguments, train_dataset=Dataset.from_list(rows),
            processing_class=policy.tokeniser._tokenizer,
        )  # fmt: skip
        trainer.model.train()
        batch = next(iter(trainer.get_train_dataloader()))
        found: dict[str, Any] = {"version": __import__("trl").__version__, "random": [], "real": []}
        for settings in SETTINGS:
            trainer.loss_types, trainer.loss_weights = [settings["loss_type"]], [1.0]
            trainer.beta, trainer.label_smoothing = settings["beta"], settings.get("label_smoothing", 0.0)
            trainer.precompute_ref_logps = True
            found["random"].append([_given(trainer, seed) for seed in SEEDS])
            trainer.precompute_ref_logps = False
            found["real"].append(_real(trainer, batch))
    sys.stdout.write(json.dumps(found))


def _given(trainer: Any, seed: int) -> float:
    """Return the loss of given log-probs: a model that says them stands in for one that computes them."""
    given = random_logprobs(seed)
    sides = [torch.cat((given[name][:, 0], given[name][:, 1])) for name in ("policy", "reference")]
    mask = torch.cat([torch.arange(sides[0].shape[1]) < given["lengths"][:, side, None] for side in (0, 1)])
    zeros = torch.zeros_like(sides[0])

    def model(**_: Any) -> Any:
        top = torch.zeros_like(mask)
        return SimpleNamespace(
            log_probs=sides[0], entropy=zeros, mean_logits=zeros, is_top1=top, log_sum_sq_probs=zeros
        )

    model.training = True  # type: ignore[attr-defined]  # what a module has
    before = torch.zeros(len(mask), 1, dtype=torch.bool)  # one prompt token
    inputs = {
        "input_ids": torch.zeros(len(mask), mask.shape[1] + 1, dtype=torch.long),
        "attention_mask": torch.cat((~before, mask), 1).long(),
        "completion_mask": torch.cat((before, mask), 1).long(),
    }
    inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = sides[1].sum(1).chunk(2)
    return float(trainer._compute_loss(model, inputs, return_outputs=False))


def _real(trainer: Any, batch: Any) -> dict[str, float]:
    """Return loss, gradient norm and logged numbers of one batch."""
    trainer.model.zero_grad()
    trainer._metrics["train"].clear()
    loss = trainer._compute_loss(trainer.model, batch, return_outputs=False)
    loss.backward()
    norms = [p.grad.double().norm() for p in trainer.model.parameters() if p.grad is not None]
    said = {
        name: values[-1] for name, values in trainer._metrics["train"].items() if "rewards/" in name or "logps/" in name
    }
    return {"loss": float(loss), "grad_norm": float(torch.stack(norms).norm()), **said}


if __name__ == "__main__":
    main()
