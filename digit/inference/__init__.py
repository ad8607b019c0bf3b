"""From checkpoints and pictures to hands."""

from digit.model.checkpoints import load_network

__all__ = ["load_network"]
