"""The executor that a run asks for; its engine is imported only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError

if TYPE_CHECKING:
    from harness.execution.executors.interface import Executor, Opening
    from harness.spec.execution import Execution


def open_executor(opening: Opening) -> Executor:
    """Return who runs the stages.

    Raises:
        MachineError: its engine is not installed, or there is no such cluster.
        InputError: settings that contradict each other.
    """
    check_execution(opening.execution)
    if opening.execution.executor == "ray":
        from harness.execution.executors.ray import RayExecutor

        return RayExecutor(opening)
    if opening.execution.executor == "slurm":
        from harness.execution.executors.slurm import SlurmExecutor

        return SlurmExecutor(opening)
    from harness.execution.executors.local import local

    return local(opening)


def check_execution(execution: Execution) -> None:
    """Refuse settings of one executor beside another.

    Raises:
        InputError: there are such.
    """
    name, address = execution.executor, execution.address
    if name == "local" and address is not None:
        what, hint = "there is an address and no cluster to find there", "--executor ray"
        raise InputError(what, where="execution.address", got=address, hint=hint)
    if name == "slurm" and address not in {None, "local"}:
        what = "SLURM is found by its commands, not by an address"
        raise InputError(what, where="execution.address", got=address, expected="none, or local to try it here")
    if name != "ray" and not execution.shared:
        what = "only Ray carries stages to nodes that share no folder"
        raise InputError(what, where="execution.shared", got=False, expected="true, or --executor ray")
