"""The pages for task authors, gone through as a stranger does: every command, in their order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.node_programs import NODE

if TYPE_CHECKING:
    from tests.live import LiveStack
    from tests.node_programs import NodePrograms

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 240
MARK = "---- block ----"
DEV = "crossfade dev "


class Block(NamedTuple):
    """Commands of a page, and what it shows of their answers."""

    commands: str
    shown: tuple[str, ...]  # parts that follow one another


class Page(NamedTuple):
    """What a page has its reader write and type."""

    files: dict[str, str]  # those whose first line names them
    blocks: list[Block]


def page_of(name: str) -> Page:
    """Read a page of the docs."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    files: dict[str, str] = {}
    blocks: list[Block] = []
    for kind, body in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        named = re.match(r"(?:#|//) (\S+\.(?:py|mjs))", body)
        if named:
            files[named[1]] = body
        elif kind == "sh":
            blocks.append(Block(body, ()))
        elif kind == "text":
            parts = tuple(part for part in map(spoken, body.split("...")) if part)
            blocks[-1] = blocks[-1]._replace(shown=parts)
    return Page(files, blocks)


def spoken(text: str) -> str:
    """Give a text without its spaces, which pages and terminals break differently."""
    return re.sub(r"\s+", "", text)


def typed(block: Block) -> str:
    """Give the block as this shell types it; a session is left open, as in a shell of its own."""
    if block.commands.startswith(DEV):
        session = f"{block.commands.strip()} > dev.log 2>&1 & SESSION=$!\n"
        wait = "until grep -q 'waiting for runs' dev.log; do kill -0 $SESSION; read -rt 0.2 <> <(:) || :; done\n"
        return f"{session}{wait}cat dev.log\n"
    return block.commands


def run_page(page: Page, stack: LiveStack, folder: Path, keys: dict[str, str]) -> list[str]:
    """Type all of a page into one shell; give what each block printed."""
    for name, text in page.files.items():
        (folder / name).write_text(text)
    script = "\n".join(f"{typed(block)}\necho; echo '{MARK}'" for block in page.blocks)
    environment = stack.client_environment(keys["prod"])
    environment["TRIGGER_DEV_SECRET_KEY"] = keys["dev"]
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    end = "trap '[ -z \"${SESSION:-}\" ] || kill $SESSION' EXIT\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", end + script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout.split(MARK)[:-1]


def test_getting_started_does_what_it_says(live_stack: LiveStack, tmp_path: Path) -> None:
    """Every command succeeds and answers as shown, from the first file to the development session."""
    page = page_of("getting-started.md")
    outputs = run_page(page, live_stack, tmp_path, live_stack.new_tenant())
    assert len(outputs) == len(page.blocks) > 6
    for block, output in zip(page.blocks, outputs, strict=True):
        rest = spoken(output)
        for part in block.shown:
            assert part in rest, (block.commands, part, output)
            rest = rest.partition(part)[2]


@pytest.mark.node
def test_the_sdks_page_does_what_it_says(live_stack: LiveStack, node: NodePrograms) -> None:
    """Its program prints what the task returned; what it says is not there answers as it says."""
    page = page_of("sdk.md")
    keys = live_stack.new_tenant()
    folder = node.folder
    program = folder / "page_program.mjs"
    text = page.files["program.mjs"].replace("send-invoice", "hello-world")
    program.write_text(text.replace('customer: "ada"', 'name: "Ada"'))
    done = subprocess.run(
        [str(NODE), program.name],
        cwd=folder,
        env=live_stack.client_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    program.unlink()
    assert done.stdout.strip() == "COMPLETED { message: 'Hello, Ada!' }", done.stderr
    told = node.play(live_stack, "refused", "everything", key=keys["prod"], task="t")
    assert {name: one["status"] for name, one in told.items()} == {
        "large": 404,
        "debounce": 422,
        "pinned": 422,
        "schedules": 404,
        "envvars": 404,
        "token": 404,
    }
