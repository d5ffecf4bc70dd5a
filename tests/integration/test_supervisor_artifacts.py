"""Artifacts from strangers: unpacked only inside their folder, bounded, cached by content."""

from __future__ import annotations

import asyncio
import gzip
import io
import tarfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from compute.processes.artifacts import Artifacts, MissingArtifact, UnavailableArtifact
from compute.processes.unpack import InvalidArtifact, unpack_artifact
from tests.fakes.supervisor_process import make_artifact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def archive_of(folder: Path, *members: tarfile.TarInfo, data: bytes = b"x") -> Path:
    """Write a gzipped tar with these members."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(data) if member.isreg() else None)
    path = folder / "archive.tar.gz"
    path.write_bytes(gzip.compress(plain.getvalue()))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Give a link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def device(name: str) -> tarfile.TarInfo:
    """Give a device."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.CHRTYPE
    return info


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo("/etc/thing"),
        link("inner", "tasks.py"),
        tarfile.TarInfo("a/../../outside"),
        link("link", "/etc/passwd"),
        link("link", "../outside"),
        link("hard", "../outside", tarfile.LNKTYPE),
        device("device"),
    ],
)
def test_nothing_leaves_the_folder(tmp_path: Path, member: tarfile.TarInfo) -> None:
    """Names that lead out, links of any kind and devices are refused."""
    folder = tmp_path / "code"
    folder.mkdir()
    with pytest.raises(InvalidArtifact):
        unpack_artifact(archive_of(tmp_path, member), folder)
    assert not (tmp_path / "outside").exists()


def test_bombs_are_bounded(tmp_path: Path) -> None:
    """Too many bytes, in files or in headers, and too many files end the unpacking."""
    folder = tmp_path / "code"
    folder.mkdir()
    zeros = archive_of(tmp_path, tarfile.TarInfo("zeros"), data=bytes(2_000_000))
    with pytest.raises(InvalidArtifact, match="limit"):
        unpack_artifact(zeros, folder, max_bytes=1_000_000)
    headers = tarfile.TarInfo("a" * 2_000_000)
    with pytest.raises(InvalidArtifact, match="limit"):
        unpack_artifact(archive_of(tmp_path, headers), folder, max_bytes=1_000_000)
    many = archive_of(tmp_path, *(tarfile.TarInfo(str(number)) for number in range(20)))
    with pytest.raises(InvalidArtifact, match="10 files"):
        unpack_artifact(many, folder, max_members=10)


def test_holes_are_refused(tmp_path: Path) -> None:
    """A file with holes is larger than any of its bytes: a small archive could fill the disk."""
    folder = tmp_path / "code"
    folder.mkdir()
    hole = tarfile.TarInfo("hole")
    sparse = {"size": "3000000", "map": "3000000,0", "numblocks": "1", "major": "0", "minor": "1"}
    hole.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
    with pytest.raises(InvalidArtifact, match="holes"):
        unpack_artifact(archive_of(tmp_path, hole, data=b""), folder, max_bytes=1_000_000)
    assert list(folder.iterdir()) == []


def test_headers_that_make_no_sense_are_told(tmp_path: Path) -> None:
    """A number that is none, where the library reads one, is the archive's fault and not ours."""
    odd = tarfile.TarInfo("odd")
    odd.pax_headers = {"GNU.sparse.map": "x", "GNU.sparse.size": "1"}
    with pytest.raises(InvalidArtifact, match="cannot be unpacked"):
        unpack_artifact(archive_of(tmp_path, odd, data=b""), tmp_path)


@pytest.mark.parametrize("data", [b"", b"not an archive", gzip.compress(b"neither", mtime=0)[:-6]])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    """Bytes that are no archive, or end too early, are refused as such."""
    path = tmp_path / "archive"
    path.write_bytes(data)
    with pytest.raises(InvalidArtifact):
        unpack_artifact(path, tmp_path)


