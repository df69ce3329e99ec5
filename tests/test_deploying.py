"""The files in deploy/ agree with the program and with each other, and keep what they promise."""

from __future__ import annotations

import configparser
import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from reconciler.cli.main import root
from reconciler.daemon.options import ServeOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "reconciler.service"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
OBJECTS: dict[str, dict[str, Any]] = {
    found["kind"]: found
    for found in yaml.safe_load_all((DEPLOY / "kubernetes" / "reconciler.yaml").read_text(encoding="utf-8"))
}
POD: dict[str, Any] = OBJECTS["StatefulSet"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
USER = "10001"


class _Unit(dict[str, Any]):
    """A unit's section: a key that is repeated keeps all its values."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and key in self:
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def service() -> dict[str, list[str]]:
    """The unit's [Service] section."""
    parser = configparser.RawConfigParser(dict_type=_Unit, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # the documented way to keep upper case
    parser.read_string(UNIT.read_text(encoding="utf-8").replace("\\\n", " "))
    return {key: [value] if isinstance(value, str) else value for key, value in parser.items("Service")}


def serve_arguments(words: Sequence[str]) -> dict[str, Any]:
    """What `reconcile serve` understands of a command line; a flag that it does not know fails."""
    assert words[0] == "serve"
    command = root.get_command(click.Context(root), "serve")
    assert command is not None
    context = command.make_context("serve", list(words[1:]))
    return dict(context.params)


def unit_words() -> list[str]:
    """The unit's command line without its program."""
    program, *words = shlex.split(service()["ExecStart"][0])
    assert program == "/opt/reconciler/bin/reconcile"
    return words


@pytest.mark.parametrize("words", [unit_words(), CONTAINER["args"], ["serve", "--host", "0.0.0.0"]])
def test_daemon_understands_how_it_is_started(words: list[str]) -> None:
    """Flags are those of this version, logs are JSON, and the state is where the volume is."""
    given = serve_arguments(words)
    assert given["port"] == 8080
    if len(words) > 3:
        assert given["log_format"] == "json"
        assert given["files"] == ("/etc/reconciler/hooks",)
        assert given["store"] == "sqlite:/var/lib/reconciler/reconciler.db"


def test_every_stop_is_longer_than_the_grace() -> None:
    """A manager that kills while the daemon drains would make deliveries go out twice."""
    grace_s = ServeOptions().grace_ms / 1000
    assert int(service()["TimeoutStopSec"][0]) > grace_s + 10
    assert POD["terminationGracePeriodSeconds"] > grace_s + 10
    assert service()["KillMode"] == ["mixed"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit_and_finds_it_safe(tmp_path: Path) -> None:
    """No key is unknown to it, and its exposure is low."""
    unit = tmp_path / "reconciler.service"
    text = UNIT.read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/reconciler/bin/reconcile", str(Path(sys.executable).with_name("reconcile"))))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [line for line in verified.stderr.splitlines() if "reconciler.service" in line]
    assert complaints == []
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert judged.returncode == 0, judged.stdout[-500:]


def test_image_runs_as_nobody_and_installs_only_what_is_pinned() -> None:
    """Two stages, hashes checked, a user by number, and the same one in Kubernetes."""
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", CONTAINERFILE, re.MULTILINE)
    assert len(stages) == 2
    assert len({image for image, _ in stages}) == 1
    build, _, final = CONTAINERFILE.partition("\nFROM docker.io")[2].partition("\nFROM docker.io")
    assert "--require-hashes" in build
    assert "--no-index" in build
    assert not re.search(r"\bpip (install|download)\b", final)
    assert f"USER {USER}:{USER}" in final
    assert POD["securityContext"]["runAsUser"] == POD["securityContext"]["fsGroup"] == int(USER)


def test_image_gets_nothing_but_what_it_copies() -> None:
    """The build's context leaves out everything first, state and keys among it, and lets in what is copied."""
    lines = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() == lines
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {
        source.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert not [name for name in ("state", ".git", ".venv") if any(fnmatch.fnmatch(name, rule) for rule in allowed)]


def test_pod_has_no_rights_it_does_not_need() -> None:
    """Not root, no capabilities, nothing writable but its volumes, no token of the cluster."""
    own = CONTAINER["securityContext"]
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is OBJECTS["ServiceAccount"]["automountServiceAccountToken"] is False
    writable = {mount["name"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"store", "scratch"}
    assert "memory" in CONTAINER["resources"]["limits"]


def test_only_one_pod_ever_has_the_store() -> None:
    """One replica of a StatefulSet, and a volume that one pod may mount; the configuration is a folder."""
    spec = OBJECTS["StatefulSet"]["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]]["mountPath"] == "/var/lib/reconciler"
    assert mounts["hooks"]["mountPath"] == "/etc/reconciler/hooks"
    assert "subPath" not in mounts["hooks"]  # files mounted singly are never renewed
    volumes = {volume["name"] for volume in POD["volumes"]} | {claim["metadata"]["name"]}
    assert set(mounts) == volumes


def test_probes_and_ports_are_those_of_the_daemon() -> None:
    """A restart helps a process that does not answer, and nothing else; traffic waits until it is ready."""
    paths = {name: CONTAINER[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert {probe["httpGet"]["port"] for name in paths for probe in [CONTAINER[f"{name}Probe"]]} == {"http"}
    assert re.findall(r"^HEALTHCHECK .*/(healthz|readyz)\b", CONTAINERFILE, re.MULTILINE) == ["healthz"]
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": 8080}]
    assert OBJECTS["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    assert OBJECTS["NetworkPolicy"]["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_a_pod_that_is_not_ready_can_be_replaced() -> None:
    """In the default policy an update waits until the pod it should mend is ready, which it may never be."""
    assert OBJECTS["StatefulSet"]["spec"]["podManagementPolicy"] == "Parallel"


def test_objects_select_the_pod() -> None:
    """Service, StatefulSet and NetworkPolicy mean the same labels."""
    labels = OBJECTS["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert OBJECTS["Service"]["spec"]["selector"] == labels
    assert OBJECTS["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert OBJECTS["StatefulSet"]["spec"]["serviceName"] == OBJECTS["Service"]["metadata"]["name"]


def test_secrets_are_referred_to_and_never_written_down() -> None:
    """Tokens come from the Secret, the key as a file; the manifest holds neither."""
    assert "Secret" not in OBJECTS
    values = {one["name"]: one for one in CONTAINER["env"]}
    assert {name for name, one in values.items() if "secretKeyRef" in one.get("valueFrom", {})} == {
        f"RECONCILER_{scope}_TOKEN" for scope in ("ADMIN", "INGEST", "READ")
    }
    assert not any("TOKEN" in name and "value" in one for name, one in values.items())


def test_network_policy_lets_nothing_private_out() -> None:
    """What the egress guard refuses by default, the policy refuses again."""
    blocks = [
        target["ipBlock"]
        for rule in OBJECTS["NetworkPolicy"]["spec"]["egress"]
        for target in rule["to"]
        if "ipBlock" in target
    ]
    assert {block["cidr"] for block in blocks} == {"0.0.0.0/0", "::/0"}
    refused = {network for block in blocks for network in block["except"]}
    assert refused >= {"10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"}
