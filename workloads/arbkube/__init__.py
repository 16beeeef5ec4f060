"""arbkube: everything that runs in the pods, and what the pods share with the operator.

The only place that states the version; packaging and `arb --version` read it here.
"""

__version__ = "0.1.0"
