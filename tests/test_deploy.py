"""Production as the guide sets it up: Django's own checks of a deployment find nothing."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def production(**more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LICET_SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": "postgresql://licet:secret@127.0.0.1:9/licet",
        "STRIPE_API_KEY": "sk_live_somebody",
        "STRIPE_WEBHOOK_SECRET": "whsec_somebody",
        "LICET_BASE_URL": "https://market.example",
        "LICET_DELIVERY_URL": "https://works.market.example",
        "LICET_ALLOWED_HOSTS": "market.example,works.market.example",
        "LICET_TRUSTED_ORIGINS": "https://market.example",
        "LICET_PROXY_TLS_HEADER": "X-Forwarded-Proto",
        "LICET_TRUSTED_PROXIES": "1",
        **more,
    }


def run(
    program: list[str], environment: dict[str, str], *, within: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *program],
        cwd=within,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("process", ["web", pytest.param("delivery", marks=pytest.mark.oracle)])
def test_a_deployment_by_the_guide_has_no_warnings(process: str) -> None:
    command = ["manage.py", "check", "--deploy", "--fail-level", "WARNING"]

    done = run(command, production(LICET_PROCESS=process))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("System check identified no issues (")


SETTINGS = """
import django; django.setup()
from django.conf import settings as s
print(s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE,
      getattr(s, "SECURE_PROXY_SSL_HEADER", None), s.LOG_FORMAT, s.ACCESS_LOG,
      s.METRICS_TOKEN == "")
from django.test import Client
for path in ("/healthz", "/docs/errors"):
    for secure in ("http", "https"):
        answer = Client().get(path, headers={"Host": "market.example", "X-Forwarded-Proto": secure})
        print(path, secure, answer.status_code, answer.get("Location"),
              answer.get("Strict-Transport-Security"))
"""


@pytest.mark.oracle
def test_whoever_comes_in_the_open_is_sent_to_tls_and_probes_are_not() -> None:
    done = run(["-c", SETTINGS], production(DJANGO_SETTINGS_MODULE="marketplace.settings"))

    lines = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    assert lines == [
        "True 31536000 True True ('HTTP_X_FORWARDED_PROTO', 'https') json True True",
        "/healthz http 200 None None",
        "/healthz https 200 None None",
        "/docs/errors http 301 https://market.example/docs/errors None",
        "/docs/errors https 200 None max-age=31536000",
    ], done.stderr


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["LICET_LOG_FORMAT", "LICET_LOG_STREAM"])
def test_a_setting_that_is_none_of_its_words_ends_the_start(name: str) -> None:
    done = run(["manage.py", "check"], production(**{name: "xml"}))

    assert done.returncode != 0
    assert f"{name} is “" in done.stderr


# --- what the image copies --------------------------------------------------------------------

SERVED = """
import django; django.setup()
from django.test import Client
for path in ("/healthz", "/docs/", "/docs/guide/quickstart/", "/docs/reference/orders/",
             "/docs/errors", "/openapi.json", "/static/api_docs/docs.css"):
    answer = Client().get(path, headers={"Host": "market.example", "X-Forwarded-Proto": "https"})
    print(path, answer.status_code)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the image has of ours, and no others."""
    root = tmp_path_factory.mktemp("image")
    for step in (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines():
        if not step.startswith("COPY ") or "--from" in step or "requirements.lock" in step:
            continue
        for name in step.split()[1:-1]:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, root / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, root / name)
    return root


@pytest.mark.oracle
def test_what_the_image_copies_is_enough_to_serve(image: Path, tmp_path: Path) -> None:
    environment = production(
        DJANGO_SETTINGS_MODULE="marketplace.settings",
        LICET_DATA_DIR=str(tmp_path),
        PYTHONDONTWRITEBYTECODE="1",
    )
    before = sorted(image.rglob("*"))

    done = run(["-c", SERVED], environment, within=image)

    lines = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    assert [line.rpartition(" ")[2] for line in lines] == ["200"] * 7, (lines, done.stderr)
    assert sorted(image.rglob("*")) == before  # which is root's, and read-only


@pytest.mark.oracle
def test_every_command_of_the_composition_is_found_in_the_image(image: Path) -> None:
    said = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for name in sorted(set(re.findall(r"manage\.py\W+(\w+)", said))):
        done = run(["manage.py", name, "--help"], production(), within=image)
        assert (done.returncode, done.stdout[:6]) == (0, "usage:"), (name, done.stderr)
