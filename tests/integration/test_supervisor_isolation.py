"""What a process workload can see and reach: its environment, its folder, its user, its packages."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fakes.supervisor_fixtures import (
    IMAGE,
    platform,
    shared_dir,
    start_supervisor,
    uid_base,
)
from tests.fakes.supervisor_process import eventually, make_artifact

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.supervisor_process import SupervisorProcess
    from tests.fakes.worker_platform import FakePlatform, FakeRun

    Start = Callable[..., SupervisorProcess]

__all__ = ["platform", "shared_dir", "start_supervisor", "uid_base"]

ALLOWED = {
    "CROSSFADE_CODE_DIR", "HOME", "LANG", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "TMPDIR", "TZ", "FROM_THE_OPERATOR", "PRETTY_LOGS",
}  # fmt: skip


def output_of(run: FakeRun, supervisor: SupervisorProcess) -> dict[str, Any]:
    """Wait for the run's end and give its output."""
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text)
    output: dict[str, Any] = json.loads(run.completions[0]["output"])
    return output


def make_wheel(folder: Path, name: str, version: str) -> None:
    """Write the smallest wheel: one empty module."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")


def test_environment_is_an_allow_list(platform: FakePlatform, start_supervisor: Start) -> None:
    """A workload sees what it is told, and nothing of the supervisor's own environment."""
    supervisor = start_supervisor(
        "import os; result.update(os.environ)",
        RUNNER_ADDITIONAL_ENV_VARS="FROM_THE_OPERATOR=a=b",
        RUNNER_HEARTBEAT_INTERVAL_SECONDS="7",
    )
    run = platform.add_run("env")
    seen = output_of(run, supervisor)
    assert {name for name in seen if not name.startswith("TRIGGER_")} <= ALLOWED
    assert not {"TRIGGER_WORKER_TOKEN", "TRIGGER_API_URL"} & seen.keys()
    assert seen["FROM_THE_OPERATOR"] == "a=b"
    assert seen["TRIGGER_HEARTBEAT_INTERVAL_SECONDS"] == "7"
    assert seen["TRIGGER_RUN_ID"] == run.id
    assert seen["TRIGGER_PROJECT_REF"] == "proj_ref"
    assert seen["TRIGGER_SUPERVISOR_API_PORT"] == str(supervisor.port)


