"""One run that spreads work over others and collects what they return."""

from typing import Any

from crossfade import Client, Context, Retry, task


@task(id="sum-part")
def sum_part(payload: dict[str, Any]) -> dict[str, float]:
    """Add up `{"numbers": [...]}`."""
    return {"sum": sum(payload["numbers"])}


@task(id="fan-in-sum", max_duration=300, retry=Retry(max_attempts=2))
def fan_in_sum(payload: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Add up `{"numbers": [...], "parts": 4}`, each part in a run of its own.

    The parts' keys name this run, so a second attempt finds the runs of the first.
    """
    numbers, parts = payload["numbers"], max(1, min(payload.get("parts", 4), 20))
    triggered = [
        sum_part.trigger(
            {"numbers": numbers[i::parts]}, idempotency_key=f"{ctx.run.id}-{i}", tags=["fan-in"]
        )
        for i in range(parts)
    ]
    ctx.logger.info("waiting for %d parts", len(triggered))
    with Client.from_environment() as client:
        finished = [client.wait(part.id, timeout_s=240) for part in triggered]
    failed = [run.id for run in finished if not run.is_success]
    if failed:
        raise RuntimeError(f"parts failed: {', '.join(failed)}")
    return {"sum": sum(run.output["sum"] for run in finished), "parts": len(finished)}
