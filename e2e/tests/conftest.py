"""Fixtures of the end-to-end tests. Where something is missing they fail with the remedy: nothing is ever skipped."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.lifecycle import KUBECONFIG, LOGS
from e2e.tests.kube import Kube
from e2e.tools.binaries import binary

CRDS = Path(__file__).parents[2] / "crds"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """The cluster of $KUBECONFIG, else the one that `make cluster` made."""
    kubeconfig = Path(os.environ.get("KUBECONFIG") or KUBECONFIG)
    if not kubeconfig.exists():
        pytest.fail(f"no kubeconfig at {kubeconfig}; remedy: make cluster, or name one: KUBECONFIG=…")
    with Kube(binary("kubectl"), kubeconfig).proxied() as made:
        yield made


@pytest.fixture(scope="session")
def image() -> str:
    """The product's image, which the nodes have or can pull."""
    name = os.environ.get("ARBKUBE_IMAGE")
    if not name:
        pytest.fail("no image; remedy: ARBKUBE_IMAGE=$(python -m e2e.cluster image --load)")
    return name


@pytest.fixture(scope="session")
def definitions(kube: Kube) -> None:
    """Our CRDs, installed as a chart or GitOps would: by server-side apply."""
    kube("apply", "--server-side", "--force-conflicts", "--field-manager", "arbkube-e2e", "--filename", CRDS)
    kube("wait", "--for=condition=Established", "--timeout=30s", "--filename", CRDS)


@pytest.fixture(scope="module")
def namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the module's own, under restricted Pod Security. Where a test failed its pods' logs are kept."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    made = kube.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": RESTRICTED}})
    assert made.code == 201, made.body
    yield name
    if request.session.testsfailed:
        kube("cluster-info", "dump", "--namespaces", name, "--output-directory", LOGS / request.module.__name__)
    kube("delete", "namespace", name, "--wait=false")
