"""DIGIT workbench: the 3D joints of two interacting hands from one image, by way of their parts."""

__version__ = "0.2.0"
