"""The smallest tasks: a greeting, one that fails at first, one that leaves a mark for tests."""

import os
import time
from typing import Any

from crossfade import Context, Retry, task


@task(id="hello-world")
def hello_world(payload: dict[str, Any], ctx: Context) -> dict[str, str]:
    """Greet whom the payload names: `{"name": "Ada"}`."""
    name = payload["name"]
    ctx.logger.info("greeting %s", name)
    return {"message": f"Hello, {name}!"}


@task(id="flaky", retry=Retry(max_attempts=3, factor=1, min_timeout_ms=500, randomize=False))
def flaky(_payload: Any, ctx: Context) -> dict[str, int]:
    """Fail twice, succeed on the third attempt."""
    number = ctx.attempt.number
    if number < 3:  # noqa: PLR2004
        raise ConnectionError(f"attempt {number} was not lucky")
    return {"attempts": number}


@task(id="chaos-append")
def chaos_append(payload: dict[str, Any], ctx: Context) -> dict[str, str]:
    """Append `<run id> <attempt number> <token>` to a file, then sleep: `{file, token, sleepMs}`.

    The line is one write, first of all: whoever kills processes can count what really began.
    """
    line = f"{ctx.run.id} {ctx.attempt.number} {payload['token']}\n"
    number = os.open(payload["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(number, line.encode())
    finally:
        os.close(number)
    time.sleep(payload.get("sleepMs", 0) / 1000)
    return {"token": payload["token"]}
