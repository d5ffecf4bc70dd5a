"""The artifact: the same bytes for the same files, and nothing that does not belong in it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from compute.processes.unpack import MAX_MEMBERS, MAX_UNPACKED_BYTES
from crossfade.cli.archive import LARGEST_BYTES, MOST_FILES, build_archive, unpack_archive
from crossfade.cli.console import CommandFailed
from crossfade.cli.ignore import is_ignored, rules_for
from crossfade.cli.source import collect_files
from deployments.artifacts import MAX_ARTIFACT_BYTES

if TYPE_CHECKING:
    from pathlib import Path


def fill(folder: Path, *names: str) -> None:
    """Write files whose content is their name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, "utf-8")


def names_of(path: Path) -> list[str]:
    """Give the names an artifact of a path has."""
    return [item.name for item in collect_files(path)]


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    """Times, owners, places and the order of writing leave no trace."""
    first, second = tmp_path / "a", tmp_path / "b"
    fill(first, "tasks.py", "pkg/x.py", "data/é.csv")
    fill(second, "data/é.csv", "pkg/x.py", "tasks.py")
    os.utime(second / "tasks.py", (1, 1))
    (second / "tasks.py").chmod(0o600)
    one, two = (build_archive(collect_files(folder)) for folder in (first, second))
    assert one == two
    assert one.digest.startswith("sha256:")


def test_content_and_the_executable_bit_count(tmp_path: Path) -> None:
    """A changed byte, name or executable bit is another artifact."""
    fill(tmp_path, "tasks.py")
    digests = {build_archive(collect_files(tmp_path)).digest}
    (tmp_path / "tasks.py").chmod(0o755)
    digests.add(build_archive(collect_files(tmp_path)).digest)
    fill(tmp_path, "more.py")
    digests.add(build_archive(collect_files(tmp_path)).digest)
    assert len(digests) == 3


def test_an_artifact_unpacks_to_its_files(tmp_path: Path) -> None:
    """What is unpacked is what was packed."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    fill(source, "tasks.py", "pkg/x.py")
    copy.mkdir()
    unpack_archive(build_archive(collect_files(source)), copy)
    assert names_of(copy) == names_of(source)
    assert (copy / "pkg/x.py").read_text("utf-8") == "pkg/x.py"


def test_caches_histories_and_secrets_stay_out(tmp_path: Path) -> None:
    """What no deployment wants is left out without being asked."""
    fill(tmp_path, "tasks.py", ".git/config", "__pycache__/a.pyc", "a.pyc", ".venv/x", ".env",
         ".env.local", "node_modules/x/y.js", "sub/.env", "sub/.envrc", "sub/__pycache__/b",
         ".hidden", "sub/x.py")  # fmt: skip
    assert names_of(tmp_path) == [".hidden", "sub/x.py", "tasks.py"]


def test_an_ignore_file_is_honoured(tmp_path: Path) -> None:
    """Patterns by name, from the top, for folders, and their exceptions."""
    fill(tmp_path, "tasks.py", "a.log", "sub/b.log", "sub/keep.log", "data/x.csv", "sub/data/y.csv",
         "build/z")  # fmt: skip
    (tmp_path / ".crossfadeignore").write_text(
        "# logs\n*.log\n!keep.log\n/data/\nbuild/\n", "utf-8"
    )
    assert names_of(tmp_path) == ["sub/data/y.csv", "sub/keep.log", "tasks.py"]


@pytest.mark.parametrize(
    ("pattern", "path", "is_folder", "ignored"),
    [
        ("*.csv", "a/b.csv", False, True),
        ("a/*.csv", "a/b.csv", False, True),
        ("a/*.csv", "x/a/b.csv", False, False),
        ("/top.txt", "top.txt", False, True),
        ("/top.txt", "sub/top.txt", False, False),
        ("out/", "out", False, False),
        ("out/", "deep/out", True, True),
    ],
)
def test_ignore_patterns(pattern: str, path: str, is_folder: bool, ignored: bool) -> None:
    """A pattern with a slash counts from the top, one without matches a name anywhere."""
    assert is_ignored(rules_for(pattern), path, is_folder=is_folder) is ignored


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """A link may not carry a foreign file into the artifact; one inside is followed."""
    folder = tmp_path / "source"
    fill(folder, "tasks.py")
    (folder / "inside.py").symlink_to("tasks.py")
    assert names_of(folder) == ["inside.py", "tasks.py"]
    fill(tmp_path, "secret")
    (folder / "outside").symlink_to(tmp_path / "secret")
    with pytest.raises(CommandFailed, match="outside is a link out of"):
        collect_files(folder)


def test_links_to_folders_are_refused(tmp_path: Path) -> None:
    """A folder behind a link would be missing from the artifact: that is said."""
    fill(tmp_path, "tasks.py", "real/x.py")
    (tmp_path / "linked").symlink_to("real")
    with pytest.raises(CommandFailed, match="linked is a link to a folder"):
        collect_files(tmp_path)


@pytest.mark.parametrize("name", ["nothing", "readme.md"])
def test_paths_that_cannot_be_deployed(tmp_path: Path, name: str) -> None:
    """A path is a Python file, a package or a folder."""
    fill(tmp_path, "readme.md")
    with pytest.raises(CommandFailed, match=name):
        collect_files(tmp_path / name)


def test_a_single_file_brings_its_requirements(tmp_path: Path) -> None:
    """A file is deployed alone, with the requirements beside it."""
    fill(tmp_path, "tasks.py", "other.py", "requirements.txt")
    assert names_of(tmp_path / "tasks.py") == ["requirements.txt", "tasks.py"]


def test_an_ignore_file_is_text(tmp_path: Path) -> None:
    """One in another encoding is named, and nothing is guessed about what to leave out."""
    fill(tmp_path, "tasks.py")
    (tmp_path / ".crossfadeignore").write_bytes(b"\xff\xfe*\x00")
    with pytest.raises(CommandFailed, match=r"\.crossfadeignore is no text in UTF-8"):
        collect_files(tmp_path)


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is gone or locked fails the deploy, and a folder is not left out in silence."""
    fill(tmp_path, "tasks.py", "data/x.csv")
    found = collect_files(tmp_path)
    (tmp_path / "data" / "x.csv").unlink()
    with pytest.raises(CommandFailed, match=r"data/x\.csv cannot be read: No such file"):
        build_archive(found)
    scan = os.scandir

    def locked(path: str) -> Any:
        if str(path).endswith("data"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(CommandFailed, match="data cannot be read: Permission denied"):
        collect_files(tmp_path)


def test_no_more_files_are_packed_than_runs_unpack(tmp_path: Path) -> None:
    """A deploy says so, where every run would have to; both sides have the same bounds."""
    fill(tmp_path, "tasks.py")
    with pytest.raises(CommandFailed, match="50001 files, at most 50000 are taken"):
        build_archive(collect_files(tmp_path) * (MOST_FILES + 1))
    assert MOST_FILES == MAX_MEMBERS
    assert LARGEST_BYTES == MAX_ARTIFACT_BYTES
    assert 4 * LARGEST_BYTES < MAX_UNPACKED_BYTES


def test_too_large_a_folder_names_its_largest_files(tmp_path: Path) -> None:
    """The limit is said before anything is packed, with the files to leave out."""
    fill(tmp_path, "tasks.py")
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(900 * 1024 * 1024)  # sparse: takes no room
    with pytest.raises(CommandFailed, match=r"model\.bin \(900 MB\)"):
        build_archive(collect_files(tmp_path))
    shutil.rmtree(tmp_path)
