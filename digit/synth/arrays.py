"""Names for the arrays that the generator passes around, with their shapes.

Every module of the package uses them in its signatures. Where two hands are meant, the
right one comes first.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

Rng = np.random.Generator

Vector = Float[np.ndarray, "3"]
Vectors = Float[np.ndarray, "*b 3"]
Points = Float[np.ndarray, "n 3"]
Rotation = Float[np.ndarray, "3 3"]
Rotations = Float[np.ndarray, "*b 3 3"]

# Of both hands.
HandVectors = Float[np.ndarray, "*b 2 3"]
HandRotations = Float[np.ndarray, "*b 2 3 3"]
Present = Bool[np.ndarray, "2"]
PresentOverTime = Bool[np.ndarray, "t 2"]

# Joint angles of one hand: flexion, abduction and twist of 15 joints, rad.
Angles = Float32[np.ndarray, "15 3"]
AnyAngles = Float[np.ndarray, "*b 15 3"]
Betas = Float32[np.ndarray, "10"]

# Numbers of faces, vertices, landmarks; pairs of landmarks that touch.
Indices = Int[np.ndarray, "n"]
Faces = Int[np.ndarray, "f 3"]
LandmarkPairs = Int[np.ndarray, "c 2"]

# Pictures: linear light, and what a camera delivers. Textures: red, green, blue, height
# (mm) and gloss.
LinearRgb = Float32[np.ndarray, "h w 3"]
Rgb = UInt8[np.ndarray, "h w 3"]
Tile = Float32[np.ndarray, "s s 5"]
HandTexture = Float32[np.ndarray, "f t 5"]
