"""The pure parts of the embedded stack."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from compute.gateway.env import read_gateway_env
from supervisor.env import read_env as read_supervisor_env
from webapp.embedded.devenv import FROM_DEMO, dev_env_text
from webapp.embedded.environment import (
    FROM_DEV_ENV,
    Surroundings,
    client_environment,
    compute_supervisor_environment,
    control_plane_environment,
    gateway_environment,
    read_choices,
    supervisor_environment,
)
from webapp.embedded.output import LogFile, json_line
from webapp.embedded.ports import InvalidPort, Ports, read_web_port
from webapp.embedded.procfile import InvalidProcfile, arguments_of, read_procfile
from webapp.embedded.restarts import AT_ONCE_S, LONGEST_DELAY_S, decide_restart
from webapp.embedded.secrets import UnreadableSecrets, load_secrets, make_secrets
from webapp.embedded.state import NotAStateFolder, StackRunning, State
from webapp.embedded.steps import plain_line
from webapp.env import read_env
from webapp.redaction import redact, redact_text

REPOSITORY = Path(__file__).resolve().parents[2]


def _surroundings(*embedded_urls: str, **changes: str) -> Surroundings:
    values = {"database_url": "postgres://u:p@127.0.0.1:1/d", "redis_url": "redis://:p@h:1/0"}
    return Surroundings(
        repository=REPOSITORY,
        python=Path("/venv/bin/python"),
        state=Path("/state"),
        workload_state=Path("/state/servers"),
        ports=Ports.from_web(8030),
        secrets=make_secrets(),
        embedded_urls=embedded_urls,
        inherited={
            "PATH": "/usr/bin",
            "RUN_ENGINE_TIMEOUT_EXECUTING": "5",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        **(values | changes),
    )


def test_ports_keep_their_distance_from_the_web_port() -> None:
    """PORT moves every fixed port by the same distance."""
    first, second = Ports.from_web(8030), Ports.from_web(9030)
    assert (first.postgres, first.valkey, first.supervisor_container) == (8031, 8032, 8040)
    assert second.supervisor_container - first.supervisor_container == 1000


@pytest.mark.parametrize("text", ["x", "0", "-1", "65530", "8030.0", "1e3"])
def test_port_that_is_none_is_refused(text: str) -> None:
    """A PORT from which the others cannot be counted is named in the error."""
    with pytest.raises(InvalidPort, match="PORT is"):
        read_web_port(text)
    assert read_web_port("") == 8030


def test_restart_is_at_once_after_a_good_start() -> None:
    """A process that had run well is started again at once, however often it died before."""
    assert decide_restart(lived_s=60, short_lives=9).delay_s == AT_ONCE_S
    assert decide_restart(lived_s=60, short_lives=9).short_lives == 0


def test_restart_backs_off_after_repeated_deaths() -> None:
    """Short lives in a row are answered ever later, up to a bound."""
    lives, delays = 0, []
    for _ in range(12):
        restart = decide_restart(lived_s=1, short_lives=lives)
        lives = restart.short_lives
        delays.append(restart.delay_s)
        assert restart.is_backing_off == (restart.delay_s > AT_ONCE_S)
    assert delays[:6] == [AT_ONCE_S, AT_ONCE_S, AT_ONCE_S, 1, 2, 4]
    assert delays[-1] == LONGEST_DELAY_S == max(delays)


def test_procfile_of_the_repository_names_the_processes() -> None:
    """Every process of the stack but the servers is in the Procfile, and its variables are set."""
    commands = read_procfile((REPOSITORY / "Procfile").read_text())
    assert list(commands) == [
        "web",
        "worker",
        "beat",
        "supervisor-container",
        "gateway",
        "supervisor-compute",
    ]
    variables = control_plane_environment(_surroundings(), "web")
    for command in commands.values():
        assert arguments_of(command, python="/py", variables=variables)[0] == "/py"
    assert "8030" in arguments_of(commands["web"], python="/py", variables=variables)


@pytest.mark.parametrize("text", ["web", "web:", "Web: python x", "a: python\na: python"])
def test_procfile_that_cannot_be_read_is_refused(text: str) -> None:
    """A bad line is named by its number."""
    with pytest.raises(InvalidProcfile, match="line"):
        read_procfile(text)


def test_procfile_command_needs_python_and_its_variables() -> None:
    """No shell is involved: a command is Python, and each variable has to be set."""
    with pytest.raises(InvalidProcfile, match="python"):
        arguments_of("sh -c true", python="/py", variables={})
    with pytest.raises(InvalidProcfile, match="NOWHERE"):
        arguments_of("python $NOWHERE", python="/py", variables={})


def test_line_that_is_json_is_kept() -> None:
    """A JSON object passes unchanged, anything else is wrapped."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert json_line("web", '{"a": 1}', at) == '{"a": 1}'
    assert json.loads(json_line("web", "[1]", at)) == {
        "at": "2026-01-02T03:04:05.000Z",
        "process": "web",
        "event": "output",
        "text": "[1]",
    }