class Store:
    """An artifact store in memory, counting downloads."""

    def __init__(self, **artifacts: bytes) -> None:
        self.artifacts = artifacts
        self.downloads: list[str] = []
        self.status = 200

    @asynccontextmanager
    async def stream_artifact(self, image: str) -> AsyncIterator[httpx.Response]:
        """Answer a download."""
        import hashlib

        self.downloads.append(image)
        await asyncio.sleep(0)
        data = self.artifacts.get(image)
        digest = hashlib.sha256(data or b"").hexdigest()
        yield httpx.Response(
            404 if data is None else self.status,
            headers={"x-artifact-digest": f"sha256:{digest}"},
            content=data or b"",
        )


def test_concurrent_callers_share_a_download(tmp_path: Path) -> None:
    """Ten runs of one image cause one download, and a restart causes none."""
    store = Store(image=make_artifact({"a.py": "1", "requirements.txt": "idna"}))

    async def scenario() -> None:
        cache = Artifacts(tmp_path, max_bytes=10**9)
        codes = await asyncio.gather(*(cache.ensure("image", store) for _ in range(10)))
        assert len({code.folder for code in codes}) == 1
        assert codes[0].requirements == "idna"
        again = await Artifacts(tmp_path, max_bytes=10**9).ensure("image", store)
        assert again.folder == codes[0].folder

    asyncio.run(scenario())
    assert store.downloads == ["image"]


def test_images_of_one_content_that_come_at_one_moment(tmp_path: Path) -> None:
    """One code that is deployed twice at once is unpacked once, and both have it."""
    content = make_artifact({f"{number}.py": "x = 1\n" * 2000 for number in range(100)})
    store = Store(**{f"image-{number}": content for number in range(4)})

    async def scenario() -> None:
        cache = Artifacts(tmp_path, max_bytes=10**9)
        codes = await asyncio.gather(*(cache.ensure(image, store) for image in store.artifacts))
        assert len({code.folder for code in codes}) == 1
        assert len(list(codes[0].folder.iterdir())) == 100

    asyncio.run(scenario())
    assert len(list((tmp_path / "code").iterdir())) == 1


def test_contents_that_come_at_one_moment_make_room(tmp_path: Path) -> None:
    """Whatever has to go for all of them goes once."""
    store = Store(**{name: make_artifact({"f": name * 5000}) for name in "abcdefgh"})

    async def scenario() -> None:
        cache = Artifacts(tmp_path, max_bytes=12_000)
        for name in "ab":
            cache.release(await cache.ensure(name, store))
        await asyncio.gather(*(cache.ensure(name, store) for name in "cdefgh"))

    asyncio.run(scenario())


def test_least_used_goes_first_and_pinned_stays(tmp_path: Path) -> None:
    """Past the limit, what was used longest ago is removed, unless a run executes from it."""
    store = Store(**{name: make_artifact({"f": name * 5000}) for name in "abc"})

    async def scenario() -> None:
        cache = Artifacts(tmp_path, max_bytes=12_000)
        first = await cache.ensure("a", store)
        second = await cache.ensure("b", store)
        cache.release(second)
        third = await cache.ensure("c", store)
        assert [code.folder.exists() for code in (first, second, third)] == [True, False, True]
        assert (await cache.ensure("b", store)).folder.exists()

    asyncio.run(scenario())
    assert store.downloads == ["a", "b", "c", "b"]


def test_failures_have_their_kind_and_leave_nothing(tmp_path: Path) -> None:
    """A missing artifact, a failing store and broken content are told apart; none is kept."""
    store = Store(broken=b"no archive", fine=make_artifact({"a": "b"}))

    async def scenario() -> None:
        cache = Artifacts(tmp_path, max_bytes=10**9)
        with pytest.raises(MissingArtifact):
            await cache.ensure("unknown", store)
        with pytest.raises(InvalidArtifact):
            await cache.ensure("broken", store)
        store.status = 500
        with pytest.raises(UnavailableArtifact):
            await cache.ensure("fine", store)
        assert list((tmp_path / "code").iterdir()) == []
        store.status = 200
        assert (await cache.ensure("fine", store)).folder.is_dir()

    asyncio.run(scenario())
