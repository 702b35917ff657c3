"""The commands of SLURM as scripts that do what a test says: a queue is a folder, and a job there a few small files.

``ID.name`` is what a job is called, ``ID.state`` what ``sacct`` says of it, ``ID.sh`` its script; ``refuse`` is what
``sbatch`` says instead of taking a job, and ``cancelled`` the jobs that were cancelled. Where the folder has a file
``node``, it is a script of Python that ``sbatch`` starts for each job with the job's number.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCRIPTS = {
    "sbatch": """
if [ -e refuse ]; then cat refuse >&2; exit 1; fi
n=$(ls | grep -c '[.]sh$'); n=$((n + 1))
cp "$1" $n.sh
sed -n 's/^#SBATCH --job-name=//p' $n.sh > $n.name
echo PENDING > $n.state
if [ -e node ]; then cd "$OLDPWD"; setsid PYTHON "$FAKE_SLURM/node" $n < /dev/null > "$FAKE_SLURM/$n.node" 2>&1 & fi
echo "Submitted batch job $n"
""",
    "sacct": """
if [ -e no-sacct ]; then exit 1; fi
echo 'JobID|State|NodeList'
for n; do if [ -e "$n.state" ]; then echo "$n|$(cat $n.state)|node-1"; echo "$n.batch|COMPLETED|node-1"; fi; done
""",
    "squeue": """
for f in *.state; do case "$(cat $f)" in PENDING|RUNNING) echo ${f%.state};; esac; done
""",
    "scancel": """
echo "$1" >> cancelled
case "$(cat $1.state)" in PENDING|RUNNING) echo CANCELLED > $1.state;; esac
if [ -e $1.pid ]; then kill -TERM -$(cat $1.pid) 2> /dev/null; fi
exit 0
""",
    "scontrol": 'echo "$@" >> scontrol\n',
    "srun": "exit 1\n",
}


def install(folder: Path) -> dict[str, str]:
    """Write the commands and an empty queue below a folder; return the environment in which they are found."""
    queue, commands = folder / "queue", folder / "bin"
    queue.mkdir(parents=True)
    commands.mkdir()
    for name, body in SCRIPTS.items():
        script = commands / name
        inside = "" if name == "srun" else 'cd "$FAKE_SLURM"\n'
        script.write_text(f"#!/bin/sh\n{inside}{body.replace('PYTHON', sys.executable)}", encoding="utf-8")
        script.chmod(0o755)
    return {"FAKE_SLURM": str(queue), "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
