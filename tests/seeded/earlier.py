"""H1 to H34: faults that an earlier version of this project had, each put into the code of today."""

from __future__ import annotations

from typing import Final

from seeded.fault import Fault, edit, seed

_NEEDS = "tests/report/test_claim_needs.py::"
_DIFFERENCES = "tests/report/test_differences.py::"
_ABSENT = "tests/report/test_absent.py::"
_WARNINGS = "tests/execution/test_warnings.py::"
_MISTAKES = "tests/testing/test_mistakes.py::test_methods"

EARLIER: Final = (
    Fault(
        "H1",
        "Perplexity of a part: a scorer left room for the longest prompt that the file allows, and cut answers that "
        "fit behind their own.",
        seeds=(
            seed(
                edit(
                    "harness.stages.nll",
                    "EncodingParams(max_prompt=longest, max_completion=sys.maxsize, training=False, train_eos=eos)",
                    "EncodingParams(max_prompt=longest, max_completion=positions - longest if positions else "
                    "sys.maxsize, training=False, train_eos=eos)",
                ),
                "tests/stages/test_nll.py::test_the_configured_prompt_length_takes_nothing_from_an_answer",
            ),
        ),
    ),
    Fault(
        "H2",
        "A claim of a paper was supported by nothing: in 0 of 0 places, or without a rival that had failed.",
        seeds=(
            seed(
                edit(
                    "harness.report.claims.evidence",
                    '        return Finding("undecided", "nothing of it was measured")\n',
                    '        return Finding("supported", "in 0 of 0")\n',
                ),
                edit(
                    "harness.report.claims.needs",
                    '        return "no such row"\n',
                    '        return ""\n',
                ),
                edit(
                    "harness.report.claims.needs",
                    "        return FAILED\n    if not value.column:\n",
                    '        return ""\n    if not value.column:\n',
                ),
                f"{_NEEDS}TestARivalWithoutAValue::test_that_failed",
            ),
        ),
    ),
    Fault(
        "H3",
        "That more of an option helps was read off a slope, over rows that differed in more than the option.",
        seeds=(
            seed(
                edit(
                    "harness.report.claims.evidence",
                    '    if finding.word == "supported" and back:\n',
                    '    if finding.word == "never" and back:\n',
                ),
                f"{_NEEDS}TestATrend::test_that_steps_back_by_as_much_as_it_rises_is_none_even_where_no_test_tells",
            ),
            seed(
                edit(
                    "harness.report.claims.needs",
                    "            same = row.model_dump(exclude=set(_OWN))\n",
                    "            same: dict[str, Any] = {}\n",
                ),
                f"{_NEEDS}TestATrend::test_is_over_rows_that_differ_in_nothing_else",
            ),
        ),
    ),
    Fault(
        "H4",
        "Two tests decided whether rows differ, each blind to the variance that the other saw; equal rows were called "
        "different twice as often as promised.",
        seeds=(
            seed(
                edit(
                    "harness.report.components",
                    "    seed = np.maximum(by_seed**2 * variances.by_seed / seeds, by_prompt**2 * noise)\n",
                    "    seed = by_prompt**2 * noise\n",
                ),
                f"{_DIFFERENCES}TestLuck::test_of_seeds_alone_is_no_win",
                f"{_DIFFERENCES}TestTheWorkedExample::test_written_out_by_hand",
            ),
        ),
    ),
    Fault(
        "H5",
        "Two seeds had an interval, which meant nothing; intervals left the range that a score can have.",
        seeds=(
            seed(
                edit(
                    "harness.report.differences",
                    "    if note and not (note == ONE_SEED and",
                    "    if note and not (note in {ONE_SEED, TWO_SEEDS} and",
                ),
                edit(
                    "harness.report.differences",
                    "    if note == ONE_SEED:\n        error",
                    "    if note in {ONE_SEED, TWO_SEEDS}:\n        error",
                ),
                f"{_DIFFERENCES}TestFewSeeds::test_two_have_both_differences_and_no_interval",
            ),
            seed(
                edit(
                    "harness.report.differences",
                    "    return max(low, min(bounds[0], centre)), min(high, max(bounds[1], centre))\n",
                    "    return low, high\n",
                ),
                f"{_DIFFERENCES}TestARowsOwnInterval::test_stays_within_what_is_possible",
            ),
        ),
    ),
    Fault(
        "H6",
        "The norm of a method's own gradient was the mean over its terms: half of it where one of two only logs.",
        seeds=(
            seed(
                edit(
                    "harness.report.training",
                    "    if len(own) < 2:\n        return norms[own[0]] if own else None\n",
                    "    if own:\n        return sum(norms[name] for name in own) / len(own)\n",
                ),
                f"{_ABSENT}test_a_methods_own_gradient_is_that_of_all_its_terms_together",
            ),
        ),
    ),
    Fault(
        "H7",
        "What a worker warned of reached nobody.",
        seeds=(
            seed(
                edit(
                    "harness.execution.warning_capture",
                    "        self.texts.append(text)\n        self._tell(text)\n",
                    "",
                ),
                f"{_WARNINGS}test_one_stage_hears_itself_alone",
            ),
        ),
    ),
    Fault(
        "H8",
        "A supervised start trained on rows of which none had a target, with a gradient of 0 and no word about it.",
        seeds=(
            seed(
                edit(
                    "harness.execution.row_checks",
                    "    if any(example.demonstration is not None for example in examples):\n",
                    "    if examples:\n",
                ),
                "tests/execution/test_row_checks.py::test_rows_without_a_single_demonstration_are_refused",
            ),
        ),
    ),
    Fault(
        "H9",
        "The shared start learnt completions that the data mark as undesirable.",
        seeds=(
            seed(
                edit(
                    "harness.text.encode",
                    "        if self.label is False:\n            return None\n",
                    "",
                ),
                "tests/text/test_encode.py::test_labels_are_those_that_are_declared",
            ),
            seed(
                edit(
                    "harness.api.types",
                    "        if self.label is False:\n            return None\n",
                    "",
                ),
                "tests/execution/test_row_checks.py::test_rows_without_a_single_demonstration_are_refused",
            ),
        ),
    ),
    Fault(
        "H10",
        "A warm-up was longer than the run, so that the learning rate never left the ground, and nobody said so.",
        seeds=(
            seed(
                edit(
                    "harness.training.schedule",
                    "        if self.peak > 0 and self.warmup_steps and 0 < steps < self.warmup_steps:\n",
                    "        if self.peak > 0 and self.warmup_steps and 0 < steps < 0:\n",
                ),
                "tests/plan/test_schedules.py::test_a_warmup_is_longer_than_the_rows_allow",
                says="not enough values to unpack",
            ),
        ),
    ),
    Fault(
        "H11",
        "ROUGE was 0 for every answer in a script of which it reads no letter.",
        seeds=(
            seed(
                edit(
                    "harness_plugins.text.rouge",
                    "    return any(character.isalnum() for character in text) and "
                    "_WORD.search(text.lower()) is None\n",
                    "    return False\n",
                ),
                "tests/metrics/test_languages.py::test_rouge_has_no_value_for_what_it_cannot_read",
            ),
        ),
    ),
    Fault(
        "H12",
        "Answers depended on the batch: a model that takes padding for text was padded, and LongRoPE changed its "
        "factors with the longest row.",
        seeds=(
            seed(
                edit(
                    "harness.lm.way",
                    "        return any(probe(policy, Copied, _uneven(policy), first=first) for first in FIRST_IDS)\n",
                    "        return True\n",
                ),
                "tests/lm/model/test_suitability.py::test_a_model_that_counts_padding_is_decoded_one_prompt_at_a_time",
                says="AssertionError|InputError: m: the model cannot be used here",
            ),
            seed(
                edit(
                    "harness.lm.model.architectures",
                    '        if part.get("rope_type") == "longrope" and',
                    '        if part.get("rope_type") == "never" and',
                ),
                "tests/lm/model/test_suitability.py::test_a_context_ends_where_rotary_factors_depend_on_other_rows",
            ),
        ),
    ),
    Fault(
        "H13",
        "A judge by rule gave two prompts with equal texts and other references one verdict.",
        seeds=(
            seed(
                edit(
                    "harness_plugins.metrics.win_rate.offline",
                    '        return tuple(sample.references) if self._rule == "rouge-l" else None\n',
                    "        return None\n",
                ),
                "tests/metrics/win_rate/test_comparison.py::"
                "test_equal_texts_with_other_references_have_verdicts_of_their_own",
            ),
        ),
    ),
    Fault(
        "H14",
        "Tables said of rows that were alike that they were not, showed a spread of 0 where there was one sample, and "
        "called failed what only was not stored.",
        seeds=(
            seed(
                edit(
                    "harness.report.run_setup",
                    "        if any(len(versions) > 1 for versions in values.values()):\n",
                    "        if len(distinct) > 1:\n",
                ),
                f"{_ABSENT}test_two_processes_that_train_are_no_difference_between_rows",
            ),
            seed(
                edit(
                    "harness.report.absent",
                    "    return FAILED if seed in row.failures or not all(described.train) else NOT_STORED\n",
                    "    return FAILED\n",
                ),
                f"{_ABSENT}test_a_row_whose_stages_are_gone_did_not_fail",
            ),
        ),
    ),
    Fault(
        "H15",
        "Whether numbers were equal to the bit depended on the machine: a product rounds otherwise with one thread "
        "than with two.",
        seeds=(
            seed(
                edit(
                    "harness.stages.environment",
                    "    torch.set_num_threads(request.runtime.threads)\n",
                    "",
                ),
                "tests/stages/test_environment.py::test_a_stage_has_the_threads_that_it_says",
            ),
        ),
    ),
    Fault(
        "H16",
        '`harness report`, run where the store was not, replaced every number of the tables by "not stored".',
        seeds=(
            seed(
                edit(
                    "harness.report.write",
                    "    if missing:\n        raise InputError(",
                    "    if missing < 0:\n        raise InputError(",
                ),
                "tests/cli/test_report.py::test_a_copy_without_its_store_is_refused_and_stays_as_it_is",
            ),
        ),
    ),
    Fault(
        "H17",
        "`harness status --verify` missed half of the damage, and commands that only read moved damaged stages away.",
        seeds=(
            seed(
                edit(
                    "harness.store.verify",
                    "            damages = [seen.known_as(label)]\n",
                    "            damages = []\n",
                ),
                "tests/store/test_corruption.py::test_what_is_wrong_is_told_and_left[manifest.json-None-manifest]",
            ),
            seed(
                edit(
                    "harness.store.stages",
                    "        seen = self.look(kind, stage_id)\n"
                    "        return None if isinstance(seen, Damage) else seen\n",
                    "        seen = self.look(kind, stage_id)\n"
                    "        if isinstance(seen, Damage):\n"
                    "            self.quarantine(seen)\n"
                    "        return None if isinstance(seen, Damage) else seen\n",
                ),
                "tests/store/test_looking.py::test_a_damaged_stage_stays_where_it_is",
            ),
        ),
    ),
    Fault(
        "H18",
        "The cache of compiled kernels was never checked: a flipped bit made losses and answers silently wrong.",
        seeds=(
            seed(
                edit(
                    "harness.plugins.syntax",
                    "        if seal != hashlib.sha256(content).hexdigest().encode():\n            return {}\n",
                    "",
                ),
                "tests/plugins/test_closure.py::test_a_damaged_or_edited_cache_is_left_out_of_account_and_replaced",
                says="AssertionError|JSONDecodeError|assert",
            ),
        ),
        impossible="The cache itself: nothing is compiled ([decision](adr/two-ways-through-a-model.md)). The seed is "
        "in its sibling, the cache of syntax trees that ids are made from.",
    ),
    Fault(
        "H19",
        "A stalled process held the run up for ever, a worker that died in preparation ended it, and a scheduler's "
        "warning killed.",
        seeds=(
            seed(
                edit(
                    "harness.execution.pool",
                    "            if stalled is not None:\n                self.replace(worker)\n",
                    "            if stalled is not None and not worker.ranks:\n                self.replace(worker)\n",
                ),
                "tests/execution/test_heartbeat.py::test_a_process_that_sends_no_heartbeat_is_ended_and_told",
            ),
            seed(
                edit(
                    "harness.execution.rehearsal",
                    'if failed is not None and failed["died"] else failed\n',
                    "if failed is None else failed\n",
                ),
                "tests/execution/test_pool.py::test_an_inspection_whose_process_dies_is_made_once_more",
            ),
            seed(
                edit(
                    "harness.execution.interrupt",
                    "        if number == KEEP:\n            flag.ask()\n        else:\n",
                    "        if number:\n",
                ),
                "tests/execution/test_interrupt.py::test_a_schedulers_first_warning_asks_to_keep_and_ends_nothing",
                says="Interrupted",
            ),
        ),
    ),
    Fault(
        "H20",
        "States were kept every 500 steps, whatever a step took, and nothing of long answering or scoring.",
        seeds=(
            seed(
                edit(
                    "harness.training.loop",
                    "        return asked or late or bool(steps and",
                    "        return asked or bool(steps and",
                ),
                "tests/training/test_loop.py::test_a_state_is_due_by_time_whatever_the_steps",
                says="FileNotFoundError.*state",
            ),
            seed(
                edit(
                    "harness.store.parts",
                    "            self._write()\n            self._written = time.monotonic()\n",
                    "            self._new.clear()\n            self._written = time.monotonic()\n",
                ),
                "tests/store/test_parts.py::test_what_was_kept_is_not_computed_again_and_is_the_same",
            ),
        ),
    ),
    Fault(
        "H21",
        "Read-only results, limits on files, rewards beyond all numbers and metrics that return nothing ended in a "
        "traceback, or in numbers that nobody had announced.",
        seeds=(
            seed(
                edit(
                    "harness.training.rewards",
                    "        if abs(number) > _LARGEST:\n",
                    "        if abs(number) > math.inf:\n",
                ),
                "tests/training/test_rewards.py::test_a_reward_beyond_single_precision_names_the_part_and_the_example",
            ),
            seed(
                edit(
                    "harness.stages.scoring",
                    "            if column not in known:\n",
                    "            if column is None:\n",
                ),
                "tests/stages/test_score.py::test_what_is_no_result_is_one_message",
            ),
            seed(
                edit(
                    "harness.stages.scoring",
                    "    if not isinstance(result, MetricResult):\n",
                    "    if result is Ellipsis:\n",
                ),
                "tests/stages/test_score.py::test_what_is_no_result_is_one_message",
                says="AttributeError|AssertionError|Failed",
            ),
            seed(
                edit(
                    "harness.store.files",
                    "_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}\n",
                    "_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT}\n",
                ),
                "tests/store/test_stages.py::TestARefusalOfTheMachine::test_a_file_that_may_not_grow",
            ),
            seed(
                edit(
                    "harness.report.write",
                    "        if not error.read_only:\n            raise\n",
                    "        if error is not None:\n            raise\n",
                ),
                "tests/cli/test_report.py::test_tables_are_printed_where_nothing_may_be_written",
            ),
        ),
    ),
    Fault(
        "H22",
        "The digest of the code in a stage's id left out modules that the stage runs, and changed with a comment.",
        seeds=(
            seed(
                edit(
                    "harness.plugins.closure",
                    "            if names and self._search(start) is not None:  # a name may be a module of it\n",
                    "            if not names and self._search(start) is not None:\n",
                ),
                "tests/plugins/test_closure.py::test_exactly_the_closure_counts",
            ),
            seed(
                edit(
                    "harness.plugins.syntax",
                    "        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)\n",
                    "        return False\n",
                ),
                "tests/plugins/test_closure.py::test_what_changes_nothing_does_not_count",
            ),
        ),
    ),
    Fault(
        "H23",
        "Name and version of somebody else's plugin stood nowhere in the results.",
        seeds=(
            seed(
                edit(
                    "harness.report.plugins",
                    "        if plugin.distribution != _OWN:\n            guests",
                    "        if not plugin.distribution:\n            guests",
                ),
                "tests/report/test_plugins.py::test_others_are_named_with_their_rows",
            ),
        ),
    ),
    Fault(
        "H24",
        "A model that keeps a state in its layers was trained, and failed when it was to answer.",
        seeds=(
            seed(
                edit(
                    "harness.stages.suitability",
                    "    return probe(policy, make, first=first)\n",
                    "    return bool(make) or probe(policy, make, first=first)\n",
                ),
                "tests/lm/model/test_suitability.py::test_one_that_keeps_it_in_its_layers_is_refused_before_training",
            ),
        ),
    ),
    Fault(
        "H25",
        "The attention that the file asks for was dropped for models that are made from a configuration.",
        seeds=(
            seed(
                edit(
                    "harness.lm.model.initialise",
                    "                    config, dtype=torch.float32, attn_implementation=spec.attention, "
                    "trust_remote_code=False\n",
                    "                    config, dtype=torch.float32, trust_remote_code=False\n",
                ),
                "tests/lm/model/test_suitability.py::"
                "test_attention_that_an_architecture_lacks_is_said_in_the_files_words",
            ),
        ),
    ),
    Fault(
        "H26",
        "Shards of a model on the hub that have other names than the usual ones were not fetched.",
        seeds=(
            seed(
                edit(
                    "harness.models.resolve",
                    "            names = [glob.escape(name) for name in shards(folder, where=where)]\n",
                    '            names = ["model-*.safetensors"] if glob else shards(folder, where=where)\n',
                ),
                "tests/lm/model/test_initialise.py::test_shards_have_the_names_that_the_index_gives",
                says="InputError|AssertionError|assert",
            ),
        ),
    ),
    Fault(
        "H27",
        "Replies of judges counted as no verdict for how they were dressed, were bought again in every run, and a "
        "quota that was used up was asked again and again.",
        seeds=(
            seed(
                edit(
                    "harness_plugins.metrics.win_rate.replies",
                    '    declined = choice.get("finish_reason") == "content_filter" or bool(message.get("refusal"))\n',
                    '    declined = choice.get("finish_reason") != "stop" or bool(message.get("refusal"))\n',
                ),
                "tests/metrics/win_rate/test_request.py::test_any_reason_and_any_form_of_content",
            ),
            seed(
                edit(
                    "harness_plugins.metrics.win_rate.replies",
                    "    spent = status == TOO_MANY and bool(codes & _SPENT)\n",
                    "    spent = False\n",
                ),
                "tests/metrics/win_rate/test_request.py::test_a_quota_that_is_used_up_does_not_pass",
            ),
            seed(
                edit(
                    "harness_plugins.metrics.win_rate.request",
                    '        lines = without_thought(reply).split("\\n")\n',
                    '        lines = reply.split("\\n")\n',
                ),
                "tests/metrics/win_rate/test_request.py::test_thinking_and_decoration_hide_no_verdict_and_make_none",
            ),
            seed(
                edit(
                    "harness_plugins.metrics.win_rate.endpoint",
                    "        return kept.outcome if kept.bought >= self._retry_before else None\n",
                    "        return None\n",
                ),
                "tests/metrics/win_rate/test_endpoint.py::test_what_is_no_verdict_is_missing_counted_and_bought_once",
            ),
        ),
    ),
    Fault(
        "H28",
        "A folder was taken for a name on the hub, and checkpoints that were saved lost all stop tokens but the first.",
        seeds=(
            seed(
                edit(
                    "harness.benchmark.data",
                    "    if folder is not None and described.path is None and",
                    "    if not described.name and folder is not None and described.path is None and",
                ),
                "tests/benchmark/test_resolve.py::test_a_folder_is_not_taken_for_a_name_on_the_hub",
                says="not enough values to unpack|AssertionError|Failed",
            ),
            seed(
                edit(
                    "harness.lm.model.policy",
                    "list(stops.ids) if len(stops.ids) > 1 else stops.ids[0]",
                    "stops.ids[0]",
                ),
                "tests/lm/decode/test_stops.py::test_stops_are_saved_with_the_model",
            ),
        ),
    ),
    Fault(
        "H29",
        "The work of planning grew as the square of the number of stages.",
        seeds=(
            seed(
                edit(
                    "harness.plan.planner",
                    "        if key in self.stages:\n            return self.stages[key]\n        identity",
                    "        for known in list(self.stages):\n            if stage_key(asked, parents) == known:\n"
                    "                return self.stages[known]\n        identity",
                ),
                "tests/cli/test_plan.py::test_the_work_of_planning_grows_as_the_number_of_stages_does",
            ),
        ),
    ),
    Fault(
        "H30",
        "A terminal that is not UTF-8 ended a run with a traceback after all work was done.",
        seeds=(
            seed(
                edit("harness.cli.terminal", "errors=kept)", "errors=kept and stream.errors)"),
                "tests/cli/test_terminal.py::test_what_a_streams_encoding_lacks_is_printed_in_other_words",
                says="UnicodeEncodeError|AssertionError|assert",
            ),
        ),
    ),
    Fault(
        "H31",
        'One bad row refused a whole file, other forms than JSON Lines were "broken JSON", and of a key that stood '
        "twice the last one won.",
        seeds=(
            seed(
                edit(
                    "harness_plugins.upstream.lines",
                    "                if bad is None:\n                    raise\n                bad(error)\n",
                    "                raise\n",
                ),
                "tests/datasets/test_forms.py::test_bad_rows_are_skipped_in_every_form",
                says="InputError",
            ),
            seed(
                edit("harness_plugins.upstream.lines", "    if len(row) < len(pairs):\n", "    if len(row) < 0:\n"),
                "tests/datasets/test_forms.py::test_what_is_wrong_is_said_with_its_place",
            ),
            seed(
                edit(
                    "harness_plugins.upstream.forms",
                    '    if start.startswith(b"["):\n        return "array"\n',
                    "",
                ),
                "tests/datasets/test_forms.py::test_every_form_gives_the_rows_of_json_lines",
                says="InputError|AssertionError",
            ),
        ),
    ),
    Fault(
        "H32",
        "What a plugin lacks was found after the supervised start: a function, a column, a need that it had not "
        "declared.",
        seeds=(
            seed(
                edit("harness.plugins.registry", "        check_members(kind, built, where)\n", ""),
                "tests/execution/test_rehearsal.py::test_a_method_that_cannot_be_used",
            ),
            seed(
                edit(
                    "harness.execution.rehearsal",
                    "        _rehearse(built, registration, where)\n",
                    "        assert _rehearse\n",
                ),
                "tests/execution/test_rehearsal.py::test_what_a_method_uses_is_declared",
            ),
        ),
    ),
    Fault(
        "H33",
        "The contract checks for methods let pass: a mean over the padded width, absent rewards as 0, needs that were "
        "not declared, logs that depend on micro-batches, a reference with dropout.",
        seeds=(
            seed(
                edit(
                    "harness.testing.methods",
                    '        bench.alike("garbage in the padding", plain, bench.run(_Garbage))\n',
                    "        pass\n",
                ),
                f"{_MISTAKES}[MeanOverPadding-needs0-garbage in the padding changes the weights]",
            ),
            seed(
                edit(
                    "harness.testing.methods",
                    '    if habits.groups and "absent" not in excused:\n',
                    '    if not habits and "absent" not in excused:\n',
                ),
                f"{_MISTAKES}[AbsentIsZero-needs3-an absent reward is used as a reward of 0: a candidate without one "
                "changes the weights]",
            ),
            seed(
                edit(
                    "harness.testing.methods",
                    "            if habits.noisy:\n",
                    "            if not habits:\n",
                ),
                f"{_MISTAKES}[OldWithDropout-needs12-it takes logprobs() with dropout on where no gradient is taken]",
            ),
        ),
    ),
    Fault(
        "H34",
        'A failure was said several times, and a time that nobody knew was "0 min".',
        seeds=(
            seed(
                edit(
                    "harness.execution.watch",
                    "        if first != _name(stage):\n",
                    "        if not first:\n",
                ),
                "tests/execution/test_watch.py::test_one_reason_is_told_once",
            ),
            seed(
                edit(
                    "harness.cli.plan",
                    '    if None in seconds:\n        return "unknown"\n',
                    "    seconds = [each or 0 for each in seconds]\n",
                ),
                "tests/cli/test_plan.py::test_unknown_ids_are_question_marks_and_nothing_is_written",
            ),
        ),
    ),
)
