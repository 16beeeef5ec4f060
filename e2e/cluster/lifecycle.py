"""A cluster's life: made, given images, taken down.

For: `make cluster`, `make cluster-down` and the tests. May not: touch a cluster of another name or the user's own kubeconfig;
the cluster's is `.e2e/kubeconfig`, with the tools it needs in `.e2e/bin` beside it.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from e2e.cluster import engine
from e2e.cluster.offline import network, node
from e2e.cluster.offline.debian import Engine, exists
from e2e.tools.binaries import binaries
from e2e.tools.cache import remove, root
from e2e.tools.commands import Failure, run, say, step, succeeds

NAME = "arbkube-e2e"
PUBLIC_NODE = "kindest/node:v1.34.0"
HERE = Path(__file__).parents[2] / ".e2e"
KUBECONFIG = HERE / "kubeconfig"
LOGS = HERE / "logs"
TOOLS = ("kind", "kubectl", "helm")


def up(workers: int, image: str = "") -> None:
    """Make the cluster with one control plane and `workers` workers, or find that it is there.

    `image` is a node image to pull; without one the public image is tried, and one is built here where it cannot be pulled.
    Raises `Failure`, and leaves no half of a cluster behind.
    """
    tools = binaries(TOOLS)
    link(tools)
    docker = engine.environment()
    if NAME in run(tools["kind"], "get", "clusters", env=docker).split():
        if answers(tools["kubectl"]):
            print(f"the cluster {NAME} is up: {KUBECONFIG}")
            return
        down()
        docker = engine.environment()
    pulled = image or PUBLIC_NODE
    local = not (exists(pulled, docker) or succeeds("docker", "pull", "--quiet", pulled, env=docker, timeout=600))
    if local and image:
        raise Failure(f"{image} cannot be pulled", "leave out --image, and a node image is built here")
    chosen = node.image(docker) if local else pulled
    try:
        _create(tools, docker, chosen, workers, local=local)
    except BaseException:
        for tidy in (logs, down):
            with suppress(Failure):
                tidy()
        raise


def down() -> None:
    """Remove the cluster with its volumes, and the engine if it was started for it. Says nothing where there is none."""
    docker = engine.running()
    if docker is not None:
        kind = binaries(["kind"])["kind"]
        if NAME in run(kind, "get", "clusters", env=docker).split():
            with step(f"delete the cluster {NAME}"):
                run(kind, "delete", "cluster", "--name", NAME, "--kubeconfig", KUBECONFIG, env=docker)
    KUBECONFIG.unlink(missing_ok=True)
    engine.stop()


def clean() -> None:
    """Remove the cluster and everything that was built for it: tools, images, the data of an engine started here."""
    down()
    docker = engine.running()
    if docker is not None:
        ours = run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", env=docker).split()
        images = [image for image in ours if image.startswith(("arbkube-e2e/", "arbkube/arbkube:"))]
        if images:
            run("docker", "rmi", "--force", *images, env=docker)
    remove(root())
    shutil.rmtree(HERE, ignore_errors=True)


def load(*images: str) -> None:
    """Put images of the engine into every node."""
    kind = binaries(["kind"])["kind"]
    with step(f"load {', '.join(images)} into the nodes"):
        run(kind, "load", "docker-image", *images, "--name", NAME, env=engine.environment())


def logs() -> None:
    """Collect what the pods and nodes of the cluster said into `.e2e/logs`, as far as it can be had."""
    shutil.rmtree(LOGS / "cluster", ignore_errors=True)
    (LOGS / "cluster").mkdir(parents=True)
    tools, docker = binaries(("kind", "kubectl")), engine.running()
    dump = ("cluster-info", "dump", "--all-namespaces", "--output-directory", LOGS / "cluster" / "pods")
    with suppress(Failure):
        run(tools["kubectl"], "--kubeconfig", KUBECONFIG, *dump)
    if docker is not None:
        for name in run(tools["kind"], "get", "nodes", "--name", NAME, env=docker).split():
            for file, command in (("journal", ("exec", name, "journalctl", "--no-pager")), ("console", ("logs", name))):
                with suppress(Failure):
                    (LOGS / "cluster" / f"{name}-{file}.log").write_text(run("docker", *command, env=docker))
    say(f"what the nodes and pods said is in {LOGS}")


def answers(kubectl: Path) -> bool:
    """Whether the cluster of `.e2e/kubeconfig` answers."""
    return KUBECONFIG.exists() and succeeds(kubectl, "--kubeconfig", KUBECONFIG, "get", "--raw", "/readyz", timeout=10)


def link(tools: dict[str, Path]) -> None:
    """Put tools into `.e2e/bin` by their names."""
    (HERE / "bin").mkdir(parents=True, exist_ok=True)
    for name, path in tools.items():
        (HERE / "bin" / name).unlink(missing_ok=True)
        (HERE / "bin" / name).symlink_to(path)


def _create(tools: dict[str, Path], docker: Engine, image: str, workers: int, *, local: bool) -> None:
    plain = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
    nodes = "\n".join(["nodes:", "  - role: control-plane", *["  - role: worker"] * workers]) + "\n"
    configuration = (network.CONFIGURATION if local else plain) + nodes
    kubectl = (tools["kubectl"], "--kubeconfig", KUBECONFIG)
    with step(f"create the cluster {NAME} with {1 + workers} nodes"):
        create = (tools["kind"], "create", "cluster", "--name", NAME, "--image", image, "--kubeconfig", KUBECONFIG)
        run(*create, "--config", "-", stdin=configuration, env=docker)
        if local:
            network.connect(docker, tools["kubectl"], KUBECONFIG)
        run(*kubectl, "wait", "nodes", "--all", "--for=condition=Ready", "--timeout", "120s")
        for deployment in ("kube-system/coredns", "local-path-storage/local-path-provisioner"):
            namespace, name = deployment.split("/")
            run(*kubectl, "--namespace", namespace, "rollout", "status", f"deployment/{name}", "--timeout", "180s")
