"""Jobs are sent beside who asks for them, in their order, whatever becomes of one."""

from __future__ import annotations

import os
import threading

import pytest
from kombu.exceptions import OperationalError

from runs.job_sender import JobSender

WAIT_S = 10.0


class Task:
    """A Celery task that notes what it is sent with."""

    name = "task"

    def __init__(self) -> None:
        self.sent: list[tuple[str, ...]] = []
        self.may_send = threading.Event()
        self.error: Exception | None = None

    def delay(self, *arguments: str) -> None:
        """Take a job when the broker may."""
        assert self.may_send.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        self.sent.append(arguments)


def test_who_asks_does_not_wait_for_the_broker() -> None:
    """While the broker hangs asking returns; then everything is sent in its order."""
    sender, task = JobSender(), Task()
    for number in range(3):
        sender.send(task, str(number))
    assert task.sent == []
    task.may_send.set()
    sender.wait()
    assert task.sent == [("0",), ("1",), ("2",)]


@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("a fault of ours")])
def test_a_job_that_cannot_be_sent_is_told_and_stops_none(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log, and the next one goes."""
    sender, task = JobSender(), Task()
    task.may_send.set()
    task.error = error
    sender.send(task, "lost")
    sender.wait()
    task.error = None
    sender.send(task, "sent")
    sender.wait()
    assert task.sent == [("sent",)]
    assert "job.unsent" in caplog.text


def test_a_forked_child_sends_too() -> None:
    """The parent's thread is not there after a fork; the child has its own."""
    sender, task = JobSender(), Task()
    task.may_send.set()
    sender.send(task, "before")
    sender.wait()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sender.send(task, "after")
            sender.wait()
            status = 0 if task.sent[-1] == ("after",) else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
