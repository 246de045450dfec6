"""compose.yaml, the image and the manifests for Kubernetes name only what is there: settings, commands, ports, probes.

None of them is run here: that takes Docker and a cluster.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel

from safelight.api.edge.access_log import PROBES
from safelight.cli.main import app
from safelight.providers.models import load_models
from safelight.settings import VENDOR_KEYS, Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
MANIFESTS = [
    document
    for path in sorted(KUBERNETES.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text("utf-8"))
    if document["kind"] != "Kustomization"
]
FOREIGN = {*VENDOR_KEYS.values(), "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}
"""Variables of others that Safelight reads, by docs/operations.md."""
DRAIN_SECONDS = Settings.model_fields["drain_seconds"].default
API_PORT, METRICS_PORT = 8420, 9420


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process of ours, wherever it is described. `port` is the one that its probes ask, or None."""

    where: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    probes: tuple[str, ...]
    port: int | None
    stops_after_seconds: float | None


def of_compose() -> Iterator[Program]:
    for name, service in COMPOSE["services"].items():
        if service.get("image", "").startswith("safelight:"):
            words = tuple(service["command"]) if "entrypoint" not in service else ()
            check = " ".join(map(str, service.get("healthcheck", {}).get("test", ())))
            asked = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", check)
            yield Program(
                where=f"compose.yaml {name}",
                words=words,
                environment={key: with_defaults(value) for key, value in service["environment"].items()},
                probes=(asked[2],) if asked else (),
                port=int(asked[1]) if asked else None,
                stops_after_seconds=float(service["stop_grace_period"].rstrip("s"))
                if "stop_grace_period" in service
                else None,
            )


def of_kubernetes() -> Iterator[Program]:
    shared = {
        key: value
        for each in MANIFESTS
        for key, value in {**each.get("data", {}), **each.get("stringData", {})}.items()
    }
    for document in MANIFESTS:
        pod = document.get("spec", {}).get("template", {}).get("spec")
        for container in pod["containers"] if pod else ():
            probes = [container[key]["httpGet"] for key in container if key.endswith("Probe")]
            ports = {each["name"]: each["containerPort"] for each in container.get("ports", ())}
            [port] = {ports[each["port"]] for each in probes} or {None}
            yield Program(
                where=f"deploy/kubernetes {document['kind']} {document['metadata']['name']}",
                words=tuple(container["args"]),
                environment={
                    **shared,
                    **{each["name"]: each["value"] for each in container.get("env", ()) if "value" in each},
                },
                probes=tuple(each["path"] for each in probes),
                port=port,
                stops_after_seconds=pod.get("terminationGracePeriodSeconds"),
            )


def with_defaults(value: str, **variables: str) -> str:
    """As Compose has it with these variables: `${NAME:-default}` and, where there is one, `${NAME:+other}`."""

    def found(place: re.Match[str]) -> str:
        name, how, word = place.groups()
        return word * bool(variables.get(name)) if how == "+" else variables.get(name) or word

    return re.sub(r"\$\{(\w+):([-+])([^}]*)\}", found, value)


PROGRAMS = [*of_compose(), *of_kubernetes()]
LONG = [each for each in PROGRAMS if each.words[:1] in (("api",), ("worker",))]


def names(programs: list[Program]) -> Any:
    return pytest.mark.parametrize("program", programs, ids=lambda each: each.where)


def test_every_process_of_a_whole_installation_is_described() -> None:
    for words in (("api",), ("worker",)):
        assert len([each for each in PROGRAMS if each.words == words]) == 2
    assert {("db", "migrate"), ("sandbox", "--host", "0.0.0.0", "--port", "8421")} <= {
        each.words[:5] for each in PROGRAMS
    }


@names(PROGRAMS)
def test_every_variable_is_a_setting_of_ours_or_one_of_a_vendors(program: Program) -> None:
    unknown = [name for name in program.environment if name not in FOREIGN and not is_setting(name)]

    assert unknown == []


