"""The image and its composition: what they copy, run and set is there; no secret is in them."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from payments import processes

ROOT = Path(__file__).resolve().parents[1]
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if name != "database"}


def steps() -> list[tuple[str, str]]:
    """Each instruction of the Containerfile, its continued lines put together."""
    lines = [line for line in CONTAINERFILE.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = [line.partition(" ") for line in whole.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _space, rest in pairs]


def of(name: str) -> list[str]:
    return [rest for step, rest in steps() if step == name]


def test_every_instruction_is_one_and_the_server_is_not_root() -> None:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK"}
    assert {name for name, _rest in steps()} == {*known, "CMD"}
    order = [name for name, _rest in steps()]
    assert of("USER") == ["licet"]
    # All that is copied stays root's: the server cannot change its own code.
    assert order.index("USER") > max(at for at, name in enumerate(order) if name == "COPY")
    assert "--chown" not in CONTAINERFILE


def test_every_path_that_is_copied_is_there_and_is_let_in() -> None:
    ignored = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = set()
    for rest in of("COPY"):
        if not rest.startswith("--from="):
            copied |= set(shlex.split(rest)[:-1])

    assert {path for path in copied if not (ROOT / path).exists()} == set()
    assert copied == let_in


def test_only_what_the_lock_names_is_installed_by_hash() -> None:
    [build] = [rest for rest in of("RUN") if "pip" in rest]
    assert re.search(r"--require-hashes\s+--requirement requirements.lock", build)
    assert "--no-index --find-links /wheels --requirement direct.txt" in build
    [program] = re.findall(r'python -c "([^"]+)"', build)
    ran = subprocess.run(
        [sys.executable, "-c", program.replace("\\n", "\n") if "\n" in program else program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert any(line.startswith("django>=") for line in ran.stdout.splitlines())


def test_no_secret_and_no_registry_stands_in_either() -> None:
    text = CONTAINERFILE + (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert re.findall(r"index-url|trusted-host|extra-index|[sr]k_(?:live|test)_|whsec_", text) == []
    assert set(re.findall(r"\w+://[\w.]+", text)) <= {
        "http://127.0.0.1",
        "postgresql://licet",
        "postgresql://postgres",
        "s3://",
    }
    names = re.findall(r"(\w*(?:KEY|SECRET|PASSWORD|TOKEN)\w*): (\S+)", text)
    assert [name for name, value in names if not value.startswith("${")] == []


# --- commands ---------------------------------------------------------------------------------


def command_of(service: dict[str, Any]) -> list[str]:
    if "command" in service:
        return [str(word) for word in service["command"]]
    return [str(word) for word in json.loads(of("CMD")[0])]


def options(command: list[str]) -> set[str]:
    return {word for word in command if word.startswith("--")}


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_command_is_one_that_there_is(name: str) -> None:
    command = command_of(OURS[name])
    if command[0] == "granian":
        shown = subprocess.run(
            [sys.executable, "-m", "granian", "--help"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        assert {word for word in options(command) if word not in shown} == set()
        assert command[-1] == processes.served(1, threads=1)[-1]
        assert (ROOT / command[command.index("--log-config") + 1]).is_file()
    else:
        text = " ".join(command)
        said = re.findall(r"manage\.py (\w+)", text)
        assert said
        assert set(said) - set(get_commands()) == set()


def test_each_probe_asks_an_address_of_ours_at_the_port_that_is_served() -> None:
    asked = [json.loads(rest[rest.index("[") :])[-1] for rest in of("HEALTHCHECK")]
    asked += [each["healthcheck"]["test"][-1] for each in OURS.values() if probed(each)]
    for program in asked:
        ast.parse(program)
        assert "http://127.0.0.1:8000/healthz" in program
    assert sorted(name for name, each in OURS.items() if probed(each)) == [
        "delivery",
        "web",
        "worker",
    ]
    assert OURS["worker"]["environment"]["LICET_WORKER_PORT"] == 8000
    for name in ("web", "delivery"):
        command = command_of(OURS[name])
        assert command[command.index("--port") + 1] == "8000"


def probed(service: dict[str, Any]) -> bool:
    return bool(service.get("healthcheck", {}).get("test"))


# --- settings ---------------------------------------------------------------------------------


def test_each_variable_of_the_composition_is_a_setting() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "marketplace/settings.py", ROOT / "marketplace/devdb.py")
    )
    given = {name for each in OURS.values() for name in each["environment"]}
    given |= set(re.findall(r"\b(LICET_\w+|PROMETHEUS_\w+)=", CONTAINERFILE))
    admins = {"DATABASE_ADMIN_URL"}  # of manage.py bootstrap_database

    assert {name for name in given - admins if f'"{name}"' not in code} == set()
    assert {"DATABASE_URL", "LICET_METRICS_TOKEN", "LICET_PROXY_TLS_HEADER"} <= given
    # The administrator's password is the setup's alone.
    knowing = [name for name, each in OURS.items() if "DATABASE_ADMIN_URL" in each["environment"]]
    assert knowing == ["setup"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_process_is_walled_in(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    volumes = {each.partition(":")[0] for each in service["volumes"]}
    assert volumes <= set(COMPOSE["volumes"])
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
