"""A real chat model answers as transformers has it answer."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.in_parts import decoding_batcher
from harness.lm.decode.noise import Noise
from harness.lm.decode.sampling import SamplingParams, sample
from harness.lm.model.policy import Policy
from harness.plugins.loader import load_registry
from harness.spec.model import Model, Template
from harness.text.encode import EncodingParams, collate, encode
from harness.text.formats import format_of
from harness.text.stops import answer_texts

#: A folder with a chat model, and how many tokens an answer may have.
FOLDER, TOKENS = "HARNESS_TEST_CHAT_MODEL", "HARNESS_TEST_CHAT_TOKENS"
PROMPTS = 50


@pytest.fixture(scope="session")
def chat_model() -> Path:
    path = os.environ.get(FOLDER)
    if not path:
        pytest.skip(f"needs a real chat model: {FOLDER}=FOLDER (SmolLM2-135M-Instruct in Hugging Face format, say)")
    return Path(path)


@pytest.mark.timeout(900)
def test_greedy_answers_are_those_of_generate_with_apply_chat_template(
    chat_model: Path, real_data: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dolly = load_registry().build("dataset", "dolly", {})
    dolly.prepare(real_data / "dolly", tmp_path)
    rows = list(islice(dolly.load(tmp_path, "test"), PROMPTS + 10))
    limit = int(os.environ.get(TOKENS, "24"))
    policy = Policy.load(chat_model, spec=Model(name="chat", dtype="float32"))
    template = Template(chat=True)
    policy.end_at(policy.stops.first(format_of(template, policy.tokeniser).end_id))
    params = EncodingParams(max_prompt=400, max_completion=64, training=False, overlong="drop")
    encoded = encode(rows, policy.tokeniser, template, params).rows[:PROMPTS]
    assert len(encoded) == PROMPTS
    examples = {example.id: example for example in rows}
    batch = collate(encoded)
    noise, batcher = Noise(0, "evaluate"), decoding_batcher(4096)
    greedy = SamplingParams((0.0,), limit)
    done = sample(policy, batch.prompts, batch.ids, greedy, noise, batcher=batcher).completions
    texts = answer_texts(policy.tokeniser, policy.stops, done)
    tokenizer: Any = AutoTokenizer.from_pretrained(chat_model)
    theirs: Any = AutoModelForCausalLM.from_pretrained(chat_model, dtype=torch.float32)
    for place, row in enumerate(encoded):
        example = examples[row.id]
        content = "\n\n".join(text for text in (example.fields["instruction"], example.fields["context"]) if text)
        given = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        assert row.prompt.tolist() == given["input_ids"][0].tolist()
        with torch.no_grad():
            out = theirs.generate(**given, do_sample=False, max_new_tokens=limit)
        answer = out[0, given["input_ids"].shape[1] :].tolist()
        assert done.ids[place, 0, : done.lengths[place, 0]].tolist() == answer, example.id
        assert texts[place][0] == tokenizer.decode(answer, skip_special_tokens=True).strip()
