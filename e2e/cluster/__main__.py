"""`python -m e2e.cluster`: the cluster, the tools and the image by hand. `--help` is the map."""

from __future__ import annotations

import argparse
import sys

from e2e.cluster import image, lifecycle
from e2e.tools.binaries import binaries, modules
from e2e.tools.commands import Failure


def parser() -> argparse.ArgumentParser:
    """What can be asked."""
    made = argparse.ArgumentParser(prog="python -m e2e.cluster", description="A kind cluster for arbkube's end-to-end tests.")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    up = verbs.add_parser("up", help="make the cluster; .e2e/kubeconfig reaches it")
    up.add_argument("--workers", type=int, default=1, help="workers beside the control plane (1)")
    up.add_argument("--image", default="", help="node image to pull; by default the public one, else one built here")
    verbs.add_parser("down", help="remove the cluster, and the Docker engine if it was started for it")
    build = verbs.add_parser("image", help="build the product's image; its name is printed")
    build.add_argument("--platform", default="", help="e.g. linux/arm64 (untested); by default the engine's own")
    build.add_argument("--load", action="store_true", help="put it into the cluster's nodes")
    tools = verbs.add_parser("tools", help="build the pinned tools and put them into .e2e/bin")
    tools.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(modules())}; by default all")
    verbs.add_parser("clean", help="remove the cluster and everything kept in the cache")
    return made


def main() -> int:
    """Do what was asked; 1 where it failed."""
    options = parser().parse_args()
    try:
        match options.verb:
            case "up":
                lifecycle.up(options.workers, options.image)
                print(f"export KUBECONFIG={lifecycle.KUBECONFIG} PATH={lifecycle.HERE / 'bin'}:$PATH")
            case "down":
                lifecycle.down()
            case "image":
                name = image.build(options.platform)
                if options.load:
                    lifecycle.load(name)
                print(name)
            case "tools":
                if unknown := set(options.names) - set(modules()):
                    raise Failure(f"no such tool: {', '.join(sorted(unknown))}", f"one of {', '.join(modules())}")
                lifecycle.link(binaries(options.names or modules()))
            case "clean":
                lifecycle.clean()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
