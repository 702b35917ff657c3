"""All that a change must pass: what takes seconds, then the tests, and the types beside them.

mypy keeps one core busy and waits for nothing, and the others leave cores idle: what takes seconds has use for one, and
tests wait for processes, and for the last file to end. Together they end sooner. Every part says how it went.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

FIRST = (["ruff", "check"], ["ruff", "format", "--check"], ["lint-imports"])
TYPES = ["mypy", "harness", "plugins", "tests"]
TESTS = ["pytest", "-n", "2", "--dist", "loadfile"]


def main(arguments: list[str]) -> int:
    """Return 0 if everything passed; ``arguments`` are more ones for pytest."""
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        say("runs beside the others", TYPES)
        with subprocess.Popen(TYPES, stdout=said, stderr=subprocess.STDOUT) as types:
            for command in FIRST:
                say("runs", command)
                if subprocess.run(command, check=False).returncode:
                    types.kill()
                    return told({tuple(command): False})
            say("runs", TESTS)
            tests = subprocess.run([*TESTS, *arguments], check=False).returncode
            types.wait()
        said.seek(0)
        say("said", TYPES)
        print(said.read(), flush=True)
    print(f"all of it took {time.monotonic() - begun:.0f} s", flush=True)
    return told({tuple(TESTS): tests == 0, tuple(TYPES): types.returncode == 0})


def say(what: str, command: list[str]) -> None:
    """Say something of a command, before what it says itself."""
    print(f"check: {what}: {' '.join(command)}", flush=True)


def told(passed: dict[tuple[str, ...], bool]) -> int:
    """Say what passed and what did not; return the exit code."""
    for command, well in passed.items():
        say("passed" if well else "FAILED", [*command])
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
