"""Skin and cloth, faces and watches."""

import numpy as np
import pytest

from digit.synth import appearance
from digit.synth.body import FACE_FIGURE, build_body
from digit.synth.shading import HEAD, WATCH
from digit.synth.textures import TILE, draw_cloth, draw_skin


def test_skin_has_many_tones():
    hands = [draw_skin(np.random.default_rng(seed))[0] for seed in range(6)]
    brightness = np.array([hand[..., :3].mean() for hand in hands])
    assert brightness.max() > 2 * brightness.min()
    assert brightness.min() > 0.01


@pytest.mark.parametrize("seed", range(4))
def test_skin_is_warm_and_absorbs_light(seed):
    hand, arm = draw_skin(np.random.default_rng(seed))
    for texels in (hand, arm):
        assert np.isfinite(texels).all()
        assert texels[..., :3].max() < 1
        red = texels[..., 0].mean()
        blue = texels[..., 2].mean()
        assert red > blue


def test_tiles_repeat_without_a_seam():
    cloth = draw_cloth(np.random.default_rng(1))
    assert cloth.shape == (TILE, TILE, 5)
    height = cloth[..., 3]
    at_seam = np.abs(height[:, 0] - height[:, -1]).mean()
    elsewhere = np.abs(np.diff(height, axis=1)).mean()
    assert at_seam < 2 * elsewhere


@pytest.mark.parametrize(("share", "wears_watch"), [(0.0, False), (1.0, True)])
def test_every_material_has_a_tile(monkeypatch, share, wears_watch):
    monkeypatch.setattr(appearance, "WATCH_SHARE", share)
    rng = np.random.default_rng(0)
    body = appearance.dress(rng, build_body(rng, FACE_FIGURE))
    material = body.surface.material
    assert (material == HEAD).any()
    assert (material == WATCH).any() == wears_watch
    assert material.max() <= len(body.surface.tiles)
