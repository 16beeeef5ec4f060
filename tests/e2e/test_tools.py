"""What the end-to-end tests stand on, as far as it can be tried without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from e2e.cluster import engine, image
from e2e.cluster.__main__ import parser
from e2e.cluster.offline import network
from e2e.tools import binaries, cache
from e2e.tools.commands import Failure, run, succeeds

OFFLINE = Path(network.__file__).parent
NODE = OFFLINE / "node"
WRAPPER = NODE / "usr/local/sbin/runc-without-sys-resource"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_digest_tells_names_contents_and_the_right_to_run_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    seen = {cache.digest(tmp_path)}
    (tmp_path / "a").chmod(0o755)
    seen.add(cache.digest(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    seen.add(cache.digest(tmp_path))
    (tmp_path / "b").write_text("y")
    seen.add(cache.digest(tmp_path))
    seen |= {cache.digest("ab", "c"), cache.digest("a", "bc")}
    assert len(seen) == 6


def test_a_killed_build_leaves_nothing_that_the_next_one_sees() -> None:
    with suppress(RuntimeError), cache.workshop("tools") as directory:
        (directory / "half").write_text("")
        raise RuntimeError
    directory = cache.root() / "building-tools"
    assert not directory.exists()
    directory.mkdir()
    (directory / "left by a killed one").mkdir(mode=0o555)
    with cache.workshop("tools") as again:
        assert again == directory
        assert list(again.iterdir()) == []


def test_what_is_kept_has_its_place_outside_the_checkout(tmp_path: Path) -> None:
    assert cache.root().is_relative_to(tmp_path)
    assert binaries.kept("helm").is_relative_to(cache.root())
    assert len({binaries.kept(name) for name in binaries.modules()}) == len(binaries.modules())


def test_replacements_by_folders_become_the_published_modules() -> None:
    own = {"Go": "1.24.0", "Replace": [{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}}]}
    kubernetes = binaries.modules()["kubelet"]
    assert f"replace k8s.io/api  => k8s.io/api {kubernetes.staging}" in binaries.go_mod(kubernetes, own)
    # Without a staged version what the module requires is published as it is.
    assert "replace" not in binaries.go_mod(binaries.modules()["etcd"], own)
    other = {"Go": "1.24.0", "Replace": [{"Old": {"Path": "a", "Version": "v1"}, "New": {"Path": "b", "Version": "v2"}}]}
    assert "replace a v1 => b v2" in binaries.go_mod(binaries.modules()["etcd"], other)


def test_what_the_cluster_asks_for_is_pinned() -> None:
    from e2e.cluster import lifecycle
    from e2e.cluster.offline import node

    assert {*lifecycle.TOOLS, *node.ON_THE_NODE, *node.IN_IMAGES} <= set(binaries.modules())
    assert all(module.version.startswith("v") for module in binaries.modules().values())


@pytest.mark.parametrize(
    "words", [["create", "--bundle", "{}", "id"], ["run", "-b", "{}"], ["exec", "--process", "{}/config.json"]]
)
def test_the_runtime_asks_for_all_but_one_capability(tmp_path: Path, words: list[str]) -> None:
    runc = tmp_path / "bin" / "runc"
    runc.parent.mkdir()
    runc.write_text('#!/bin/sh\necho "$@"\n')
    runc.chmod(0o755)
    capabilities = ["CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_SYS_ADMIN"]
    given = {
        "process": {"capabilities": {"bounding": capabilities, "effective": capabilities[1:], "permitted": capabilities[:2]}}
    }
    (tmp_path / "config.json").write_text(json.dumps(given, separators=(",", ":")))
    asked = [word.format(tmp_path) for word in words]
    path = {**os.environ, "PATH": f"{runc.parent}:{os.environ['PATH']}"}
    said = subprocess.run([WRAPPER, *asked], capture_output=True, text=True, check=True, env=path).stdout
    assert said.split() == asked
    left = json.loads((tmp_path / "config.json").read_text())["process"]["capabilities"]
    assert left == {"bounding": ["CAP_CHOWN", "CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"], "permitted": ["CAP_CHOWN"]}


@pytest.mark.parametrize(
    "script", sorted(path for path in NODE.rglob("bin/*")) + sorted(NODE.rglob("sbin/*")), ids=lambda p: p.name
)
def test_scripts_parse_and_may_run(script: Path) -> None:
    assert os.access(script, os.X_OK)
    run(script.read_text().splitlines()[0].removeprefix("#!"), "-n", script)


def test_failures_name_cause_and_remedy() -> None:
    with pytest.raises(Failure, match=r"(?s)sh -c.*failed \(3\).*    why.*remedy: do this"):
        run("sh", "-c", "echo why >&2; exit 3", remedy="do this")
    with pytest.raises(Failure, match="remedy: install no-such-command"):
        run("no-such-command")
    with pytest.raises(Failure, match=r"did not end within 0 s"):
        run("sleep", "5", timeout=0.1)
    assert not succeeds("false")


def test_no_address_is_outside_the_range_for_test_networks() -> None:
    from ipaddress import ip_network

    used = [network.PODS, network.SERVICES, engine.ADDRESSES[1], engine.ADDRESSES[3].split(",")[0].removeprefix("base=")]
    ranges = [ip_network(text, strict=False) for text in used]
    assert all(found.subnet_of(ip_network("198.18.0.0/15")) for found in ranges)  # type: ignore[arg-type]
    assert not any(one.overlaps(other) for one in ranges for other in ranges if one is not other)
    assert yaml.safe_load(network.CONFIGURATION)["networking"]["disableDefaultCNI"]


def test_the_image_is_made_from_committed_sources_only() -> None:
    names = [name for name in image.sources() if isinstance(name, str)]
    assert "workloads/arbkube/__init__.py" in names
    assert "requirements/base.txt" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".so", ".c"))]


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    said = capsys.readouterr().out
    assert all(verb in said for verb in ("up", "down", "image", "tools", "clean"))
