"""How the work of a benchmark is run, and by which engine: none of it changes a result beyond rounding."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveFloat, PositiveInt

from harness.spec.section import RUNTIME, Section, mark

Tracker: TypeAlias = Literal["tensorboard", "wandb", "trackio", "mlflow"]

#: Who runs stages: processes of this machine, tasks of a Ray cluster, or jobs of a SLURM queue.
ExecutorName: TypeAlias = Literal["local", "ray", "slurm"]

#: One word of a command line for ``sbatch``.
_Word: TypeAlias = Annotated[str, Field(pattern=r"^[^\s]+$")]


class Slurm(Section):
    """What ``sbatch`` is asked for each stage."""

    partition: _Word | None = mark(RUNTIME, None)
    account: _Word | None = mark(RUNTIME, None)
    qos: _Word | None = mark(RUNTIME, None)
    constraint: _Word | None = mark(RUNTIME, None)
    minutes: PositiveInt = mark(RUNTIME, 240)
    """The time limit of a job; a stage that needs longer goes on in another one from what it has kept."""
    setup: tuple[str, ...] = mark(RUNTIME, ())
    """Lines of shell before each job, such as ``module load``."""
    options: dict[str, str] = mark(RUNTIME, {})
    """Further options of ``sbatch``, without their dashes."""


class Execution(Section):
    """How the work is run; nothing here changes a result beyond rounding."""

    threads: PositiveInt = mark(RUNTIME, 1)
    """CPU threads of each stage; recorded in the environment fingerprint."""
    device: str = mark(RUNTIME, "auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    checkpoint_minutes: PositiveFloat = mark(RUNTIME, 10.0, allow_inf_nan=False)
    """Most minutes between two states from which a training stage that was killed goes on."""
    rank_timeout_minutes: float = mark(RUNTIME, 10.0, ge=0.1, allow_inf_nan=False)
    """Minutes without a heartbeat after which a process of a stage counts as stalled, and the stage as failed; ranks
    wait three times as long for one another."""
    shard: bool = mark(RUNTIME, False)
    """Whether the processes of a training stage (``--processes``) divide the weights, their gradients and the
    optimiser's moments among themselves, in the place of having them whole."""
    trackers: tuple[Tracker, ...] = mark(RUNTIME, ())
    """Where the steps of training and, in the end, the scores are logged too, by accelerate's trackers."""
    executor: ExecutorName = mark(RUNTIME, "local")
    """Who runs the stages."""
    address: str | None = mark(RUNTIME, None)
    """Of a Ray cluster: ``auto`` or ``HOST:PORT``; with ``slurm``, ``local`` runs its jobs on this machine."""
    attempts: PositiveInt = mark(RUNTIME, 5)
    """How often a stage is begun whose node is lost, preempted or out of time, before it counts as failed."""
    memory_gb: PositiveFloat | None = mark(RUNTIME, None, allow_inf_nan=False)
    """Main memory that each stage asks a cluster for; what ``harness plan`` estimates by default."""
    shared: bool = mark(RUNTIME, True)
    """Whether the nodes see the folder of results; if not, Ray's object store carries stages to and fro."""
    slurm: Slurm = mark(RUNTIME, Slurm())
