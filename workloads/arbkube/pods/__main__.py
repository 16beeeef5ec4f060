"""`python -m arbkube.pods ROLE …`: a pod's process, without the weight of the command line.

For: starting one pod. May not: import what the role does not need.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from arbkube.pods.shell.runtime import PodArguments, run_pod

ROLES = ("feed", "detector", "executor", "recorder", "simulator")


def parser() -> argparse.ArgumentParser:
    """The options every pod takes."""
    made = argparse.ArgumentParser(prog="arb pod", description="Run one pod in this process until SIGTERM.")
    made.add_argument("role", choices=ROLES)
    made.add_argument("--name", required=True, help="the pod's name, as the plan gives it")
    made.add_argument("--workload", required=True, help="the workload that it is a pod of, as the plan names it")
    made.add_argument("--shape", required=True, help="that workload's shape, as the plan gives it")
    made.add_argument("--document", required=True, help="the name of its document on the control server")
    made.add_argument("--bus", required=True, help="bus server, e.g. redis://127.0.0.1:6379 or unix:///run/arb/bus")
    made.add_argument("--control", required=True, help="control server, likewise")
    made.add_argument("--credentials", required=True, type=Path, help="directory with the password of this role's user")
    made.add_argument("--state", required=True, type=Path, help="directory this pod may write to")
    made.add_argument("--host", default="127.0.0.1", help="address of /healthz, /readyz, /status, /metrics")
    made.add_argument("--port", default=0, type=int, help="their port; 0 lets the system choose")
    made.add_argument("--simulator", default="", help="base URL of the simulator, for simulated feeds")
    made.add_argument("--supervisor", default=0, type=int, metavar="PID", help="stop when this process is no longer the parent")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the pod that the arguments describe; its exit code."""
    options = parser().parse_args(arguments)
    role = import_module(f"arbkube.pods.{options.role}")
    return run_pod(PodArguments(**vars(options)), role.main)


if __name__ == "__main__":
    sys.exit(main())
