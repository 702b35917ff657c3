"""The comparisons, each with what either side does and the ratio that the harness aims at."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from perf import real
from perf.evaluations import our_answers, plain_answers
from perf.flops import Count, matrix_peak
from perf.official import official_recipe
from perf.ours import Steps, our_step
from perf.pace import Side, interleave, timed
from perf.setting import TRL_WARM_UP, says
from perf.table import Measured
from perf.trl_trainers import THEIRS, Match, dpo, grpo, sft
from perf.whole import train_from_scratch, train_with_harness
from perf.workload import CANDIDATES, NEW_TOKENS, load, make_model

from harness.text.tokenise import Tokeniser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perf.pace import Turns
    from perf.setting import Setting

#: Families whose attention goes through transformers' interface, in one shape of three million parameters.
_FAMILIES = ("llama", "mistral", "phi3", "olmo2", "qwen3")
_FAMILY_SHAPE = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


def official_step(setting: Setting) -> list[Measured]:
    """(a) An ESO step against the official recipe's schedule."""
    found = []
    for key, aim in (("dolly", 4.2), ("xsum", 4.0)):
        task = setting.tasks[key]
        sides = {
            "ours": Side.of(our_step, setting.model, task, "eso"),
            "official": Side.of(official_recipe, setting.model, task, "eso", new_tokens=NEW_TOKENS),
        }
        seconds = setting.in_turns(sides)
        found.append(Measured.of(f"ESO step, {task.name}", says(task), seconds, other="official", aim=aim))
    return found


def grpo_step(setting: Setting) -> list[Measured]:
    """(b) An on-policy step, with and without the supervised term, against TRL's GRPO."""
    found = []
    for key, aim in (("dolly", 3.2), ("xsum", 3.5)):
        task = setting.tasks[key]
        flat = [1.0] * CANDIDATES
        sides = {
            "ours": Side.of(our_step, setting.model, task, "eso", use_sft_term=False, temperatures=flat),
            "with sft": Side.of(our_step, setting.model, task, "eso", temperatures=flat),
            THEIRS: Side(grpo, (Match(setting.folder, setting.model, task, TRL_WARM_UP + setting.rounds),)),
        }
        seconds = setting.in_turns(sides, warm_up=TRL_WARM_UP)
        beside = f"with the supervised term {seconds.ratio(THEIRS, 'with sft'):.2f}"
        found.append(
            Measured.of(f"on-policy step, {task.name}", says(task), seconds, other=THEIRS, aim=aim, note=beside)
        )
    return found


def sft_step(setting: Setting) -> list[Measured]:
    """(d) A supervised step against TRL's."""
    return [_against_trl(setting, "SFT", sft, "dolly", 3.0)]


def dpo_step(setting: Setting) -> list[Measured]:
    """(c) A DPO step on real pairs against TRL's, both with the reference model's log-probs computed beforehand."""
    return [_against_trl(setting, "DPO", dpo, "hh", 3.0)]


def _against_trl(
    setting: Setting, name: str, theirs: Callable[[Turns, Match], None], task_name: str, aim: float
) -> Measured:
    task = setting.tasks[task_name]
    rounds = 3 * setting.rounds  # its steps are short
    sides = {
        "ours": Side.of(our_step, setting.model, task, name.lower()),
        THEIRS: Side(theirs, (Match(setting.folder, setting.model, task, TRL_WARM_UP + rounds),)),
    }
    seconds = setting.in_turns(sides, rounds=rounds, warm_up=TRL_WARM_UP)
    says = f"{task.name}, {task.batch_size} rows, prompts of {task.prompt_tokens:.0f} tokens"
    return Measured.of(f"{name} step", says, seconds, other=THEIRS, aim=aim)


