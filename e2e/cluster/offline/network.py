"""The pod network where kind's own cannot be pulled: a bridge on each node, and a route to every other node's pods.

For: clusters made from the node image built here. Addresses are from 198.18.0.0/15. Services work as anywhere, by kube-proxy.
May not: enforce a NetworkPolicy; a bridge has no means to.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from e2e.cluster.offline.debian import Engine
from e2e.tools.commands import run

PODS, SERVICES = "198.19.0.0/17", "198.19.128.0/18"

CONFIGURATION = f"""\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking: {{disableDefaultCNI: true, podSubnet: {PODS}, serviceSubnet: {SERVICES}}}
kubeadmConfigPatches:
  - |
    kind: KubeletConfiguration
    cgroupDriver: cgroupfs
    cgroupRoot: /kubelet
    failCgroupV1: false
    # Not in a user namespace, but as little allowed to raise limits and set /proc/sys as in one.
    featureGates: {{KubeletInUserNamespace: true}}
    # A nameserver that pods can reach, and that answers at once that it is none.
    resolvConf: /kind/resolv.conf
  - |
    kind: KubeProxyConfiguration
    conntrack: {{maxPerCore: 0, min: 0}}
"""
"""What kind has to be told besides the nodes."""


class Node(msgspec.Struct, frozen=True):
    """A node, its own address and the range of its pods."""

    name: str
    address: str
    pods: str


def nodes(kubectl: Path, kubeconfig: Path) -> list[Node]:
    """The cluster's nodes. Raises `Failure` where the API server does not answer."""
    listed = json.loads(run(kubectl, "--kubeconfig", kubeconfig, "get", "nodes", "-o", "json"))
    return [
        Node(
            name=item["metadata"]["name"],
            address=next(a["address"] for a in item["status"]["addresses"] if a["type"] == "InternalIP"),
            pods=item["spec"]["podCIDR"],
        )
        for item in listed["items"]
    ]


def connect(engine: Engine, kubectl: Path, kubeconfig: Path) -> None:
    """Give the nodes their pod network. Services come first: what starts before them fails and waits before it starts again."""
    proxies = ("--namespace", "kube-system", "rollout", "status", "daemonset/kube-proxy", "--timeout", "120s")
    run(kubectl, "--kubeconfig", kubeconfig, *proxies)
    known = nodes(kubectl, kubeconfig)
    for node in known:
        routes = [f"ip route replace {other.pods} via {other.address}" for other in known if other is not node]
        commands = "\n".join(["mkdir -p /etc/cni/net.d", "cat >/etc/cni/net.d/10-bridge.conflist", *routes])
        run("docker", "exec", "-i", node.name, "sh", "-euc", commands, stdin=_interface(node), env=engine)


def _interface(node: Node) -> str:
    addresses = {"type": "host-local", "ranges": [[{"subnet": node.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": addresses}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]})
