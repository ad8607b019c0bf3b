"""Image filters that textures, backgrounds and film share."""

import cv2
import numpy as np


def blurred(picture: np.ndarray, sigma_px: float | int) -> np.ndarray:
    """A picture after a Gaussian blur."""
    size_from_sigma = (0, 0)
    return cv2.GaussianBlur(picture, size_from_sigma, sigma_px)


def fill_ellipse(
    picture: np.ndarray,
    middle: tuple[float | int, float | int] | list[float],
    axes: tuple[float | int, float | int] | list[float],
    value: float | list[float],
    angle_deg: float | int = 0,
    smooth: bool = True,
) -> None:
    """Fill an ellipse of a picture; its axes are whole ones, not half."""
    line_type = cv2.LINE_AA if smooth else cv2.LINE_8
    cv2.ellipse(picture, (middle, axes, angle_deg), value, -1, line_type)