def test_failure_is_shown_as_it_was_written() -> None:
    """A person who is shown the end of a log reads what the process wrote, not its wrapping."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    assert plain_line(json_line("seed", "Traceback: it's broken", at)) == "Traceback: it's broken"
    assert plain_line('{"event": "run.failed"}') == '{"event": "run.failed"}'


def test_log_file_is_set_aside_at_its_bound(tmp_path: Path) -> None:
    """A log never grows past its bound by more than a write, and old ones are numbered."""
    log = LogFile(tmp_path / "web.log", "web", max_bytes=500, kept=2)
    for number in range(40):
        log.feed(f"line {number}\n".encode())
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.log", "web.log.1", "web.log.2"]
    assert "line 39" in "".join(path.read_text() for path in tmp_path.iterdir())
    assert all(path.stat().st_size < 700 for path in tmp_path.iterdir())


def test_log_line_without_end_is_bounded(tmp_path: Path) -> None:
    """A process that writes without line ends cannot fill the memory."""
    log = LogFile(tmp_path / "web.log", "web")
    log.feed(b"x" * 200_000)
    log.close()
    texts = [json.loads(line)["text"] for line in (tmp_path / "web.log").read_text().splitlines()]
    assert [len(text) for text in texts] == [65_536, 65_536, 65_536, 3392]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("key tr_prod_ABCDEFGH12345678 used", "key tr_prod_[hidden] used"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [hidden]"),
        (
            "at postgres://crossfade:s3cret@127.0.0.1:1/x",
            "at postgres://crossfade:[hidden]@127.0.0.1:1/x",
        ),
        ("redis://:s3cret@h:1/0", "redis://:[hidden]@h:1/0"),
        ("GET http://127.0.0.1:8030/run", "GET http://127.0.0.1:8030/run"),
        ("eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl", "[hidden]"),
    ],
)
def test_redaction_hides_credentials_in_text(text: str, kept: str) -> None:
    """What looks like a credential is hidden, and the rest stays readable."""
    assert redact_text(text) == kept


def test_redaction_hides_by_name_at_any_depth() -> None:
    """A value under the name of a secret is hidden wherever it stands."""
    value = {"a": [{"admin_password": "x", "token": None, "count": 3}], "Authorization": "Basic"}
    assert redact(value) == {
        "a": [{"admin_password": "[hidden]", "token": None, "count": 3}],
        "Authorization": "[hidden]",
    }


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """The same secrets are found at every start, in a file that only its owner reads."""
    path = tmp_path / "secrets.json"
    first = load_secrets(path)
    assert load_secrets(path) == first != make_secrets()
    assert path.stat().st_mode & 0o777 == 0o600


def test_secrets_of_an_older_stack_are_completed(tmp_path: Path) -> None:
    """A secret that a later version needs is added, and none that exists is changed."""
    path = tmp_path / "secrets.json"
    first = load_secrets(path)
    values = json.loads(path.read_text())
    del values["workload_token_secret"]
    path.write_text(json.dumps(values))
    second = load_secrets(path)
    assert second.workload_token_secret != first.workload_token_secret
    assert second.encryption_key == first.encryption_key
    assert load_secrets(path) == second


@pytest.mark.parametrize("text", ["{", "[]", '{"stack_id": 1}'])
def test_damaged_secrets_are_not_replaced(tmp_path: Path, text: str) -> None:
    """Damaged secrets stop the stack: new ones could not read what the old ones encrypted."""
    path = tmp_path / "secrets.json"
    path.write_text(text)
    with pytest.raises(UnreadableSecrets, match="make clean"):
        load_secrets(path)
    assert path.read_text() == text


def test_state_folder_has_one_holder(tmp_path: Path) -> None:
    """A second stack on the same folder is refused until the first lets go."""
    state = State(tmp_path / "var")
    state.make()
    assert state.holder() is None
    with state.hold():
        with pytest.raises(StackRunning, match="runs on"):
            state.hold()
        assert state.holder() is not None
    assert state.holder() is None
    state.hold().close()


def test_state_folder_is_never_somebody_elses(tmp_path: Path) -> None:
    """A folder that holds something else is neither used nor removed."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NotAStateFolder):
        State(tmp_path).make()
    assert not State(tmp_path).is_ours()


