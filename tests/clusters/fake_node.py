"""``fake_node.py N``: run job N of a scripted queue as its node would, and do to it what the script says.

``plan.json`` in the queue's folder gives, by a job's name, what befalls the jobs of that name, one after another. Each
time it comes once training has kept a state (``unfinished`` in the plan is where), without a warning.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

QUEUE = Path(os.environ["FAKE_SLURM"])
#: What befalls a job, and what ``sacct`` says of it then; the queue puts one back itself.
ENDS = {"preempt": "PREEMPTED", "time out": "TIMEOUT", "lose the node": "NODE_FAIL", "requeue": "PENDING"}


def states(plan: dict[str, object]) -> set[str]:
    return {str(path) for path in Path(str(plan["unfinished"])).glob("train-*/*/manifest.json")}


def next_deed(name: str) -> str | None:
    """Take the next thing that befalls a job of this name off the plan."""
    plan = json.loads((QUEUE / "plan.json").read_text(encoding="utf-8"))
    deeds = plan["deeds"].get(name, [])
    deed = deeds.pop(0) if deeds else None
    (QUEUE / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    return deed


def kill_all(pid: int) -> None:
    """Kill a process and all below it, whatever sessions they have begun."""
    below = [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    os.kill(pid, signal.SIGKILL)
    for child in below:
        kill_all(child)


def main(number: str) -> None:
    name = (QUEUE / f"{number}.name").read_text(encoding="utf-8").strip()
    state = QUEUE / f"{number}.state"
    plan = json.loads((QUEUE / "plan.json").read_text(encoding="utf-8"))
    while True:
        deed, before = next_deed(name), states(plan)
        environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1",
                       "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}  # fmt: skip
        process = subprocess.Popen(["bash", str(QUEUE / f"{number}.sh")], env=environment, start_new_session=True)
        (QUEUE / f"{number}.pid").write_text(str(process.pid), encoding="utf-8")
        state.write_text("RUNNING", encoding="utf-8")
        with (QUEUE / "started").open("a", encoding="utf-8") as stream:
            stream.write(f"{name} {number}\n")
        while process.poll() is None:
            if deed is not None and states(plan) - before:
                kill_all(process.pid)
                process.wait()
                state.write_text(ENDS[deed], encoding="utf-8")
                break
            time.sleep(0.05)
        else:
            state.write_text("FAILED" if process.returncode else "COMPLETED", encoding="utf-8")
            return
        if deed != "requeue":
            return
        time.sleep(1.0)


main(sys.argv[1])
