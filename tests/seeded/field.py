"""S1 to S36: results that were silently wrong in the tools of this field, each put into the code of today."""

from __future__ import annotations

from typing import Final

from seeded.fault import Fault, edit, seed

#: Reports in public trackers, by how the page shows them.
_GITHUB: Final = "https://github.com/"


def _seen(*places: str) -> str:
    """Return links to ``owner/name#number`` or ``owner/name@pull/number``, as the page shows them."""
    links = []
    for place in places:
        project, _, number = place.partition("#")
        kind = "pull" if number.startswith("p") else "issues"
        number = number.lstrip("p")
        links.append(f"[{project.rpartition('/')[2]} {number}]({_GITHUB}{project}/{kind}/{number})")
    return ", ".join(links)


_HF, _TRL, _EVAL = "huggingface/transformers", "huggingface/trl", "EleutherAI/lm-evaluation-harness"

_LOOP = "tests/training/test_loop.py::"
_RANKS = "tests/training/test_other_ranks.py::"
_IDENTITIES = "tests/methods/test_identities.py::"
_ENCODE = "tests/text/test_encode.py::"
_SCORING = "tests/lm/score/test_logprobs.py::"
_SAMPLING = "tests/lm/decode/test_sampling.py::"
_ORACLES = "tests/methods/test_oracles.py::test_loss_and_gradient_equal_the_oracle"
_COPIED = "tests/lm/decode/test_copied.py::test_rows_of_unequal_prompts_get_the_logits_of_rows_alone"

