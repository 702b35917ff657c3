"""``fake_node.py N``: run job N of a scripted queue as its node would, and do to it what the script says.

``plan.json`` in the queue's folder says what befalls jobs, one after another: each time once the method that is watched
has made two more steps (``steps`` in the plan is where it tells them), and without a warning.
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


def next_deed(name: str, made: int) -> str | None:
    """Take the next thing that befalls a job off the plan, if this is its moment."""
    plan = json.loads((QUEUE / "plan.json").read_text(encoding="utf-8"))
    if name != "harness-train" or not plan["deeds"] or steps() < made + 2:
        return None
    deed = plan["deeds"].pop(0)
    (QUEUE / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    return str(deed)


def steps() -> int:
    """Return how many steps were made so far."""
    path = Path(json.loads((QUEUE / "plan.json").read_text(encoding="utf-8"))["steps"])
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def kill_all(pid: int) -> None:
    """Kill a process and all below it, whatever sessions they have begun."""
    below = [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    os.kill(pid, signal.SIGKILL)
    for child in below:
        kill_all(child)


def main(number: str) -> None:
    name = (QUEUE / f"{number}.name").read_text(encoding="utf-8").strip()
    state = QUEUE / f"{number}.state"
    while True:
        deed, made = None, steps()
        environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1",
                       "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}  # fmt: skip
        process = subprocess.Popen(["bash", str(QUEUE / f"{number}.sh")], env=environment, start_new_session=True)
        (QUEUE / f"{number}.pid").write_text(str(process.pid), encoding="utf-8")
        state.write_text("RUNNING", encoding="utf-8")
        with (QUEUE / "started").open("a", encoding="utf-8") as stream:
            stream.write(f"{name} {number}\n")
        while process.poll() is None:
            deed = next_deed(name, made)
            if deed is not None:
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
