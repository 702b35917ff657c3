"""What a job of a queue runs on its node."""

from __future__ import annotations

from pathlib import Path

from harness.execution.executors.host import Order, end_all, events, lost
from harness.execution.executors.mailbox import Mailbox
from harness.execution.executors.survey import SurveyRequest, surveyed
from harness.execution.interrupt import Interrupted, interruptible
from harness.store.files import replace_text


def run_job(order: str, folder: str, attempts: int) -> None:
    """Do a stage, and say in its folder what is to be heard of it; a queue may call it again, up to so often."""
    mailbox = Mailbox(Path(folder))
    begun = mailbox.begun()
    if begun >= attempts:
        what = f"begun {begun} times (execution.attempts) and never finished"
        mailbox.say({"event": "failed", "message": what, "exit_code": 1})
        return
    try:
        with interruptible() as keep:
            for event in events(Order.model_validate_json(order), lambda: "keep" if keep() else mailbox.wishes()):
                mailbox.say(event)
    except Interrupted as error:
        mailbox.say(lost(f"its job was ended by {error}"))
    finally:
        end_all(0.0)


def answer(request: str, report: str) -> None:
    """Say in a file what this node has."""
    replace_text(Path(report), surveyed(SurveyRequest.model_validate_json(request)).model_dump_json())