FIELD: Final = (
    Fault(
        "S1",
        "With gradient accumulation, the mean of each micro-batch's mean loss was taken, so that a token of a short "
        "micro-batch weighed more.",
        _seen(f"{_HF}#p34191", f"{_TRL}#2175"),
        (
            seed(
                edit(
                    "harness_plugins.methods.sft.method",
                    "        def loss(batch: Batch, weights: Tensor) -> Mapping[str, Tensor]:\n",
                    "        whole = weights.sum()\n\n"
                    "        def loss(batch: Batch, weights: Tensor) -> Mapping[str, Tensor]:\n"
                    "            lengths = batch.demonstrations.lengths[:, 0]\n"
                    "            weights = weights.sum() / whole * len(lengths) / lengths.sum() + 0 * weights\n",
                ),
                f"{_IDENTITIES}test_cut_into_parts_has_no_say",
            ),
        ),
    ),
    Fault(
        "S2",
        "The repair of S1 multiplied the losses of other trainers by the number of micro-batches, and sums over "
        "processes became means.",
        _seen(f"{_TRL}#p2615", f"{_HF}#37766", f"{_TRL}#p6024"),
        (
            seed(
                edit(
                    "harness.training.updates",
                    "        outputs.backward(parameters)\n",
                    "        outputs.backward(parameters)\n"
                    "        if attempt.parts > 1:\n"
                    "            torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], 1.5)\n",
                ),
                f"{_LOOP}test_micro_batches_change_nothing",
            ),
            seed(
                edit(
                    "harness.training.distributed",
                    "                parameter.grad = summed.view_as(parameter)",
                    "                parameter.grad = summed.view_as(parameter) / self.world",
                ),
                f"{_RANKS}test_gradients_are_sums_over_ranks_and_no_means",
            ),
        ),
    ),
    Fault(
        "S3",
        "Padding had the id of EOS and the mask was made from ids, so that EOS was never learnt and no answer ended.",
        _seen(f"{_HF}#23530", f"{_TRL}#976", f"{_TRL}#p6357"),
        (
            seed(
                edit(
                    "harness.api.types",
                    "        return steps < self.lengths[..., None]\n",
                    "        return steps < self.answer_lengths[..., None]\n",
                ),
                f"{_ENCODE}test_eos_is_a_target_although_it_is_also_pad_and_bos",
            ),
        ),
    ),
    Fault(
        "S4",
        "What ended an answer in training was missing, or was the tokenizer's EOS where the chat template ends a turn "
        "with another token.",
        _seen(f"{_TRL}#p3091", "huggingface/open-r1#p604"),
        (
            seed(
                edit(
                    "harness.text.formats",
                    "        self.end_id = self.tokeniser.eos_id if end is None else end[0]\n",
                    "        self.end_id = self.tokeniser.eos_id\n",
                ),
                "tests/text/test_chat.py::test_what_is_trained_on_is_what_the_template_marks_as_the_assistants",
                says="AssertionError|ends some answers in another way",
            ),
        ),
    ),
    Fault(
        "S5",
        "BOS stood twice before a prompt: once from the template and once from the tokenizer.",
        _seen("axolotl-ai-cloud/axolotl#1616", f"{_TRL}#3853", f"{_EVAL}#3333"),
        (
            seed(
                edit(
                    "harness.text.tokenise",
                    "encode_batch_fast(list(texts), add_special_tokens=False)",
                    "encode_batch_fast(list(texts), add_special_tokens=True)",
                ),
                "tests/text/test_tokenise.py::test_bos_stands_once_and_in_front",
            ),
        ),
    ),
    Fault(
        "S6",
        "BOS was missing in evaluation, which ruins models that were trained with it.",
        _seen(f"{_EVAL}#p1465", f"{_EVAL}#3430"),
        (
            seed(
                edit(
                    "harness.text.tokenise", "        prefix = list(self._prefix)\n", "        prefix: list[int] = []\n"
                ),
                "tests/text/test_tokenise.py::test_bos_stands_once_and_in_front",
            ),
        ),
    ),
    Fault(
        "S7",
        "Training and evaluation, or two methods that were compared, wrote prompts by different templates.",
        _seen("princeton-nlp/SimPO#24", "huggingface/open-r1#473"),
        (
            seed(
                edit(
                    "harness.text.encode",
                    "        prompts = self.format.prompts(texts)\n",
                    "        shown = texts if self.params.training else [text + ' ' for text in texts]\n"
                    "        prompts = self.format.prompts(shown)\n",
                ),
                f"{_ENCODE}test_one_path_for_training_and_evaluation",
            ),
            seed(
                edit(
                    "harness.text.templates",
                    "    content = [template.text, template.text_without_context, template.truncate, template.chat, "
                    "template.system]\n",
                    "    content = [template.text, template.truncate, template.chat]\n",
                ),
                "tests/text/test_templates.py::test_the_digest_covers_all_that_shapes_a_prompt",
            ),
        ),
    ),
    Fault(
        "S8",
        "The loss mask of a row was empty because the text that marks the answer was not found, and the row trained "
        "nothing.",
        _seen(f"{_TRL}#980", f"{_TRL}#598", f"{_TRL}#1191"),
        (
            seed(
                edit(
                    "harness.text.encode",
                    "            if not self.params.train_eos and not all(present.values()):\n",
                    "            if not self.params.train_eos and not present:\n",
                ),
                f"{_ENCODE}test_a_row_without_a_target_is_dropped",
            ),
        ),
    ),
    Fault(
        "S9",
        "A prompt was tokenised with its answer in one place and alone in another; cutting to a length took the "
        "answer off.",
        _seen(f"{_TRL}#2054", f"{_TRL}#p2209", f"{_TRL}#p2551"),
        (
            seed(
                edit(
                    "harness.text.encode",
                    "            reasons += [name for name, ids in present.items() if len(ids) + 1 > "
                    "self.params.max_completion]\n",
                    "",
                ),
                f"{_ENCODE}test_long_rows_leave_the_training_set_over_all_columns",
            ),
            seed(
                edit(
                    "harness.text.formats",
                    "            apart = together[: len(start)] != start\n",
                    "            apart = False\n",
                ),
                "tests/text/test_chat.py::test_an_answer_that_would_share_a_token_with_the_prompt_is_tokenised_by_itself",
            ),
        ),
    ),
    Fault(
        "S10",
        "Rows were padded at the left and positions counted from the padding, so that log-probs depended on the "
        "company.",
        _seen("OpenRLHF/OpenRLHF#217", f"{_TRL}#469", f"{_TRL}#6800"),
        (
            seed(
                edit(
                    "harness.lm.score.packing",
                    "positions[tail] = completions.ids[r, k, t], prompts.lengths[r] + t",
                    "positions[tail] = completions.ids[r, k, t], starts[r, k] + t",
                ),
                f"{_SCORING}test_values_and_gradients_are_those_of_each_sequence_alone[gpt2-sdpa]",
            ),
            seed(
                edit(
                    "harness.lm.decode.copied",
                    "masked_fill(~real, 0), (places - behind).clamp(min=0)\n",
                    "masked_fill(~real, 0), places.expand_as(real)\n",
                ),
                _COPIED,
            ),
        ),
    ),
    Fault(
        "S11",
        "In generation rows were padded at the wrong side, and answers continued padding.",
        _seen("allenai/open-instruct#75", f"{_HF}#26569"),
        (
            seed(
                edit(
                    "harness.lm.decode.copied",
                    "        behind = width - lengths[:, None]\n        real = places >= behind\n",
                    "        behind = torch.zeros_like(lengths[:, None])\n        real = places < lengths[:, None]\n",
                ),
                _COPIED,
            ),
        ),
    ),
    Fault(
        "S12",
        "The reward was read at the wrong token under padding, and a score was put on the first padded place.",
        _seen(f"{_TRL}#2778", f"{_TRL}#p5338"),
        (
            seed(
                edit(
                    "harness.lm.score.logprobs",
                    "    last = (longer.lengths.view(-1) - 1)[packed.places // longer.ids.shape[2]]\n",
                    "    last = (longer.lengths.view(-1) - 2).clamp(min=0)[packed.places // longer.ids.shape[2]]\n",
                ),
                "tests/lm/score/test_reward_model.py::test_final_states_and_gradients_are_those_of_each_sequence_alone[gpt2]",
            ),
            seed(
                edit(
                    "harness_plugins.methods.ppo.method",
                    "token_rewards(kl, scores, (places.lengths - 1).clamp(min=0), self.kl_coef)",
                    "token_rewards(kl, scores, torch.full_like(places.lengths, states.shape[2] - 1), self.kl_coef)",
                ),
                "tests/methods/test_ppo.py::test_two_steps_equal_the_oracle_s",
            ),
        ),
    ),
    Fault(
        "S13",
        "Padding counted in losses, KL, returns or the statistics of whitening.",
        _seen("verl-project/verl#3805", "natolambert/rlhf-book#p216", f"{_TRL}#p1625"),
        (
            seed(
                edit(
                    "harness_plugins.methods.ppo.losses",
                    "    mean = total(torch.where(mask, x, 0.0).sum()) / count\n    centred",
                    "    mean = total(torch.where(mask, x, 0.0).mean())\n    centred",
                ),
                "tests/methods/test_ppo_formulas.py::test_whitening",
                "tests/methods/test_ppo.py::test_more_padding_and_garbage_in_it_change_nothing",
            ),
            seed(
                edit(
                    "harness_plugins.methods.building_blocks.candidates",
                    "    sums = torch.where(mask, values, torch.zeros_like(values)).sum(-1)\n"
                    "    return sums / mask.sum(-1).clamp(min=1) if length_norm else sums\n",
                    "    sums = torch.where(mask, values, torch.zeros_like(values)).sum(-1)\n"
                    "    return sums / mask.shape[-1] if length_norm else sums\n",
                ),
                f"{_IDENTITIES}test_padding_has_no_say",
            ),
        ),
    ),
    Fault(
        "S14",
        "A place was masked by multiplying with 0, which leaves NaN where the value there is not finite.",
        _seen("OpenRLHF/OpenRLHF#p1240", "NVIDIA-NeMo/RL#p4120"),
        (
            seed(
                edit(
                    "harness.lm.score.log_softmax",
                    "below = (scaled - top[:, None]).clamp_(min=-1e30) if params.entropy else None",
                    "below = (scaled - top[:, None]) if params.entropy else None",
                ),
                "tests/lm/score/test_entropy.py::test_an_id_without_a_token_adds_nothing",
            ),
        ),
    ),
    Fault(
        "S15",
        "Dropout was on where policy and reference were compared, so that the first step's ratio was not 1 and DPO's "
        "loss not ln 2.",
        _seen(f"{_TRL}#744", f"{_TRL}#3500"),
        (
            seed(
                edit("harness.lm.model.backbone", "    module.train(dropout)\n", "    module.train(True)\n"),
                f"{_SCORING}test_dropout_is_on_only_where_asked_for[gpt2]",
            ),
            seed(
                edit(
                    "harness_plugins.methods.ppo.method",
                    "            logp = run.logprobs(batch, places, temperature=temperature, dropout=False)\n",
                    "            logp = run.logprobs(batch, places, temperature=temperature)\n",
                ),
                "tests/methods/test_ppo.py::test_the_first_update_starts_at_ratio_1_and_kl_0_with_dropout_in_the_model",
            ),
        ),
    ),
    Fault(
        "S16",
        "Where training started from an adapter, the reference was the bare base model and not the start.",
        _seen(f"{_TRL}#1340", f"{_TRL}#p6591"),
        (
            seed(
                edit(
                    "harness.models.adapter",
                    "        if not any(bool(layer.lora_B[_TRAINED].weight.any()) for layer in layers):\n"
                    "            return\n",
                    "        if layers:\n            return\n",
                ),
                "tests/training/test_adapter.py::test_dpo_from_an_adapter_that_is_not_zero_begins_at_log_2",
            ),
        ),
    ),
    Fault(
        "S17",
        "Log-probs of samples were computed at another temperature than the one that drew them.",
        _seen(f"{_TRL}#4159", f"{_TRL}#6789", f"{_TRL}#p3867"),
        (
            seed(
                edit(
                    "harness.training.services",
                    "        params = ScoringParams(temperature, dtype, hidden=hidden, entropy=entropy)\n",
                    "        params = ScoringParams(1.0, dtype, hidden=hidden, entropy=entropy)\n",
                ),
                "tests/training/test_temperature.py::test_they_are_those_of_a_forward_at_that_temperature",
            ),
        ),
        "A second engine that draws, whose numbers differ from the trainer's: the model that is trained is the one "
        "that samples (`harness/lm`), and log-probs of samples are computed by the training forward.",
    ),
    Fault(
        "S18",
        "The engine that samples still had the weights of an earlier step.",
        _seen(f"{_TRL}#5312"),
        (
            seed(
                edit(
                    "harness.lm.model.packed_linear",
                    "            or _versions(module) != versions\n",
                    "",
                ),
                "tests/lm/model/test_packed_linear.py::test_a_weight_that_changes_is_taken_as_it_is[float32-in place]",
            ),
        ),
        "A second engine with a copy of the weights: there is none. What is copied, the packed layout of decoding, is "
        "the seed.",
    ),
    Fault(
        "S19",
        "PPO's ratio was not 1 before the first update, because padding differed between the two forwards.",
        _seen("NVIDIA/NeMo-Aligner#68"),
        (
            seed(
                edit(
                    "harness_plugins.methods.ppo.method",
                    "            logp=torch.where(acting, logp, 0.0),\n",
                    "            logp=torch.where(acting.flip(-1), logp, 0.0),\n",
                ),
                "tests/methods/test_ppo.py::test_the_first_update_starts_at_ratio_1_and_kl_0_with_dropout_in_the_model",
            ),
        ),
    ),
    Fault(
        "S20",
        "The KL had the wrong sign, and was maximised; or it stood in the loss in a form whose expected gradient is 0.",
        _seen("Unakar/Logic-RL#58", "NVIDIA-NeMo/RL#p2506", "verl-project/verl#p2953"),
        (
            seed(
                edit(
                    "harness_plugins.methods.ppo.losses",
                    "    x = logp - reference\n",
                    "    x = reference - logp\n",
                ),
                "tests/methods/test_ppo_formulas.py::test_golden_numbers_of_the_kl",
                "tests/methods/test_ppo_formulas.py::test_k1_in_the_reward_is_the_gradient_of_the_kl",
            ),
            seed(
                edit(
                    "harness_methods.grpo",
                    'shares["kl"] = o.beta * (kl.sum(-1) * weights).sum()',
                    'shares["kl"] = o.beta * ((logp - stored["reference"].double()).where(mask, 0.0).sum(-1) * '
                    "weights).sum()",
                ),
                "plugins/harness-methods/tests/test_grpo.py::test_loss_and_gradient_equal_the_oracle",
            ),
        ),
    ),
    Fault(
        "S21",
        "RRHF's code divided every candidate by the padded length after editing the labels in place, and fine-tuned "
        "on the first row of a batch alone.",
        _seen("GanjinZero/RRHF#51"),
        (
            seed(
                edit(
                    "harness_plugins.methods.rrhf.method",
                    "        if self.options.compat.rank_padded_bug:\n",
                    "        if self.options.length_norm:\n",
                ),
                f"{_ORACLES}[rrhf]",
            ),
            seed(
                edit(
                    "harness_plugins.methods.rrhf.method",
                    '{"sft": supervised_loss(target, sft_weights), "rrhf": share}',
                    '{"sft": supervised_loss(target[:1], sft_weights[:1]), "rrhf": share}',
                ),
                f"{_ORACLES}[rrhf]",
            ),
            seed(
                edit(
                    "harness_plugins.methods.rrhf.method",
                    "        lengths = counted.sum(-1)\n",
                    "        lengths = ranked.lengths.clamp_(min=1)\n",
                ),
                f"{_IDENTITIES}test_inputs_are_not_changed",
                f"{_ORACLES}[rrhf]",
            ),
        ),
    ),
    Fault(
        "S22",
        "Log-probs were summed where the formula has a mean, or divided by the length 0 of an empty answer.",
        _seen("OpenRLHF/OpenRLHF#701", "allenai/open-instruct#p1625"),
        (
            seed(
                edit(
                    "harness_plugins.methods.rrhf.method",
                    "        return lengths.clamp(min=1).double() ** self.options.length_penalty\n",
                    "        return lengths.double() ** self.options.length_penalty\n",
                ),
                f"{_ORACLES}[rrhf]",
            ),
            seed(
                edit(
                    "harness_plugins.methods.dpo.losses",
                    '    if loss_type == "ipo":\n',
                    '    if loss_type == "ipo_summed":\n',
                ),
                "tests/methods/test_dpo.py::test_golden_numbers",
            ),
        ),
    ),
    Fault(
        "S23",
        "An absent reward became 0, which moves the baseline of its group; answers that were never drawn counted in "
        "means.",
        _seen(f"{_TRL}#p5902", "OpenRLHF/OpenRLHF#p1239", "modelscope/ms-swift#8123"),
        (
            seed(
                edit(
                    "harness.training.rewards",
                    "        if value is None:\n            checked.append(math.nan)\n",
                    "        if value is None:\n            checked.append(0.0)\n",
                ),
                "tests/training/test_rewards.py::test_values_keep_their_places_and_none_is_absent",
            ),
            seed(
                edit(
                    "harness.api.types",
                    "/ self.counts[:, None].clamp(min=1)\n\n    def centred",
                    "/ self.present.shape[1]\n\n    def centred",
                ),
                f"{_IDENTITIES}test_a_missing_reward_equals_a_group_without_that_member",
            ),
        ),
    ),
    Fault(
        "S24",
        "The log left NaN out of its means, and training went on.",
        _seen(f"{_TRL}#6702"),
        (
            seed(
                edit(
                    "harness.training.updates",
                    "        bad = {name: str(value) for name, value in update.losses.items() if not "
                    "math.isfinite(value)}\n",
                    "        bad: dict[str, str] = {}\n",
                ),
                f"{_LOOP}test_divergence_is_refused_before_anything_moves",
            ),
            seed(
                edit(
                    "harness.training.updates",
                    "            if not math.isfinite(update.grad_norm):\n",
                    "            if update.grad_norm < 0:\n",
                ),
                f"{_LOOP}test_divergence_is_refused_before_anything_moves",
            ),
        ),
    ),
    Fault(
        "S25",
        "With several processes the learning-rate schedule was stepped once for each of them.",
        _seen("huggingface/accelerate#2926", f"{_HF}#p24088"),
        (
            seed(
                edit(
                    "harness.training.loop",
                    "        updater.rate, updater.peak = self.extent.rate(step)\n",
                    "        updater.rate, updater.peak = self.extent.rate(min(step * self.ranks.world, "
                    "self.first + 5))\n",
                ),
                f"{_RANKS}test_the_learning_rate_of_a_step_does_not_depend_on_the_number_of_ranks",
            ),
        ),
    ),
    Fault(
        "S26",
        "When memory ran out the batch became smaller and the number of accumulation steps stayed, so that fewer rows "
        "made a step.",
        _seen("EuroEval/EuroEval#22", "mosaicml/composer#p1081"),
        (
            seed(
                edit(
                    "harness.training.updates",
                    "            cut = self.ranks.even(self.batcher.cut(costs))\n            rewind",
                    "            cut = self.ranks.even(self.batcher.cut(costs))\n"
                    "            cut = cut[: max(1, len(cut) >> self.batcher.halvings)]\n            rewind",
                ),
                f"{_LOOP}test_running_out_of_memory_halves_the_part_and_keeps_the_step",
            ),
        ),
    ),
    Fault(
        "S27",
        "One process ran out of memory and began again by itself, while the others waited for it in another exchange.",
        _seen("mosaicml/composer#p2117"),
        (
            seed(
                edit(
                    "harness.training.updates",
                    "            worst = self.ranks.worst(0 if attempt is not None else 2 if alone else 1)\n",
                    "            worst = 0 if attempt is not None else 2 if alone else 1\n",
                ),
                f"{_RANKS}test_a_rank_that_has_memory_halves_its_parts_with_one_that_has_none",
            ),
        ),
    ),
    Fault(
        "S28",
        "Rows of an evaluation were repeated or lost where their number was no multiple of processes times batch.",
        _seen("huggingface/accelerate#575", "huggingface/accelerate#125", f"{_EVAL}#1719"),
        (
            seed(
                edit(
                    "harness.in_parts",
                    "    return [sorted(part) for part in parts]\n",
                    "    return [sorted(part) for part in parts if len(part) == len(parts[0])]\n",
                ),
                "tests/test_in_parts.py::test_parts_hold_every_row_once_and_fit",
                says="AssertionError|assert|KeyError",
            ),
        ),
        "Rows shared out to processes: a stage that answers or scores is one process (`harness/stages/generate.py`).",
    ),
    Fault(
        "S29",
        "An answer or a score depended on the rows that shared its batch.",
        _seen(f"{_EVAL}#704", f"{_EVAL}#3055", "ml-explore/mlx-lm#p1855"),
        (
            seed(
                edit(
                    "harness.lm.decode.sampling",
                    "            keys = row_keys(noise, [ids[row] for row in rows.tolist()], candidates, "
                    "policy.device).view(-1)\n",
                    "            keys = row_keys(noise, [str(place) for place in range(len(part))], candidates, "
                    "policy.device).view(-1)\n",
                ),
                f"{_SAMPLING}test_texts_do_not_depend_on_the_batch[gpt2]",
            ),
        ),
    ),
    Fault(
        "S30",
        "The key of a cache left out something that changes the result: the model, the seed, the decoding.",
        _seen(f"{_EVAL}#4063", f"{_EVAL}#3881", "huggingface/lighteval#1053"),
        (
            seed(
                edit(
                    "harness.plan.graph",
                    "    return digest(config.to_json())\n",
                    '    return digest({name: value for name, value in config.to_json().items() if name != "seed"})\n',
                ),
                "tests/plan/test_ids.py::test_what_can_change_a_result_changes_an_id",
            ),
            seed(
                edit(
                    "harness.training.reference_model",
                    "list(memo.keys(batch.ids, settings, completions))",
                    "list(memo.keys(batch.ids, settings))",
                ),
                "tests/training/test_services.py::test_reference_logprobs_are_the_reference_s",
                "tests/training/test_reference.py::test_anything_else_is_asked_of_the_reference_model_itself",
            ),
        ),
    ),
    Fault(
        "S31",
        "After a restart the rows came in another order.",
        _seen("wyim-pgl/transgenic#59", "huggingface/accelerate#2016", "huggingface/accelerate#2823"),
        (
            seed(
                edit(
                    "harness.training.loop",
                    "        self.step, place, extra = state\n",
                    "        self.step, place, extra = state\n"
                    "        self.order = Order([row.id for row in self.rows], seed=plan.seed + 1, "
                    "batch_size=self.order.batch_size)\n",
                ),
                f"{_LOOP}test_a_stopped_segment_goes_on_bit_for_bit",
            ),
        ),
    ),
    Fault(
        "S32",
        "Packed sequences attended to each other, or their positions ran on.",
        _seen(f"{_TRL}#805", f"{_TRL}#784", "huggingface/nanoVLM#p204"),
        (
            seed(
                edit(
                    "harness.lm.score.trees",
                    "                before = 0 if place == first else tree.prompt\n",
                    "                before = 0 if place == 0 else self.trees[0].prompt\n                first = 0\n",
                ),
                f"{_SCORING}test_neither_padding_nor_company_nor_order_changes_a_value[gpt2]",
                "tests/lm/score/test_trees.py::test_values_and_gradients_are_those_of_the_definition",
            ),
        ),
    ),
    Fault(
        "S33",
        "Sampling took temperature, top-k or a penalty from the checkpoint's generation settings.",
        _seen("vllm-project/vllm#15241", f"{_EVAL}#p2797"),
        (
            seed(
                edit(
                    "harness.lm.decode.sampling",
                    "    params.check()\n    check_prompts",
                    "    params = SamplingParams(params.temperatures, getattr(policy.model.generation_config, "
                    '"max_length", 0) or 3)\n    params.check()\n    check_prompts',
                ),
                f"{_SAMPLING}test_settings_of_a_checkpoint_have_no_effect",
                f"{_SAMPLING}test_completions_end_with_eos_or_at_the_limit",
            ),
            seed(
                edit(
                    "harness.lm.model.policy",
                    "        _forget_generation(self.model, tokeniser)\n",
                    "",
                ),
                "tests/lm/model/test_policy.py::test_the_generation_settings_of_a_checkpoint_are_ignored",
            ),
        ),
    ),
    Fault(
        "S34",
        "One name stood for two implementations of a metric, which differed by nine points of ROUGE-L.",
        _seen("google-research/google-research#168", "huggingface/datasets#617"),
        (
            seed(
                edit(
                    "harness_plugins.text.rouge",
                    "if self._stem is not None and len(word) > _UNSTEMMED else word",
                    "if self._stem is not None else word",
                ),
                "tests/text/test_rouge.py::test_words_of_three_characters_are_not_stemmed",
            ),
            seed(
                edit("harness_plugins.text.rouge", "_WORD.findall(text)", "text.split()"),
                "tests/text/test_rouge.py::test_bit_equal_to_rouge_score_on_random_pairs",
                "tests/text/test_rouge.py::test_golden",
            ),
        ),
    ),
    Fault(
        "S35",
        "A judge's failure was a score: the least, a tie or 0; and verdicts were kept under a key that left out what "
        "they depend on.",
        _seen("openai/evals#1712", "lm-sys/FastChat#p2074"),
        (
            seed(
                edit(
                    "harness_plugins.metrics.win_rate.comparison",
                    "        return None if outcome.choice is None else 0.5\n",
                    "        return 0.5\n",
                ),
                "tests/metrics/win_rate/test_endpoint.py::test_what_is_no_verdict_is_missing_counted_and_bought_once",
                "tests/metrics/win_rate/test_comparison.py::test_one_order",
            ),
            seed(
                edit(
                    "harness_plugins.metrics.win_rate.endpoint",
                    '"body": body, **how})',
                    '"body": [body["model"], comparison.prompt, comparison.first], **how})',
                ),
                "tests/metrics/win_rate/test_endpoint.py::test_an_honest_judge",
            ),
        ),
    ),
    Fault(
        "S36",
        "A fault made the baseline worse, and half of a method's gain was that fault.",
        _seen("princeton-pli/retaining-by-doing#5"),
        (
            seed(
                edit(
                    "harness.training.optimiser",
                    "        self._optimizer.step()\n",
                    "        self._optimizer.step()\n"
                    "        for group in self._optimizer.param_groups:\n"
                    '            for parameter in group["params"]:\n'
                    "                parameter.data.mul_(1 - 1e-6)\n",
                ),
                f"{_LOOP}test_a_learning_rate_of_zero_keeps_every_bit",
            ),
            seed(
                edit(
                    "harness.lm.model.policy",
                    "        untyped.eval()\n",
                    "        untyped.train()\n",
                ),
                "tests/lm/model/test_policy.py::test_attributes",
                f"{_SAMPLING}test_greedy_is_what_transformers_generates[gpt2]",
            ),
        ),
    ),
)
