"""Synthetic people with two hands, written as InterHand2.6M lays out its own files (`digit synth`).

A package of its own: it makes data and knows nothing of the method, and the method reads what it
made as it reads any other data set. It shares the hand and the rasteriser with `digit`.
"""

from .synth import PROFILES, Profile, synthesize

__all__ = ["PROFILES", "Profile", "synthesize"]
