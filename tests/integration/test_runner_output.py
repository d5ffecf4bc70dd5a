"""Everything a task writes becomes lines of its attempt, in order and within bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fake_workload_api import FakeRun
from tests.runner_process import execute, finish, runner, write_task

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_keep_their_order_across_streams(tmp_path: Path) -> None:
    """Print, stderr and logging are numbered in the order they happened, with their levels."""
    run = FakeRun()
    source = """
        @task
        def main(payload, ctx):
            print("one")
            print("two", file=sys.stderr)
            ctx.logger.warning("three")
            logging.getLogger("library").info("four")
            print("five", end="")
    """
    execute(run, tmp_path, source)
    lines = [run.lines[key] for key in sorted(run.lines)]
    assert [(line["stream"], line["text"], line.get("level")) for line in lines] == [
        ("stdout", "one", None),
        ("stderr", "two", None),
        ("log", "three", "WARNING"),
        ("log", "four", "INFO"),
        ("stdout", "five", None),
    ]
    assert [line["seq"] for line in lines] == [0, 1, 2, 3, 4]


def test_the_authors_own_logging_configuration_is_respected(tmp_path: Path) -> None:
    """A configuration made at import takes effect, and does not silence the ctx's logger."""
    run = FakeRun()
    source = """
        import logging.config

        logging.config.dictConfig({
            "version": 1,
            "formatters": {"f": {"format": "%(levelname)s-%(message)s"}},
            "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
            "root": {"level": "DEBUG", "handlers": ["h"]},
        })

        @task
        def main(payload, ctx):
            logging.debug("mine")
            ctx.logger.info("theirs")
    """
    execute(run, tmp_path, source)
    assert (run.texts(stream="stderr"), run.texts(stream="log")) == (["DEBUG-mine"], ["theirs"])


def test_child_processes_and_raw_writes_are_captured(tmp_path: Path) -> None:
    """What does not go through Python's streams is captured from the descriptors below them."""
    run = FakeRun()
    source = """
        import multiprocessing
        import subprocess

        def child():
            print("from a fork")

        @task
        def main(payload):
            subprocess.run(["sh", "-c", "echo out; echo err >&2"], check=True)
            os.write(1, b"raw\\n")
            forked = multiprocessing.get_context("fork").Process(target=child)
            forked.start()
            forked.join()
    """
    assert execute(run, tmp_path, source).code == 0
    assert set(run.texts(stream="stdout")) == {"out", "raw", "from a fork"}
    assert run.texts(stream="stderr") == ["err"]


def test_lines_are_sent_while_the_task_runs(tmp_path: Path) -> None:
    """A line arrives before the attempt ends."""
    run = FakeRun(payload_type="text/plain", payload=str(tmp_path / "seen"))
    source = """
        @task
        def main(payload):
            print("hello")
            for _ in range(500):
                if os.path.exists(payload):
                    return True
                time.sleep(0.01)
            return False
    """
    write_task(tmp_path, source)
    with runner(run, tmp_path) as process:
        run.until(lambda: run.texts() == ["hello"])
        (tmp_path / "seen").touch()
        finish(process)
    assert run.completions[0]["output"] == "true"


def test_a_flood_is_bounded_and_the_cut_is_marked(tmp_path: Path) -> None:
    """A task that writes without end is not held up, keeps 10,000 lines, and the rest is counted."""
    run = FakeRun()
    source = """
        @task
        def main(payload):
            for number in range(60_000):
                print(number)
            return "done"
    """
    assert execute(run, tmp_path, source).code == 0
    texts = run.texts()
    assert len(texts) == 10_000
    assert texts[:3] == ["0", "1", "2"]
    assert "50001 lines are missing here" in texts[-1]
    assert run.completions[0]["output"] == '"done"'


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    """Of a line longer than 64 KiB the beginning is kept and the cut is marked."""
    run = FakeRun()
    source = """
        @task
        def main(payload):
            for _ in range(100):
                sys.stdout.write("é" * 10_000)
            print()
            print("next")
    """
    assert execute(run, tmp_path, source).code == 0
    long, following = run.texts()
    assert len(long) == 65_536
    assert long.endswith("(line cut at 64 KiB)")
    assert following == "next"


def test_lines_survive_an_outage_of_their_route(tmp_path: Path) -> None:
    """Lines that could not be sent are sent again, once each."""
    run = FakeRun(faults={"logs": ["503", "lose_request", "lose_answer"]})
    source = """
        @task
        def main(payload):
            for number in range(20):
                print(number)
    """
    assert execute(run, tmp_path, source).code == 0
    assert run.texts() == [str(number) for number in range(20)]


def test_text_a_database_cannot_hold_is_replaced(tmp_path: Path) -> None:
    """NULs, broken UTF-8 and lone surrogates do not cost the line."""
    run = FakeRun()
    source = """
        @task
        def main(payload):
            print("a\\0b")
            os.write(1, b"\\xff broken\\n")
            print("\\ud800")
    """
    assert execute(run, tmp_path, source).code == 0
    assert set(run.texts()) == {"a\ufffdb", "\ufffd broken", "\\ud800"}


def test_a_task_may_close_its_streams(tmp_path: Path) -> None:
    """Closing or replacing sys.stdout hurts neither the attempt nor the next one's lines."""
    run = FakeRun()
    source = """
        @task(retry=Retry(min_timeout_ms=1))
        def main(payload, ctx):
            print("attempt", ctx.attempt.number)
            sys.stdout.close()
            if ctx.attempt.number == 1:
                raise ValueError
            return 1
    """
    assert execute(run, tmp_path, source).code == 0
    assert run.completions[-1]["ok"] is True
    assert (run.texts(1), run.texts(2)) == (["attempt 1"], ["attempt 2"])


def test_echo_shows_the_lines_here_as_well(tmp_path: Path) -> None:
    """A development session shows what its runs write."""
    ended = execute(
        FakeRun(),
        tmp_path,
        "@task\ndef main(payload):\n    print('hello')\n",
        CROSSFADE_RUNNER_ECHO="1",
    )
    assert ended.stderr == "hello\n"
