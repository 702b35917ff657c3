"""A worker process: reads requests, one JSON object a line, and answers with events in the same form.

It is started as ``python -m harness.execution.worker KIND…``, with the kinds of stages that are to come, and keeps its
imports between stages. Standard output carries the events and nothing else: whatever a library prints goes to standard
error, which the parent keeps for messages; what it warns of becomes an event.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from harness import disk
from harness.errors import HarnessError, MachineError, StorageError, first_line, traced
from harness.execution import rehearsal
from harness.execution.heartbeat import start_heartbeat
from harness.execution.interrupt import outlive_warnings
from harness.execution.warning_capture import WarningCapture
from harness.plugins.files import line_in
from harness.stages.entries import ENTRIES, code_digest
from harness.stages.request import StageRequest
from harness.stages.run import installed, load, run_stage
from harness.store.damage import CorruptError
from harness.training.stop import Stopped

if TYPE_CHECKING:
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.stages.request import Tell

_END = object()
#: Held by whoever writes an event: a library may warn from a thread of its own, or in the middle of a write.
_SPEAKING = threading.RLock()
#: Seconds without an request after which a worker thinks of the next ones: its parent needs a few milliseconds for one.
_IDLE = 0.2


def main() -> int:
    """Work until standard input ends."""
    outlive_warnings()
    start_heartbeat()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    capture = WarningCapture(lambda text: _answer(events, {"event": "warned", "text": text}))
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_read, args=(requests, busy), daemon=True).start()
    for kind in ENTRIES:
        code_digest(kind)  # of the source as it is now, which is what is imported
    while (request := _next(requests)) is not _END:
        busy.set()
        answer = _do(_parse(request), events, capture)
        _answer(events, answer)
        if answer["event"] == "stopped" or (answer["event"] != "done" and os.environ.get("RANK", "0") != "0"):
            return 1  # rank 0 speaks for all; a rank that failed before they met must not keep it waiting
        busy.clear()
    return 0


def _next(requests: queue.SimpleQueue[Any]) -> Any:
    """Return the next request; where none comes at once, import meanwhile what later ones need."""
    try:
        return requests.get(timeout=_IDLE)
    except queue.Empty:
        load(sys.argv[1:])
        return requests.get()


def _read(requests: queue.SimpleQueue[Any], busy: threading.Event) -> None:
    """Queue the requests; when the parent is gone, so is the reason to go on."""
    for line in sys.stdin:
        requests.put(json.loads(line))
    if busy.is_set():
        os._exit(1)
    requests.put(_END)


Request: TypeAlias = "StageRequest[AnyStageConfig] | rehearsal.InspectionRequest"


def _parse(message: dict[str, Any]) -> Request:
    if message.get("kind") == "inspection":
        return rehearsal.InspectionRequest.model_validate(message)
    return StageRequest.from_json(message)


def _do(request: Request, events: IO[str], capture: WarningCapture) -> dict[str, Any]:
    try:
        if isinstance(request, rehearsal.InspectionRequest):
            rehearsal.inspect_plugins(request.used, installed(request.plugins))
        else:
            _check_source(request)
            with capture.stage() as warned:
                run_stage(request, _teller(events), warned)
    except Stopped as error:
        return {"event": "stopped", "message": str(error), "exit_code": error.exit_code}
    except CorruptError as error:
        damage = {name: part for name, part in asdict(error.damage).items() if name != "folder"}
        return {"event": "damaged", "message": str(error), "exit_code": error.exit_code, "damage": damage}
    except HarnessError as error:
        fatal = isinstance(error, (StorageError, SourceChanged))
        return {"event": "failed", "message": str(error), "exit_code": error.exit_code, "fatal": fatal}
    except MemoryError:
        return {"event": "failed", "message": "out of memory", "exit_code": 3}
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:  # noqa: BLE001  # torch has several errors for it, of no class of their own
        if not _out_of_memory(error):
            return _defect(request, error)
        return {"event": "failed", "message": f"out of memory: {first_line(error)}", "exit_code": 3}
    except BaseException as error:  # noqa: BLE001  # a defect of a plugin's: one cell fails, the others go on
        return _defect(request, error)
    return {"event": "done"}


def _out_of_memory(error: Exception) -> bool:
    from harness.in_parts import out_of_memory

    return out_of_memory(error)


def _defect(request: Request, error: BaseException) -> dict[str, Any]:
    place = _keep_traceback(request, traceback.format_exc())
    message = f"{type(error).__name__}: {error}{_line(request, error)}"
    return {"event": "failed", "message": traced(message, place), "exit_code": 1}


def _line(request: Request, error: BaseException) -> str:
    """Name the line of a plugin's own file in which an error arose, or through which it came."""
    lines = ((path.name, line_in(error, path)) for path in request.plugins.files)
    return "".join(f" ({name}, line {line})" for name, line in lines if line is not None)


class SourceChanged(MachineError):
    """What a stage would compute with is not what its id was made from."""


def _check_source(request: StageRequest[AnyStageConfig]) -> None:
    """Refuse to put the work of edited or upgraded code under the id of what was there when the run was planned."""
    config, registry = request.config, installed(request.plugins)
    changed = [
        f"{kind} {use.name!r}"
        for kind, use in config.plugins()
        if registry.fingerprint(kind, use.name) != use.fingerprint
    ]
    if config.code != code_digest(config.kind):
        changed.append("the harness")
    if changed:
        raise SourceChanged(f"the source of {' and '.join(changed)} has changed since this run began", hint="run again")


def _keep_traceback(request: Request, text: str) -> str:
    """Return where the traceback lies, below the results: messages stand in tables, which tell no one's folders."""
    below = Path("store") / ".failed" / f"{request.kind}-{request.id[:16]}-{uuid.uuid4().hex[:6]}.txt"
    path = request.results / below
    try:
        disk.make_folders(path.parent)
        disk.write(path, f"{request.label}\n{text}".encode())
    except OSError:
        sys.stderr.write(text)
        return "the log"
    return f"{below} of the results"


def _teller(events: IO[str]) -> Tell:
    def tell(done: int, total: int, unit: str, note: str) -> None:
        _answer(events, {"event": "progress", "done": done, "total": total, "unit": unit, "note": note})

    return tell


def _answer(events: IO[str], event: dict[str, Any]) -> None:
    line = json.dumps(event) + "\n"
    try:
        with _SPEAKING:
            events.write(line)
            events.flush()
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
