"""An outside distribution whose parts wait, stop or die at a moment that a test chooses, in real processes.

``PATIENT`` in the environment is a JSON object: ``do`` (what), ``folder`` (where it leaves word) and what that needs.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from harness.testing.distributions import write_distribution

if TYPE_CHECKING:
    from pathlib import Path

#: The step at which the method acts; the tiny benchmark's second epoch has steps 7 to 13.
STEP = 9

PLUGIN = '''
"""A method and a data set that act as the environment says."""

import json
import os
import signal
from pathlib import Path

from harness.api import DatasetRegistration, MethodRegistration, NoOptions, hookimpl
from harness_plugins.datasets.generated_instructions import GeneratedOptions

WANTED = json.loads(os.environ.get("PATIENT", '{"do": ""}'))


def spend_a_life():
    """Die by SIGKILL, as often as the file of lives has letters."""
    lives = Path(WANTED["folder"], "lives")
    left = lives.read_text()
    if left:
        lives.write_text(left[1:])
        os.kill(os.getpid(), signal.SIGKILL)


@hookimpl
def harness_register_methods():
    return [MethodRegistration(
        name="patient", summary="SFT that waits", options=NoOptions, build="patient_parts:Patient")]


@hookimpl
def harness_register_datasets():
    return [DatasetRegistration(
        name="mortal", summary="Instructions that are hard to get", options=GeneratedOptions,
        build="patient_parts:Mortal", generated=True)]


if WANTED["do"] == "die in generate":
    import harness.stages.generate as generate

    answer = generate._answer

    def counted(policy, rows, *more):
        folder = Path(WANTED["folder"])
        with (folder / "drawn").open("a") as stream:
            stream.write(json.dumps([row.id for row in rows]) + "\\n")
        batches = len((folder / "drawn").read_text().splitlines())
        if batches == WANTED["batch"]:
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(policy, rows, *more)

    generate._answer = counted
'''

PARTS = """
import os
import signal
import time
from pathlib import Path

from harness_plugins.datasets.generated_instructions.corpus import GeneratedInstructions
from harness_plugins.methods.sft import SFTOptions
from harness_plugins.methods.sft.method import SFT
from patient import WANTED, spend_a_life


class Mortal(GeneratedInstructions):
    def load(self, folder, split):
        if WANTED["do"] == "die in prepare":
            spend_a_life()
        yield from super().load(folder, split)


class Patient:
    def __init__(self, options):
        self.sft = SFT(SFTOptions())
        if WANTED["do"] == "die in build":
            spend_a_life()
        if WANTED["do"] == "outlast":
            heard = []
            signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
            Path(WANTED["folder"], "waiting").touch()
            while not heard:
                time.sleep(0.01)

    def setup(self, run):
        self.sft.setup(run)

    def step(self, run, batch):
        if WANTED["do"] and run.progress.step >= WANTED.get("step", 0):
            getattr(self, WANTED["do"].split()[0])(run.progress.step)
        return self.sft.step(run, batch)

    def hear(self, step):
        folder, number = Path(WANTED["folder"]), WANTED["signal"]
        if step == WANTED["step"]:
            handler, heard = signal.getsignal(number), []

            def hear(*arguments):
                handler(*arguments)
                heard.append(True)

            signal.signal(number, hear)
            (folder / "waiting").touch()
            while not heard:
                time.sleep(0.01)
        elif step == WANTED["step"] + 1:
            found = Path(WANTED["unfinished"]).glob("train-*/*/manifest.json")
            (folder / "states").write_text(" ".join(sorted(path.parent.name for path in found)))

    def stop(self, step):
        once = Path(WANTED["folder"], "once")
        if os.environ.get("RANK", "0") == WANTED["rank"] and once.exists():
            once.unlink()
            os.kill(os.getpid(), signal.SIGSTOP)

    def fail(self, step):
        once = Path(WANTED["folder"], "once")
        if os.environ.get("RANK", "0") == str(WANTED["rank"]) and step == WANTED["step"] and once.exists():
            once.unlink()
            if WANTED["how"] == "raise":
                raise RuntimeError("a rank that fails")
            os.kill(os.getpid(), signal.SIGKILL if WANTED["how"] == "die" else signal.SIGSTOP)

    def outlast(self, step):
        pass

    def pace(self, step):
        with Path(WANTED["folder"], "steps").open("a") as stream:
            stream.write(f"{step} {os.getpid()}\\n")
        time.sleep(WANTED["seconds"])

    def die(self, step):
        rank = os.environ.get("RANK", "0")
        if WANTED["do"] == "die in step" and rank == WANTED.get("rank", rank):
            spend_a_life()

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""


def install_patient(folder: Path) -> dict[str, str]:
    """Write the distribution and return the environment in which it is installed."""
    modules = {"patient.py": PLUGIN, "patient_parts.py": PARTS}
    write_distribution(folder, "patient", entry_points={"patient": "patient"}, modules=modules)
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([known] if known else [])])}


def wanting(do: str, folder: Path, **more: Any) -> str:
    """Return the value of ``PATIENT`` that makes the distribution ``do`` something."""
    folder.mkdir(parents=True, exist_ok=True)
    return json.dumps({"do": do, "folder": str(folder), **more})


def fail_at(rank: int, step: int, how: str, folder: Path) -> str:
    """Return the value of ``PATIENT`` that lets a rank ``die``, ``stop`` or ``raise`` before a step, once."""
    word = wanting("fail", folder, rank=rank, step=step, how=how)
    (folder / "once").touch()
    return word