def test_environment_of_web_is_complete() -> None:
    """What the stack gives to the web process satisfies its reader, with the short timeouts."""
    env = read_env(control_plane_environment(_surroundings(), "web"))
    assert env.mode == "development"
    assert env.reload_interval_ms == 1000
    assert env.timeout_pending_executing_ms == 10_000
    assert env.timeout_executing_ms == 5, "what the person has set wins"


def test_only_the_worker_waits_briefly_for_a_connection() -> None:
    """Its jobs come again by themselves; a request is repeated by its caller only."""
    waits = {
        process: read_env(control_plane_environment(_surroundings(), process))
        for process in ("web", "worker")
    }
    assert waits["web"].database_pool_timeout_s == 10
    assert waits["worker"].database_pool_timeout_s == 2


def test_processes_keep_their_bytecode() -> None:
    """Also for a person whose shell keeps none: each process would compile everything anew."""
    around = _surroundings()
    for environment in (
        control_plane_environment(around, "web"),
        gateway_environment(around),
        client_environment(around, "tr_prod_x"),
    ):
        assert environment["PYTHONDONTWRITEBYTECODE"] == ""


def test_environment_of_the_supervisor_has_no_database() -> None:
    """The supervisor speaks to the web process only; it gets no key to the database."""
    environment = supervisor_environment(_surroundings(), ["tr_wgt_a", "tr_wgt_b"])
    assert environment["TRIGGER_WORKER_TOKEN"] == "tr_wgt_a,tr_wgt_b"
    assert not {"DATABASE_URL", "REDIS_URL", "CROSSFADE_ENCRYPTION_KEYS"} & set(environment)


def test_compute_path_is_wired_by_values() -> None:
    """The compute supervisor finds the gateway with its token, and neither reaches a database."""
    around = _surroundings()
    gateway = gateway_environment(around)
    supervisor = compute_supervisor_environment(around, ["tr_wgt_next"])
    assert supervisor["COMPUTE_GATEWAY_URL"] == "http://127.0.0.1:8042"
    assert gateway["GATEWAY_PORT"] == "8042"
    assert supervisor["COMPUTE_GATEWAY_AUTH_TOKEN"] == gateway["GATEWAY_AUTH_TOKEN"]
    assert supervisor["TRIGGER_WORKLOAD_API_DOMAIN"] == "127.0.0.1"
    assert read_supervisor_env(supervisor).workload_manager == "compute"
    assert read_gateway_env(gateway).port == 8042
    assert not {"DATABASE_URL", "REDIS_URL"} & (gateway.keys() | supervisor.keys())


def test_choices_ignore_what_a_dev_env_has_set() -> None:
    """A stack started from a shell that sourced dev.env starts its own servers again."""
    sourced = {"DATABASE_URL": "postgres://a", "REDIS_URL": "redis://b", "TRIGGER_SECRET_KEY": "k"}
    assert read_choices(sourced).database_url == "postgres://a"
    choices = read_choices({**sourced, FROM_DEV_ENV: "postgres://a redis://b"})
    assert (choices.database_url, choices.redis_url) == ("", "")
    assert dict(choices.inherited) == {}


def test_real_servers_stay_chosen_in_a_shell_that_sourced_their_dev_env() -> None:
    """Only the stack's own server is marked as such; who named a real one meant it."""
    around = _surroundings("redis://:p@h:1/0")
    demo = dict.fromkeys(FROM_DEMO, "x")
    lines = dev_env_text(around, demo).splitlines()
    sourced = dict(
        shlex.split(line.removeprefix("export "))[0].split("=", 1)
        for line in lines
        if line.startswith("export ")
    )
    choices = read_choices(sourced)
    assert (choices.database_url, choices.redis_url) == (around.database_url, "")


def test_dev_env_keeps_the_keys_of_commands_out_of_the_shell() -> None:
    """`manage` has them; what else is started there makes its own."""
    text = dev_env_text(_surroundings(), dict.fromkeys(FROM_DEMO, "x"))
    (function,) = [line for line in text.splitlines() if "DJANGO_SECRET_KEY" in line]
    assert function.startswith("manage() { ( cd ")
    assert function.endswith('manage.py "$@" ); }')


def test_dev_env_quotes_what_it_holds() -> None:
    """Values survive the shell whatever characters they have."""
    demo = dict.fromkeys(FROM_DEMO, "it's $HOME")
    text = dev_env_text(_surroundings(), demo)
    assert """export CROSSFADE_USER='it'"'"'s $HOME'""" in text.splitlines()
    assert "export TRIGGER_API_URL=http://127.0.0.1:8030" in text.splitlines()
