"""The cluster as the tests see it: kubectl for what a person does, plain requests for what has to be exact or quick.

May not: be used by anything but tests. `kubectl proxy` carries the requests, so that no test handles a credential.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec

from e2e.tools.commands import run

API = "/apis/arbkube.io/v1alpha1"
PLURALS = {"ArbStrategy": "arbstrategies", "RiskPolicy": "riskpolicies", "VenueFeed": "venuefeeds"}
_STRICT = re.compile(r'(?:unknown|duplicate) field "([^"]+)"')


class Answer(msgspec.Struct, frozen=True):
    """What the API server said to one request."""

    code: int
    body: dict[str, Any]

    @property
    def places(self) -> set[str]:
        """The paths that a refusal names, without the place inside a list where it names none."""
        if self.code not in (400, 422):
            return set()
        causes = self.body.get("details", {}).get("causes", ())
        # "<nil>" heads the remark that rules were not judged because the schema already refused.
        found = {cause["field"] for cause in causes if cause.get("field", "<nil>") != "<nil>"}
        return found | set(_STRICT.findall(self.body.get("message", "")))


class Kube:
    """A cluster by its kubeconfig."""

    def __init__(self, kubectl: Path, kubeconfig: Path) -> None:
        self._kubectl = (kubectl, "--kubeconfig", kubeconfig)
        self._port = 0

    @contextmanager
    def proxied(self) -> Iterator[Kube]:
        """Serve requests while in the block."""
        command = [str(word) for word in (*self._kubectl, "proxy", "--port", "0")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
            assert proxy.stdout is not None
            self._port = int(proxy.stdout.readline().rpartition(":")[2])
            try:
                yield self
            finally:
                proxy.terminate()

    def __call__(self, *words: str | Path, stdin: str = "", timeout: float = 180) -> str:
        """What kubectl printed. Raises `Failure` with its error where it fails."""
        return run(*self._kubectl, *words, stdin=stdin, timeout=timeout)

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """One request to the API server."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            headers = {"Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            said = answer.read()
            told = answer.getheader("Content-Type", "").startswith("application/json")
            return Answer(answer.status, json.loads(said) if told else {"message": said.decode()})
        finally:
            connection.close()

    def would_create(self, manifest: Any, namespace: str) -> Answer:
        """What the API server says to `manifest` under the strict field validation that kubectl asks for; nothing is kept."""
        kind = str(manifest.get("kind"))
        plural = PLURALS.get(kind, f"{kind.lower()}s")
        version = manifest.get("apiVersion", API.removeprefix("/apis/"))
        path = f"/apis/{version}/namespaces/{namespace}/{plural}?dryRun=All&fieldValidation=Strict"
        return self.ask("POST", path, manifest)
