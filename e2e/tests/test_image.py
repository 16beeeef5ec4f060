"""The product's image in a pod under restricted Pod Security, with nothing to write to and no token."""

from __future__ import annotations

import json
from typing import Any

from e2e.tests.kube import Kube

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def container(image: str, name: str, **more: Any) -> dict[str, Any]:
    """A container under the restricted profile."""
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "securityContext": RESTRICTED, **more}


def pod(name: str, *containers: dict[str, Any], **more: Any) -> str:
    """The manifest of a pod that ends by itself."""
    spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": containers, **more}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})


def ended(kube: Kube, namespace: str, name: str) -> None:
    """Wait until the pod `name` has succeeded."""
    kube("wait", f"pod/{name}", "--namespace", namespace, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")


def test_the_command_and_a_pod_s_process_run_on_every_node(kube: Kube, namespace: str, image: str) -> None:
    nodes = kube("get", "nodes", "--output", "jsonpath={.items[*].metadata.name}").split()
    for node in nodes:
        shape = pod(
            f"says-{node}",
            container(image, "command", command=["arb", "--version"]),
            container(image, "role", args=["feed", "--help"]),
            nodeName=node,
            tolerations=[{"operator": "Exists"}],
        )
        kube("apply", "--namespace", namespace, "--filename", "-", stdin=shape)
    for node in nodes:
        ended(kube, namespace, f"says-{node}")
        assert kube("logs", f"says-{node}", "--namespace", namespace, "--container", "command").startswith("arb ")
        assert "--document" in kube("logs", f"says-{node}", "--namespace", namespace, "--container", "role")


def test_the_process_is_nobody_and_can_write_nowhere(kube: Kube, namespace: str, image: str) -> None:
    probe = (
        "import os, pathlib, sys\n"
        "import arbkube.pods.feed\n"
        "written = []\n"
        "for root in ('/', '/tmp', '/opt/arbkube', '/var', '/etc'):\n"
        "    try:\n"
        "        pathlib.Path(root, 'probe').write_text('')\n"
        "        written.append(root)\n"
        "    except OSError:\n"
        "        pass\n"
        "token = os.path.exists('/var/run/secrets/kubernetes.io')\n"
        "print(os.getuid(), os.getgid(), os.path.expanduser('~'), written, token)\n"
    )
    shape = pod("probe", container(image, "probe", command=["python", "-c", probe]))
    kube("apply", "--namespace", namespace, "--filename", "-", stdin=shape)
    ended(kube, namespace, "probe")
    assert kube("logs", "probe", "--namespace", namespace).split(maxsplit=3) == ["65532", "65532", "/tmp", "[] False\n"]


def test_a_pod_that_asks_for_more_is_refused(kube: Kube, namespace: str, image: str) -> None:
    lax = container(image, "lax") | {"securityContext": {**RESTRICTED, "runAsNonRoot": False, "runAsUser": 0}}
    answer = kube.ask("POST", f"/api/v1/namespaces/{namespace}/pods", json.loads(pod("lax", lax)))
    assert answer.code == 403
    assert "restricted" in answer.body["message"]
