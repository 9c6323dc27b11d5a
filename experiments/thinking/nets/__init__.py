"""The nets: recurrent, feed-forward, dilated; with recall and group norm; in one and two dimensions."""

from experiments.thinking.nets.factories import MODELS, build, create, legacy
from experiments.thinking.nets.net import Architecture, Net

__all__ = ["MODELS", "Architecture", "Net", "build", "create", "legacy"]
