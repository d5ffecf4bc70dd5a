"""Python environments for task code: one per content of requirements.txt, shared by all runs.

Only wheels are installed, so nothing that a requirement brings is executed while installing, and
only plain requirement lines are accepted, so a file cannot make the installer read others.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compute.processes.interpreter import Interpreter

INSTALL_TIMEOUT_S = 600
TAIL_CHARS = 1500
PLAIN_LINE = re.compile(r"\s*(#.*|--hash=sha\d+:[0-9a-f]+\s*\\?|[A-Za-z0-9][^/]*|)\s*")
URL_LINE = re.compile(r"\s*[A-Za-z0-9][\w.-]*(\[[\w,.-]+\])?\s*@\s*https://\S+.*")


class EnvironmentFailed(Exception):
    """The requirements could not be installed; the message has the installer's last words."""


@dataclass(frozen=True, slots=True)
class Installer:
    """The package installer and what it may see of the environment."""

    program: str
    env: Mapping[str, str]


def find_installer(env: Mapping[str, str]) -> Installer:
    """Give the `uv` that was installed beside this interpreter, else the one on the path."""
    beside = Path(sys.executable).with_name("uv")
    return Installer(program=str(beside) if beside.exists() else "uv", env=env)


def invalid_requirement(requirements: str) -> str | None:
    """Give the first line that is not a plain requirement, or None when all are."""
    for line in requirements.splitlines():
        plain = PLAIN_LINE.fullmatch(line) or URL_LINE.fullmatch(line)
        if not plain or "file:" in line:
            return line.strip()[:200]
    return None


class Environments:
    """The environments of one process, under a folder; each appears in one step."""

    def __init__(self, folder: Path, interpreter: Interpreter, installer: Installer) -> None:
        self._folder = folder
        self._interpreter = interpreter
        self._installer = installer
        self._running: dict[str, asyncio.Task[Path]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        for leftover in folder.glob(".*"):
            shutil.rmtree(leftover)

    async def ensure(self, requirements: str) -> Path:
        """Give the Python of the environment with these requirements. Raises `EnvironmentFailed`.

        Concurrent callers share one installation; a failed one is tried again by the next caller.
        """
        name = self._name(requirements)
        python = self._folder / name / "bin" / "python"
        if python.exists():
            return python
        task = self._running.get(name)
        if task is None:
            task = asyncio.create_task(self._install(name, requirements))
            self._running[name] = task
            task.add_done_callback(lambda _: self._running.pop(name, None))
        return await asyncio.shield(task)

    def _name(self, requirements: str) -> str:
        stamp = f"{self._interpreter.executable}|{sys.version}|{requirements}"
        return hashlib.sha256(stamp.encode()).hexdigest()[:32]

    async def _install(self, name: str, requirements: str) -> Path:
        bad = invalid_requirement(requirements)
        if bad is not None:
            raise EnvironmentFailed(f"requirements.txt may hold plain requirements only: {bad!r}")
        new = self._folder / f".{name}"
        await asyncio.to_thread(shutil.rmtree, new, ignore_errors=True)
        try:
            await self._fill(new, requirements)
            new.rename(self._folder / name)
        finally:
            await asyncio.to_thread(shutil.rmtree, new, ignore_errors=True)
        return self._folder / name / "bin" / "python"

    async def _fill(self, new: Path, requirements: str) -> None:
        base = str(self._interpreter.executable)
        await self._run(
            ["venv", "--quiet", "--relocatable", "--no-project", "--python", base, str(new)]
        )
        if not requirements.strip():
            return
        listed = new / "requirements.txt"
        listed.write_text(requirements, encoding="utf-8")
        hashes = ["--require-hashes"] if "--hash=" in requirements else []
        python = str(new / "bin" / "python")
        await self._run(
            [
                "pip",
                "install",
                "--quiet",
                "--compile-bytecode",
                "--only-binary",
                ":all:",
                *hashes,
                "--python",
                python,
                "-r",
                str(listed),
            ]
        )

    async def _run(self, arguments: Sequence[str]) -> None:
        env = {**self._installer.env, "LD_LIBRARY_PATH": self._interpreter.library_path}
        process = await asyncio.create_subprocess_exec(
            self._installer.program,
            *arguments,
            env={name: value for name, value in env.items() if value},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            umask=0o022,
        )
        try:
            async with asyncio.timeout(INSTALL_TIMEOUT_S):
                output, _ = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            text = f"installing took longer than {INSTALL_TIMEOUT_S} s"
            raise EnvironmentFailed(text) from error
        if process.returncode != 0:
            tail = output.decode(errors="replace").strip()[-TAIL_CHARS:]
            raise EnvironmentFailed(f"the requirements could not be installed: {tail}")