@names(PROGRAMS)
def test_the_settings_take_what_the_variables_say(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_CONFIG", "none-of-its-own.toml")
    for name, value in program.environment.items():
        assert isinstance(value, str), f"{name} would be no text"
        monkeypatch.setenv(name, value)

    settings = Settings()
    assert settings.database_url is not None
    assert settings.place is not None
    assert settings.chosen_provider() in settings.all_providers()


def test_compose_asks_google_for_a_picture_once_it_has_a_key_and_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the head of compose.yaml says: a request then need not name a model."""
    given = {"GEMINI_API_KEY": "any", "SAFELIGHT_DEFAULT_PROVIDER": "gemini"}
    monkeypatch.setenv("SAFELIGHT_CONFIG", "none-of-its-own.toml")
    for name, value in COMPOSE["services"]["api"]["environment"].items():
        monkeypatch.setenv(name, with_defaults(value, **given))

    settings = Settings()
    name = settings.chosen_provider()
    assert name is not None
    chosen = settings.all_providers()[name]
    assert (chosen.kind, settings.key_of(chosen)) == ("gemini", "any")
    assert chosen.model in load_models("gemini").models


@names([each for each in PROGRAMS if each.words])
def test_every_command_is_one_of_ours(program: Program) -> None:
    command: Any = typer.main.get_command(app)
    words = list(program.words)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)  # raises for an option that it does not have


@names(LONG)
def test_probes_ask_for_what_is_answered_where_it_is_answered(program: Program) -> None:
    is_worker = program.words == ("worker",)
    if "compose" in program.where and not is_worker:
        asked = re.search(r"HEALTHCHECK(?:.*\n)+?.*http://127\.0\.0\.1:(\d+)(/\w+)", DOCKERFILE)
        assert asked is not None
        probes, port = (asked[2],), int(asked[1])
    else:
        probes, port = program.probes, program.port
    assert set(probes) <= PROBES
    assert probes
    if is_worker:
        assert program.environment["SAFELIGHT_METRICS_BIND"] == f"0.0.0.0:{port}" == f"0.0.0.0:{METRICS_PORT}"
    else:
        assert port == API_PORT
        assert program.environment.get("SAFELIGHT_BIND", of_the_image("SAFELIGHT_BIND")) == f"0.0.0.0:{port}"


def test_whoever_scrapes_a_pod_by_its_address_is_let_in() -> None:
    [api] = [each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == ("Deployment", "safelight-api")]
    assert api["spec"]["template"]["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
    environment = api["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}} in environment
    [program] = [each for each in of_kubernetes() if each.words == ("api",)]
    assert "$(POD_IP)" in program.environment["SAFELIGHT_ALLOWED_HOSTS"].split(",")


def test_a_database_whose_certificate_is_checked_is_told_by_which_authority() -> None:
    for program in of_kubernetes():
        dsn = program.environment["SAFELIGHT_DATABASE_URL"]
        assert ("verify" in dsn) == (
            "sslrootcert=/" in dsn
        )  # else a file below the home is looked for, and is not there


@names([each for each in LONG if each.words == ("worker",)])
def test_a_worker_is_given_the_time_to_drain(program: Program) -> None:
    assert program.stops_after_seconds is not None
    assert program.stops_after_seconds >= DRAIN_SECONDS + 10


def test_the_image_runs_without_root_and_writes_only_to_its_data_folder() -> None:
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert of_the_image("SAFELIGHT_HOME") == "/var/lib/safelight"
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in DOCKERFILE
    for name, service in COMPOSE["services"].items():
        if service.get("image", "").startswith("safelight:"):
            assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"]), name
            assert [each.partition(":")[2] for each in service["volumes"]] == ["/var/lib/safelight"], name
    for pod in pods():
        assert pod["securityContext"]["runAsUser"] == 10001
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {each["mountPath"] for each in container["volumeMounts"]} == {"/var/lib/safelight", "/tmp"}


def test_the_image_installs_versions_that_were_tested_and_checks_their_hashes() -> None:
    assert "--require-hashes -r /build/deploy/requirements.lock" in DOCKERFILE
    shipped, tested = (pins(ROOT / name) for name in ("deploy/requirements.lock", "requirements.lock"))
    assert {name: shipped[name] for name in shipped if shipped[name] != tested.get(name)} == {}
    assert "://" not in (ROOT / "deploy" / "requirements.lock").read_text("utf-8"), "no address of an index"


def test_what_is_copied_into_the_image_is_let_through_to_it() -> None:
    let_through = [
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    ]
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    ]
    assert sorted(copied) == sorted(let_through)
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_files_that_containers_are_given_exist() -> None:
    given = [
        volume.partition(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    assert given
    assert [path for path in given if not (ROOT / path).exists()] == []
    assert "api 8420" in (ROOT / "deploy" / "compose" / "Caddyfile").read_text("utf-8")


def test_what_manifests_select_is_what_they_make() -> None:
    made = {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] in ("Deployment", "StatefulSet")}
    for name, document in made.items():
        labels = document["spec"]["template"]["metadata"]["labels"]
        assert document["spec"]["selector"]["matchLabels"] == labels
        by_kind = {each["kind"]: each for each in MANIFESTS if each["metadata"]["name"] == name}
        assert by_kind["Service"]["spec"]["selector"] == labels
        assert by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    [scaled] = [each["spec"]["scaleTargetRef"] for each in MANIFESTS if each["kind"] == "HorizontalPodAutoscaler"]
    assert made[scaled["name"]]["kind"] == scaled["kind"]
    assert "replicas" not in made[scaled["name"]]["spec"], "each apply would undo what the autoscaler did"


def test_kustomize_renders_the_manifests_and_leaves_the_example_of_a_secret_away() -> None:
    if (kubectl := shutil.which("kubectl")) is None:
        pytest.skip("kubectl is not installed")
    command = [kubectl, "kustomize", str(KUBERNETES)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"KUBECONFIG": "/dev/null", "HOME": "/"}
    )
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    assert len(rendered) == len(MANIFESTS) - 1
    assert {each["kind"] for each in MANIFESTS} - {each["kind"] for each in rendered} == {"Secret"}
    images = {each["image"] for pod in pods(rendered) for each in pod["containers"]}
    assert images == {"registry.example/safelight:0.1.0"}


def pods(documents: list[dict[str, Any]] = MANIFESTS) -> list[dict[str, Any]]:
    found = (each.get("spec", {}).get("template", {}).get("spec") for each in documents)
    return [each for each in found if each]


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", lock.read_text("utf-8"), re.MULTILINE))


def of_the_image(name: str) -> str:
    found = re.search(rf"^\s*(?:ENV )?{name}=(\S+)", DOCKERFILE, re.MULTILINE)
    assert found is not None, name
    return found[1]


def is_setting(variable: str) -> bool:
    """Whether it leads to a field of the settings, as deep as it goes: `SAFELIGHT_PROVIDERS__ANY__MODEL`."""
    prefix, _, rest = variable.partition("SAFELIGHT_")
    words = rest.lower().split("__")
    return prefix == "" and leads_somewhere(Settings, words)


def leads_somewhere(model: type[BaseModel], words: list[str]) -> bool:
    if words[0] not in model.model_fields:
        return False
    if len(words) == 1:
        return True
    annotation = model.model_fields[words[0]].annotation
    inner: Any = next((each for each in (annotation, *get_args(annotation)) if is_model(each)), None)
    rest = words[2:] if annotation is not inner else words[1:]  # a mapping's key is a name of the operator's own
    return inner is not None and (not rest or leads_somewhere(inner, rest))


def is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
