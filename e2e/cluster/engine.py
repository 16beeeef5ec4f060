"""The Docker engine that the nodes run on: the one that answers, else one started by hand.

For: a machine without a service manager, such as a CI container. An engine that answers is used as it is, and never stopped.
One started here has its own socket, data and address ranges (198.18.0.0/15, set aside for test networks, so that nothing
collides with a real one), and `stop` ends it. May not: touch the machine's own cgroup settings or an engine it did not start.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from e2e.tools.cache import root
from e2e.tools.commands import Failure, run, say, step, succeeds

ADDRESSES = ("--bip", "198.18.0.1/24", "--default-address-pool", "base=198.18.64.0/18,size=24")
PACKAGES = {"dockerd": "docker.io", "debootstrap": "debootstrap"}
"""Command → the Debian package that brings it."""
_RUNTIME = Path(__file__).parent / "offline" / "node" / "usr" / "local" / "sbin" / "runc-without-sys-resource"
_CAP_SYS_RESOURCE = 24


def environment() -> Mapping[str, str]:
    """What a command needs in its environment to find the engine; starts one where none answers.

    Raises `Failure` where none can be had.
    """
    if succeeds("docker", "version"):
        return {}
    ours = _ours()
    if not succeeds("docker", "version", env=ours):
        with step("start dockerd"):
            _start(ours)
        say(f"it runs until `make cluster-down`: DOCKER_HOST={ours['DOCKER_HOST']}")
    return ours


def running() -> Mapping[str, str] | None:
    """As `environment`, but without starting one: None where none answers."""
    return next((env for env in ({}, _ours()) if shutil.which("docker") and succeeds("docker", "version", env=env)), None)


def stop() -> None:
    """End the engine that `environment` started, if there is one."""
    pid = _pid()
    if pid is None:
        return
    with step("stop dockerd"):
        os.kill(pid, signal.SIGTERM)
        for _ in range(300):
            if _pid() is None:
                return
            time.sleep(0.1)
        raise Failure(f"dockerd ({pid}) does not end", f"see {_state() / 'dockerd.log'}, then: kill -9 {pid}")


def lacks_sys_resource() -> bool:
    """Whether this machine withholds CAP_SYS_RESOURCE from root, without which no privileged container starts."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapBnd:"):
                return not int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1
    return False


def require_packages() -> None:
    """Have the Debian packages that a machine without a registry needs; installs them only where `CI=true` says it may.

    Raises `Failure` with the command to type.
    """
    missing = sorted(package for command, package in PACKAGES.items() if not shutil.which(command))
    if not missing:
        return
    if os.environ.get("CI") != "true" or os.geteuid() or not shutil.which("apt-get"):
        raise Failure(f"missing: {', '.join(missing)}", f"apt-get install {' '.join(missing)}")
    with step(f"install {', '.join(missing)}"):
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, env={"DEBIAN_FRONTEND": "noninteractive"})


def _start(ours: Mapping[str, str]) -> None:
    if os.geteuid():
        raise Failure("no Docker engine answers, and only root may start one", "start Docker, or run this as root")
    require_packages()
    state = _state()
    state.mkdir(parents=True, exist_ok=True)
    command = ["dockerd", *ADDRESSES, "--exec-opt", "native.cgroupdriver=cgroupfs", "--host", ours["DOCKER_HOST"]]
    command += [
        "--data-root",
        str(root() / "docker"),
        "--exec-root",
        str(state / "exec"),
        "--pidfile",
        str(state / "dockerd.pid"),
    ]
    if lacks_sys_resource():
        command += ["--add-runtime", f"lesser={_RUNTIME}", "--default-runtime", "lesser"]
    with (state / "dockerd.log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    for _ in range(120):
        if process.poll() is not None:
            break
        if succeeds("docker", "version", env=ours):
            return
        time.sleep(0.5)
    process.terminate()
    said = "\n".join("    " + line for line in (state / "dockerd.log").read_text().splitlines()[-10:])
    raise Failure(f"dockerd does not come up:\n{said}", f"read {state / 'dockerd.log'}")


def _pid() -> int | None:
    """The process of the engine started here, if it lives."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((_state() / "dockerd.pid").read_text())
        if (Path("/proc") / str(pid) / "comm").read_text().strip() == "dockerd":
            return pid
    return None


def _state() -> Path:
    # Short, and gone after a restart of the machine, as sockets and process ids should be.
    return Path("/run/arbkube-e2e")


def _ours() -> dict[str, str]:
    return {"DOCKER_HOST": f"unix://{_state() / 'docker.sock'}"}
