"""From checkpoints and pictures to hands: one image, a whole data set, flip and turn test.

`predict` works on one image and `evaluate` on a data set; the command line, the
notebooks and the photo editor call them.
"""

from digit.inference.networks import load_network

__all__ = ["load_network"]
