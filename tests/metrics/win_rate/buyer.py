"""Judge in a process of its own, which can be killed: prints the result, or the error of the harness, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from metrics.win_rate.cases import Services, answers, judged, options

from harness.api import HarnessError


def main() -> int:
    told: dict[str, Any] = json.loads(sys.argv[1])
    services = Services(Path(told["folder"]))
    try:
        result = judged(answers(told["count"]), services, options(told["url"], **told["options"]))
    except HarnessError as error:
        print(json.dumps({"error": str(error), "code": error.exit_code}))
        return error.exit_code
    print(json.dumps({"values": dict(result.values), "corpus": dict(result.corpus)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
