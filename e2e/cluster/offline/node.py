"""The node image where none can be pulled: Debian, Kubernetes built from its module, and the control plane's images inside.

For: `kind create cluster --image`. Protocol: kind asks of a node image the files /kind/version and /kind/manifests, containerd
with the images that `kubeadm config images list` names, and a first process that says `detected cgroup v1`. May not: start
nodes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from e2e.cluster.engine import lacks_sys_resource
from e2e.cluster.offline.debian import HERE, Engine, build, debian, exists
from e2e.tools import binaries as tools
from e2e.tools.cache import digest, workshop
from e2e.tools.commands import Failure, run, step

ON_THE_NODE = ("kubeadm", "kubectl", "kubelet")
IN_IMAGES = ("coredns", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler")
_MADE_FROM = tuple(HERE / name for name in ("node", "node.Dockerfile", "node.py", "pause.go"))
_PROVISIONER = "local-path-provisioner"
_COMPONENT = """{below}
COPY {command} /usr/local/bin/{command}
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENTRYPOINT ["/usr/local/bin/{command}"]
"""
_BELOW_KUBE_PROXY = """FROM {base}
# The one that needs more than itself: it writes its rules through these commands.
RUN apt-get update -q \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends conntrack iptables kmod nftables \\
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*"""
_AS_BUILT = ("--change", 'ENTRYPOINT ["/usr/local/bin/entrypoint"]', "--change", "CMD []")
_IMPORT = """
containerd >/dev/null 2>&1 & server=$!
until ctr version >/dev/null 2>&1; do sleep 0.1; done
ctr --namespace k8s.io images import --no-unpack /images.tar
kill "$server"; wait "$server" || true
"""


def image(engine: Engine) -> str:
    """The node image; built if it is not there. Raises `Failure` on a machine whose cgroups it does not speak."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        raise Failure("the node image built here speaks cgroup v1 only, and this machine has v2", "name one to pull: --image")
    base = debian(engine)
    built = tools.binaries([*ON_THE_NODE, *IN_IMAGES, _PROVISIONER])
    name = f"arbkube-e2e/node:{digest(base, *_MADE_FROM, *map(str, built.values()), str(lacks_sys_resource()))}"
    if not exists(name, engine):
        with step("build the node image"), workshop("node") as directory:
            _build(name, base, built, directory, engine)
    return name


def _build(name: str, base: str, built: dict[str, Path], directory: Path, engine: Engine) -> None:
    inside = _images(base, built, directory, engine)
    packed = directory / "images.tar"
    run("docker", "save", "--output", packed, *inside.values(), env=engine)

    context = directory / "node"
    shutil.copytree(HERE / "node", context / "node")
    _fill_in(context / "node", inside["pause"])
    (context / "bin").mkdir()
    for command in ON_THE_NODE:
        shutil.copy2(built[command], context / "bin")
    empty = f"{name}-empty"
    build(empty, HERE / "node.Dockerfile", context, engine, {"DEBIAN": base})
    create = ("docker", "create", "--privileged", "--volume", f"{packed}:/images.tar:ro", "--entrypoint", "/bin/bash")
    container = run(*create, empty, "-euc", _IMPORT, env=engine).strip()
    try:
        run("docker", "start", "--attach", container, env=engine)
        run("docker", "commit", *_AS_BUILT, container, name, env=engine)
    finally:
        run("docker", "rm", "--force", "--volumes", container, env=engine)
        run("docker", "rmi", "--force", empty, *inside.values(), env=engine)


def _images(base: str, built: dict[str, Path], directory: Path, engine: Engine) -> dict[str, str]:
    """Build the images that run on the nodes; their names by what is in them."""
    wanted = run(built["kubeadm"], "config", "images", "list", "--kubernetes-version", tools.version("kubeadm")).split()
    images = {reference.rpartition("/")[2].partition(":")[0]: reference for reference in wanted}
    images |= {_PROVISIONER: f"localhost/{_PROVISIONER}:node", "debian": "localhost/debian:node"}
    run("docker", "tag", base, images["debian"], env=engine)
    pause = directory / "pause"
    plain = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOCACHE": str(directory / "cache")}
    run("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", pause, HERE / "pause.go", env=plain)
    for command, path in {**{c: built[c] for c in (*IN_IMAGES, _PROVISIONER)}, "pause": pause}.items():
        context = directory / f"image-{command}"
        context.mkdir()
        shutil.copy2(path, context / command)
        below = _BELOW_KUBE_PROXY.format(base=base) if command == "kube-proxy" else "FROM scratch"
        (context / "Dockerfile").write_text(_COMPONENT.format(below=below, command=command))
        build(images[command], context / "Dockerfile", context, engine, {})
    return images


def _fill_in(node: Path, pause: str) -> None:
    runc = "runc-without-sys-resource" if lacks_sys_resource() else "runc"
    configuration = node / "etc" / "containerd" / "config.toml"
    configuration.write_text(configuration.read_text().replace("@PAUSE@", pause).replace("@RUNC@", runc))
    (node / "kind" / "version").write_text(tools.version("kubelet"))
