"""`python -m crossfade.cli.index_worker ROOT RESULT`: describe the tasks below ROOT, in JSON.

A process of its own: importing somebody's code may do anything, and must be forgotten afterwards.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from crossfade.cli.task_scan import module_hint, scan_tasks
from crossfade.errors import TaskDefinitionError
from crossfade.runner.failures import stack_trace


def main(root: Path, result: Path) -> int:
    """Write `{"tasks"}` or `{"error", "stackTrace"?, "hint"?}` to the result file."""
    sys.stdout = sys.stderr  # what the imported code prints is no result
    answer: dict[str, Any]
    try:
        answer = {"tasks": scan_tasks(root)}
    except TaskDefinitionError as error:
        answer = {"error": str(error), "stackTrace": stack_trace(error, root)}
    except BaseException as error:  # noqa: BLE001 - whatever the author's modules raise is shown
        answer = {
            "error": f"{type(error).__name__}: {error}",
            "stackTrace": stack_trace(error, root),
        }
        if isinstance(error, ImportError):
            answer["hint"] = module_hint(error, root)
    result.write_text(json.dumps(answer), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
