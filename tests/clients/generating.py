"""Clients in other people's words: generated from the committed document, built, ready to run.

Each stays in `.data/clients/` until the document, a generator or its settings change. What a
language needs and this machine does not have skips the test, and is named.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
DOCUMENT = ROOT / "api_docs" / "openapi.json"
# What `make clients` installs beside the environment, and where clients are made.
DATA = ROOT / ".data" / "clients"
GENERATORS = DATA / "generators"
JAR = GENERATORS / "openapi_generator_cli" / "openapi-generator.jar"
GO_SOURCES = Path("/usr/share/gocode")
# Neither pages nor tests of what is generated: the compiler is its test.
_NO_EXTRAS = "apiDocs=false,modelDocs=false,apiTests=false,modelTests=false"


@dataclass(frozen=True)
class Program:
    """A scenario in one language, ready to run."""

    command: list[str]
    environ: dict[str, str] = field(default_factory=dict)


def python_path() -> str:
    """Where Python finds the generated package `licet_client`, and what it needs."""
    if not (GENERATORS / "openapi_python_client").is_dir():
        lacking("openapi-python-client (`make clients` installs it)")
    path = os.pathsep.join([str(DATA / "python"), str(GENERATORS)])
    made = DATA / "python" / "licet_client"
    command = [*(sys.executable, "-m", "openapi_python_client", "generate"), "--overwrite"]
    command += ["--path", str(DOCUMENT), "--meta", "none", "--output-path", str(made)]
    config = HERE / "python" / "generator.yaml"
    command += ["--config", str(config)]
    once(made, lambda: run(command, PYTHONPATH=path), config.read_text())
    return path


def python() -> Program:
    path = python_path()
    return Program([sys.executable, str(HERE / "python" / "scenario.py")], {"PYTHONPATH": path})


def typescript() -> Program:
    """Types by openapi-typescript, calls by openapi-fetch: tsc holds the scenario to both."""
    directory = DATA / "typescript"
    node = shutil.which("node") or lacking("node (Debian: nodejs)")
    if not (directory / "node_modules" / "openapi-typescript").is_dir():
        lacking("openapi-typescript (`make clients` installs it, with Debian's npm)")
    binaries, schema = directory / "node_modules" / ".bin", directory / "schema.d.ts"
    command = [str(binaries / "openapi-typescript"), str(DOCUMENT), "--output", str(schema)]
    once(schema, lambda: run(command), (HERE / "typescript/package-lock.json").read_text())
    for source in ("scenario.ts", "tsconfig.json"):
        shutil.copy(HERE / "typescript" / source, directory)
    run([str(binaries / "tsc"), "--project", str(directory)])
    return Program([node, str(directory / "scenario.js")])


def go() -> Program:
    """By openapi-generator, with Debian's sources: nothing is fetched."""
    compiler = shutil.which("go") or lacking("go (Debian: golang-go)")
    for package in ("golang.org/x/mod/sumdb/tlog", "gopkg.in/validator.v2"):
        if not (GO_SOURCES / "src" / package).is_dir():
            lacking(f"{package} (Debian: golang-golang-x-mod-dev, golang-gopkg-validator.v2-dev)")
    directory = DATA / "go"
    client = directory / "src" / "licet"
    settings = ["packageName=licet", "withGoMod=false", "enumClassPrefix=true"]
    settings += ["disallowAdditionalPropertiesIfNotPresent=false"]

    def build() -> None:
        generate("go", client, settings)
        for source in client.glob("model_*.go"):
            # Debian's validator is of 2016, and takes an escaped comma for the end of a rule.
            code = source.read_text()
            source.write_text(re.sub(r' validate:"[^"]*,[^"]*"', "", code))

    once(client, build, *settings, "without rules that hold a comma")
    environ = {"GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(DATA / "go-cache")}
    environ["GOPATH"] = os.pathsep.join([str(directory), str(GO_SOURCES)])
    program = directory / "scenario"
    sources = [str(source) for source in sorted((HERE / "go").glob("*.go"))]
    run([compiler, "build", "-o", str(program), *sources], **environ)
    return Program([str(program)])


def java() -> Program:
    """By openapi-generator, for the JDK's own HTTP client. Jackson is in the generator's jar."""
    compiler = shutil.which("javac") or lacking("javac (Debian: default-jdk-headless)")
    directory = DATA / "java"
    classes = directory / "classes"
    settings = ["invokerPackage=org.licet", "apiPackage=org.licet.api", "openApiNullable=false"]
    settings += ["modelPackage=org.licet.model", "enumUnknownDefaultCase=true"]
    settings += ["hideGenerationTimestamp=true"]

    def build() -> None:
        generate("java", directory / "client", settings, "--library", "native")
        sources = [str(each) for each in (directory / "client" / "src" / "main").rglob("*.java")]
        (directory / "sources").write_text("\n".join([*sources, str(HERE / "java/Generated.java")]))
        compile_ = [compiler, "-nowarn", "-proc:none", "-encoding", "UTF-8", "-cp", str(JAR)]
        run([*compile_, "-d", str(classes), f"@{directory / 'sources'}"])

    once(classes, build, *settings)
    path = os.pathsep.join([str(directory), str(classes), str(JAR)])
    own = [str(HERE / "java" / name) for name in ("Proofs.java", "Scenario.java")]
    run([compiler, "-encoding", "UTF-8", "-cp", path, "-d", str(directory), *own])
    return Program(["java", "-cp", path, "Scenario"])


def ruby() -> Program:
    """By openapi-generator; without the way to sign in by a cookie, which it cannot write."""
    interpreter = shutil.which("ruby") or lacking("ruby (Debian: ruby)")
    has_typhoeus = subprocess.run([interpreter, "-e", "require 'typhoeus'"], capture_output=True)
    if has_typhoeus.returncode != 0:
        lacking("typhoeus for Ruby (Debian: ruby-typhoeus)")
    client = DATA / "ruby" / "client"
    settings, keys = ["gemName=licet", "moduleName=Licet"], "SECURITY_SCHEMES_FILTER=key:apiKey"
    more = ["--openapi-normalizer", keys]
    once(client, lambda: generate("ruby", client, settings, *more), *settings, *more)
    program = str(HERE / "ruby" / "scenario.rb")
    return Program([interpreter, "-I", str(client / "lib"), program])


def php() -> Program:
    """By openapi-generator, with Debian's Guzzle. PHP compiles what it meets: here all of it."""
    interpreter = shutil.which("php") or lacking("php (Debian: php-cli)")
    needs = "require 'GuzzleHttp/autoload.php'; mb_strlen(''); curl_version();"
    if subprocess.run([interpreter, "-r", needs], capture_output=True).returncode != 0:
        lacking(
            "Guzzle, curl or mbstring for PHP (Debian: php-guzzlehttp-guzzle, php-curl,"
            " php-mbstring)"
        )
    client = DATA / "php" / "client"
    settings = ["invokerPackage=Licet", "hideGenerationTimestamp=true"]
    # Each class has a `getModelName` that says its own, and setters a variable `$index`.
    # Of two versions of terms, its classes would take the last one only: both stay as they are.
    more = ["--name-mappings", "model_name=named_model,index=entry_index"]
    either = ("TermsTyped", "TermsTemplateTyped", "DraftTermsRequestTyped")
    more += ["--type-mappings", ",".join(f"{name}=mixed" for name in either)]

    def build() -> None:
        generate("php", client, settings, *more)
        for source in (client / "lib").rglob("*.php"):
            run([interpreter, "-l", str(source)])

    once(client, build, *settings, *more)
    return Program([interpreter, str(HERE / "php/scenario.php")], {"LICET_CLIENT": str(client)})


LANGUAGES: dict[str, Callable[[], Program]] = {
    "python": python,
    "typescript": typescript,
    "go": go,
    "java": java,
    "ruby": ruby,
    "php": php,
}


def generate(generator: str, output: Path, settings: list[str], *more: str) -> None:
    """Have openapi-generator write a client anew."""
    java = shutil.which("java") or lacking("java (Debian: default-jdk-headless)")
    if not JAR.exists():
        lacking("openapi-generator (`make clients` installs it)")
    shutil.rmtree(output, ignore_errors=True)
    command = [java, "-jar", str(JAR), "generate", "-g", generator, "-i", str(DOCUMENT)]
    command += ["-o", str(output), "--global-property", _NO_EXTRAS, *more]
    said = run([*command, "--additional-properties", ",".join(settings)])
    # It goes on where one class overwrites another, which a document can cause.
    assert "FILEPATH_COLLISION" not in said, said


def once(made: Path, make: Callable[[], object], *settings: str) -> None:
    """Make something, unless it was made of the same document, by the same settings."""
    of = (DOCUMENT.read_text(), (HERE / "generators.lock").read_text(), *settings)
    digest = hashlib.sha256("\0".join(of).encode()).hexdigest()
    stamp = made.with_name(f"{made.name}.made")
    if made.exists() and stamp.exists() and stamp.read_text() == digest:
        return
    stamp.unlink(missing_ok=True)
    made.parent.mkdir(parents=True, exist_ok=True)
    make()
    stamp.write_text(digest)


def run(command: list[str], **environ: str) -> str:
    """What a compiler or generator says; fails with all of it where it fails."""
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def lacking(what: str) -> str:
    pytest.skip(f"there is no {what}")