def test_folder_is_private_and_goes_with_the_run(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """A workload works in a folder only it may enter, and the folder is removed afterwards."""
    supervisor = start_supervisor(
        "import os, tempfile\n"
        "result['cwd'] = os.getcwd()\n"
        "result['mode'] = os.stat('.').st_mode & 0o777\n"
        "result['temporary'] = tempfile.mkdtemp()"
    )
    seen = output_of(platform.add_run("folder"), supervisor)
    assert seen["mode"] == 0o700
    assert seen["temporary"].startswith(seen["cwd"])
    eventually(lambda: not Path(seen["cwd"]).exists())


def test_workloads_of_root_have_users_of_their_own(
    platform: FakePlatform, start_supervisor: Start, uid_base: int
) -> None:
    """As root, two workloads at once are two unprivileged users who cannot read each other."""
    supervisor = start_supervisor(
        "import os, time\n"
        "from pathlib import Path\n"
        "Path('secret').write_text('mine')\n"
        "time.sleep(1.5)\n"
        "others = [p for p in os.environ['TMPDIR'].rsplit('/', 2)[:1]]\n"
        "result['uid'] = os.getuid()\n"
        "result['listing'] = os.access(others[0], os.R_OK)"
    )
    runs = [platform.add_run("first"), platform.add_run("second")]
    seen = [output_of(run, supervisor) for run in runs]
    expected = {uid_base, uid_base + 1} if os.geteuid() == 0 else {os.geteuid()}
    assert {one["uid"] for one in seen} == expected
    assert [one["listing"] for one in seen] == [os.geteuid() != 0] * 2


def test_workloads_may_share_a_file_outside_their_folders(
    platform: FakePlatform, start_supervisor: Start, shared_dir: Path
) -> None:
    """A file that one workload made in a common folder can be appended to by the next."""
    folder = shared_dir / "common"
    folder.mkdir()
    folder.chmod(0o777)
    supervisor = start_supervisor(
        "import os, time\n"
        f"n = os.open('{folder}/lines', os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)\n"
        "os.write(n, b'line\\n')\n"
        "time.sleep(1)"
    )
    runs = [platform.add_run("one"), platform.add_run("two")]
    for run in runs:
        output_of(run, supervisor)
    assert (folder / "lines").read_text() == "line\nline\n"


def test_users_can_be_switched_off(platform: FakePlatform, start_supervisor: Start) -> None:
    """Where the supervisor may not change users, workloads run as its own user."""
    supervisor = start_supervisor(
        "import os; result['uid'] = os.getuid()", CROSSFADE_WORKLOAD_USERS="false"
    )
    assert output_of(platform.add_run("same"), supervisor) == {"uid": os.geteuid()}


def test_code_cannot_be_changed_by_a_run(platform: FakePlatform, start_supervisor: Start) -> None:
    """The unpacked code is shared by runs, so none of them may write to it."""
    supervisor = start_supervisor(
        "import os\n"
        "code = os.environ['CROSSFADE_CODE_DIR']\n"
        "result['mode'] = os.stat(code + '/script.py').st_mode & 0o222"
    )
    assert output_of(platform.add_run("code"), supervisor) == {"mode": 0}


def test_client_is_importable_and_the_server_is_not(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """A task may import the HTTP client that comes with the package, and nothing of the server."""
    supervisor = start_supervisor(
        "import importlib.util as u\n"
        "for name in ('httpx', 'crossfade', 'django', 'supervisor', 'pydantic'):\n"
        "    result[name] = u.find_spec(name) is not None"
    )
    assert output_of(platform.add_run("imports"), supervisor) == {
        "httpx": True,
        "crossfade": True,
        "django": False,
        "supervisor": False,
        "pydantic": False,
    }


def test_requirements_are_installed_once_per_content(
    platform: FakePlatform, start_supervisor: Start, tmp_path: Path
) -> None:
    """Two runs with the same requirements share one environment, and its packages come first."""
    make_wheel(tmp_path, "idna", "99.1")
    supervisor = start_supervisor(UV_FIND_LINKS=str(tmp_path), UV_OFFLINE="1")
    script = "import idna; result['path'] = idna.__file__"
    files = {"script.py": script, "requirements.txt": "idna==99.1\n"}
    platform.add_artifact("with-requirements", make_artifact(files))
    runs = [platform.add_run(name, image="with-requirements") for name in ("one", "two")]
    paths = {output_of(run, supervisor)["path"] for run in runs}
    assert len(paths) == 1
    assert "/environments/" in paths.pop()
    assert len(list((supervisor.workspace / "environments").glob("[!.]*"))) == 1


def test_requirements_that_cannot_be_installed_are_reported(
    platform: FakePlatform, start_supervisor: Start
) -> None:
    """A failed installation is a failed create with the installer's words, and may be repeated."""
    supervisor = start_supervisor(UV_OFFLINE="1")
    files = {"script.py": "", "requirements.txt": "idna==99.1\n"}
    platform.add_artifact("impossible", make_artifact(files))
    run = platform.add_run("impossible", image="impossible")
    eventually(lambda: run.status == "FINISHED", what=supervisor.log_text)
    assert run.failures[0]["reason"] == "create_failed"
    assert "idna" in run.failures[0]["message"]
    assert run.failures[0]["permanent"] is False


def test_state_below_a_closed_folder_moves_to_the_shared_one(
    platform: FakePlatform, start_supervisor: Start, shared_dir: Path
) -> None:
    """As root, a state folder that workloads cannot reach is replaced by one they can."""
    closed = shared_dir / "closed"
    closed.mkdir(mode=0o700)
    supervisor = start_supervisor(
        "result['done'] = True", CROSSFADE_SUPERVISOR_DIR=f"{closed}/state"
    )
    assert output_of(platform.add_run("moved"), supervisor) == {"done": True}
    inside = supervisor.workspace.is_relative_to(closed)
    assert inside == (os.geteuid() != 0)


def test_image_is_fetched_once(platform: FakePlatform, start_supervisor: Start) -> None:
    """Runs of one image that arrive together share a download, and later ones need none."""
    supervisor = start_supervisor()
    runs = [platform.add_run(f"run{number}", image=IMAGE) for number in range(4)]
    for run in runs:
        output_of(run, supervisor)
    assert len(platform.calls_of("artifact")) == 1