def evaluation(setting: Setting) -> list[Measured]:
    """(e) One draw for 256 Dolly prompts against ``generate`` over length-sorted batches, at its best batch size."""
    task = setting.tasks["dolly"]
    sizes = (8, 32, 128)
    sides = {"ours": Side.of(our_answers, setting.model, task)}
    sides |= {f"generate {size}": Side.of(plain_answers, setting.model, task, size) for size in sizes}
    seconds = setting.in_turns(sides, rounds=max(3, setting.rounds // 3))
    best = min((f"generate {size}" for size in sizes), key=seconds.median)
    prompts = f"{len(task.rows)} Dolly prompts of {task.prompt_tokens:.0f} tokens, {NEW_TOKENS} new tokens"
    says = f"{prompts}, best batch size of {sizes}: {best}"
    return [Measured.of("evaluation generation", says, seconds, other=best, aim=2.0)]


def same_texts(setting: Setting) -> list[Measured]:
    """How many float32 tokens come out otherwise in batches of 1, 7 and 32 than in one of 64; in float64 none does."""
    from harness.lm.decode.noise import Noise
    from harness.lm.decode.sampling import SamplingParams, sample
    from harness.text.encode import collate

    policy = load(setting.model)
    rows = setting.tasks["dolly"].rows[:64]

    def texts(size: int) -> list[list[int]]:
        found = []
        for start in range(0, len(rows), size):
            batch = collate(rows[start : start + size])
            done = sample(
                policy, batch.prompts, batch.ids, SamplingParams((0.5, 1.0), NEW_TOKENS), Noise(0, "evaluate")
            ).completions
            ids, lengths = done.ids.flatten(0, 1).tolist(), done.lengths.flatten().tolist()
            found += [row[:length] for row, length in zip(ids, lengths, strict=True)]
        return found

    whole = texts(len(rows))
    compared = changed = 0
    for size in (1, 7, 32):
        for one, other in zip(whole, texts(size), strict=True):
            same = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
            changed += same is not None
            compared += len(one) if same is None else same + 1  # what follows another token is another text
    share = changed / compared
    says = "64 Dolly prompts, two draws, batches of 1, 7 and 32 against 64; tokens that changed, of those compared"
    return [
        Measured("float32 texts", says, changed, compared, share, share, share, 1, 1e-4, unit="tokens", note="at most")
    ]


def reward(setting: Setting) -> list[Measured]:
    """The ROUGE-L reward of a batch's candidates against rouge-score."""
    from rouge_score.rouge_scorer import RougeScorer

    from harness.plugins.loader import load_registry

    registry = load_registry()
    ours: Any = registry.build("reward", "rouge", registry.options("reward", "rouge", {}).model_dump(mode="json"))
    theirs = RougeScorer(["rougeL"], use_stemmer=True)
    texts = [str(row.columns["references"][0]) for row in setting.tasks["dolly"].rows]
    answers = [text for place in range(len(texts)) for text in (texts[place - k - 1] for k in range(CANDIDATES))]
    references = [text for text in texts for _ in range(CANDIDATES)]
    asked = {
        "prompts": [""] * len(answers),
        "completions": answers,
        "completion_ids": [[]] * len(answers),
        "references": [(text,) for text in references],
    }

    def one_by_one() -> list[float]:
        pairs = zip(references, answers, strict=True)
        return [theirs.score(reference, answer)["rougeL"].fmeasure for reference, answer in pairs]

    sides = {"ours": timed(lambda: ours(**asked)), "rouge-score": timed(one_by_one)}
    seconds = interleave(sides, rounds=setting.rounds)
    says = f"{len(answers)} pairs of Dolly answers, stems known from the rounds before, as in training"
    return [Measured.of("ROUGE-L reward", says, seconds, other="rouge-score", aim=50.0)]


def arithmetic(setting: Setting) -> list[Measured]:
    """(g) Operations a second of an ESO step's forward and backward, and of its decoding, beside a matrix product."""
    found = []
    for key, aim in (("dolly", 0.5), ("xsum", None)):
        steps = Steps(setting.model, setting.tasks[key], "eso")
        count = Count(steps.segment)
        peaks, rates, plain, decoded = [], [], [], []
        for _ in range(setting.rounds):
            peaks.append(matrix_peak())
            steps.take()
            seconds, counted = steps.segment.log[-1].seconds, count.take()
            rates.append(counted.whole / seconds["forward_backward"])
            plain.append(counted.without_attention / seconds["forward_backward"])
            decoded.append(counted.decoded / seconds["sampling"])
        apart = statistics.median(rate / peak for rate, peak in zip(plain, peaks, strict=True))
        name, note = setting.tasks[key].name, f"without attention's products {apart:.2f}"
        found.append(_share(f"forward and backward, {name}", rates, peaks, aim, note))
        found.append(_share(f"decoding, {name}", decoded, peaks, None, f"{CANDIDATES} rows a prompt, one token a step"))
    return found


def _share(name: str, rates: list[float], peaks: list[float], aim: float | None, note: str) -> Measured:
    shares = sorted(rate / peak for rate, peak in zip(rates, peaks, strict=True))
    says = "share of the rate of a 1,024 x 1,024 matrix product measured before each step"
    middle, quarter = statistics.median(shares), len(shares) // 4
    ours, peak = (statistics.median(each) / 1e9 for each in (rates, peaks))
    return Measured(
        name,
        says,
        ours,
        peak,
        middle,
        shares[quarter],
        shares[-1 - quarter],
        len(shares),
        aim,
        unit="GFLOP/s",
        note=note,
    )


def whole_table(setting: Setting) -> list[Measured]:
    """(f) Training the rows of the quick Dolly table, against each row from scratch; once, not in turns."""
    results = setting.folder / "results"
    ours, whole = train_with_harness(results, setting.threads)
    theirs = train_from_scratch(results)
    ratio = sum(theirs.values()) / ours
    each = ", ".join(f"{name} {seconds:.0f}" for name, seconds in theirs.items())
    note = f"from scratch, in s: {each}; the harness's whole run, with start-up and its few answers, {whole:.0f} s"
    says = "one seed, SFT and four methods, one stage at a time; seconds in training steps"
    return [
        Measured(
            "rows of the quick Dolly table", says, ours, sum(theirs.values()), ratio, ratio, ratio, 1, 3.5, note=note
        )
    ]


def families(setting: Setting) -> list[Measured]:
    """(h) An on-policy step of other families against that of a Llama of the same sizes."""
    task, tokeniser = setting.tasks["dolly"], Tokeniser.load(setting.model)
    sides = {}
    for family in _FAMILIES:
        more = {"head_dim": 32} if family == "qwen3" else {}
        shape = {"model_type": family, **_FAMILY_SHAPE, **more}
        folder = make_model(setting.folder / family, tokeniser, shape)
        sides[family] = Side.of(our_step, folder, task, "eso", temperatures=[1.0] * CANDIDATES)
    seconds = setting.in_turns(sides)
    first, *others = _FAMILIES
    note = f"four layers of width 192; at least 0.67: within 1.5 of {first}"
    return [
        Measured.of(f"{family}, on-policy step", says(task), seconds, other=first, ours=family, aim=0.67, note=note)
        for family in others
    ]


CASES: Mapping[str, Callable[[Setting], list[Measured]]] = {
    "official": official_step,
    "grpo": grpo_step,
    "dpo": dpo_step,
    "sft": sft_step,
    "evaluation": evaluation,
    "texts": same_texts,
    "reward": reward,
    "arithmetic": arithmetic,
    "table": whole_table,
    "families": families,
    "real-grpo": real.grpo_step,
    "real-decoding": real.decoding,
    "real-evaluation": real.evaluation,
    "real-bfloat16": real.bfloat16,
    "real-ways": real.ways,
}
