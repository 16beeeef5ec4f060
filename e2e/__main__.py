"""`python -m e2e`: a cluster, the product's image in it, the tests, the logs where one failed, and nothing left behind.

A cluster that was up before is used and stays; so does any that --kubeconfig names. Ends with pytest's own exit code.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from e2e.cluster import image, lifecycle
from e2e.tools.binaries import binary
from e2e.tools.commands import Failure

ROOT = Path(__file__).parents[1]


def parser() -> argparse.ArgumentParser:
    """What can be asked; what is not known here is pytest's."""
    made = argparse.ArgumentParser(prog="python -m e2e", description="Run the end-to-end tests; other options are pytest's.")
    made.add_argument("--workers", type=int, default=1, help="workers of the cluster that is made (1)")
    made.add_argument("--keep", action="store_true", help="leave the cluster up")
    made.add_argument("--kubeconfig", type=Path, help="use this cluster instead; --image is then needed")
    made.add_argument("--image", help="the product's image, as the cluster's nodes can pull it")
    return made


def main() -> int:
    """Run everything; the exit code is pytest's, or 1 where it did not come to that."""
    options, rest = parser().parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # clean up then, too
    try:
        if options.kubeconfig is None:
            return _in_our_cluster(options, rest)
        if not options.image:
            raise Failure("a cluster of your own cannot be given images from here", "push one and name it: --image")
        return _tests(options.kubeconfig.resolve(), options.image, rest)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1


def _in_our_cluster(options: argparse.Namespace, rest: list[str]) -> int:
    stays = options.keep or lifecycle.answers(binary("kubectl"))
    try:
        lifecycle.up(options.workers)
        name = options.image or image.build()
        lifecycle.load(name)
        code = _tests(lifecycle.KUBECONFIG, name, rest)
        if code:
            lifecycle.logs()
        return code
    finally:
        if not stays:
            lifecycle.down()


def _tests(kubeconfig: Path, name: str, rest: list[str]) -> int:
    reached = {**os.environ, "KUBECONFIG": str(kubeconfig), "ARBKUBE_IMAGE": name}
    command = [sys.executable, "-m", "pytest", *(rest or ["e2e/tests"])]
    return subprocess.run(command, cwd=ROOT, env=reached, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
