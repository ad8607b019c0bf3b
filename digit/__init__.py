"""DIGIT workbench: the joints of two interacting hands from one image, by way of their parts."""

__version__ = "0.1.0"
