"""What a process of the control plane writes about itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SPEAK = """
import logging, sys
import structlog
from webapp.logs import logging_config
logging_config(log_file=sys.argv[1], process="web")
structlog.get_logger("runs").info("run.triggered", run_id="run_1", api_key="tr_prod_ABCDEFGH12345678")
logging.getLogger("library").warning("using %s", "redis://:s3cret@127.0.0.1:1/0", extra={"n": 3})
try:
    raise ValueError("Bearer abcdefgh.12345678")
except ValueError:
    structlog.get_logger("runs").exception("run.failed")
"""


def _speak(log_file: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SPEAK, log_file],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_is_an_object_of_one_form() -> None:
    """Our lines and a library's look the same: when, which process, how grave, what."""
    lines = _lines(_speak("").stderr)
    assert [line["event"] for line in lines] == [
        "run.triggered",
        "using redis://:[hidden]@127.0.0.1:1/0",
        "run.failed",
    ]
    assert {line["process"] for line in lines} == {"web"}
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert all(line["at"].endswith("Z") for line in lines)
    assert lines[0]["run_id"] == "run_1"
    assert lines[1]["n"] == 3


def test_no_line_holds_a_credential() -> None:
    """Keys, tokens and passwords are hidden in names, texts and tracebacks."""
    written = _speak("").stderr
    for secret in ("ABCDEFGH12345678", "s3cret", "abcdefgh.12345678"):
        assert secret not in written
    assert "ValueError: Bearer [hidden]" in _lines(written)[2]["exception"]


def test_lines_go_to_a_file_when_one_is_named(tmp_path: Path) -> None:
    """CROSSFADE_LOG_FILE takes the lines, and standard error stays empty."""
    path = tmp_path / "web.log"
    assert _speak(str(path)).stderr == ""
    assert len(_lines(path.read_text())) == 3
