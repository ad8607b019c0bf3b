"""Meshes of one image's hands: files that other programs read, and what is reported."""

import numpy as np
import pytest
import trimesh
from posed_hands import draw_hands

from digit.hands.meshes import fit_meshes, mesh_warnings, read_meshes, write_meshes
from digit.hands.model import load_hand
from digit.hands.penetration import penetration_mm, vertex_normals
from digit.hands.solver import FitSettings
from digit.skeleton import SIDES


@pytest.fixture(scope="module")
def hands():
    return [load_hand(side) for side in SIDES]


@pytest.fixture(scope="module")
def joints_mm(hands):
    """Joints of both hands, 120 mm apart."""
    drawn = [draw_hands(hand, 1, seed=3).joints_mm[0] for hand in hands]
    places = ([-60, 0, 600], [60, 0, 640])
    moved = [d - d.mean(0) + place for d, place in zip(drawn, places, strict=True)]
    return np.concatenate(moved)


@pytest.fixture(scope="module")
def meshes(hands, joints_mm):
    return fit_meshes(hands, joints_mm, (True, True), FitSettings())


def test_each_hand_has_its_mesh_at_its_joints(hands, joints_mm, meshes):
    assert [mesh.name for mesh in meshes] == ["right_hand", "left_hand"]
    for hand, mesh, joints in zip(hands, meshes, np.split(joints_mm, 2), strict=True):
        found = hand.joint_regressor.numpy() @ mesh.vertices_mm
        distance = np.linalg.norm(found - joints, axis=-1).mean()
        assert mesh.residual_mm == pytest.approx(distance, abs=1e-3)
        assert mesh.residual_mm < 1
    assert mesh_warnings(meshes) == []


def test_only_hands_that_are_there_get_a_mesh(hands, joints_mm):
    [left] = fit_meshes(hands, joints_mm, (False, True))
    assert left.side == "left"
    unknown = joints_mm.copy()
    unknown[21:] = np.nan
    [right] = fit_meshes(hands, unknown, (True, True))
    assert right.side == "right"


@pytest.mark.parametrize(("suffix", "scale"), [(".glb", 1e-3), (".obj", 1.0)])
def test_an_independent_reader_finds_both_hands(meshes, tmp_path, suffix, scale):
    path = tmp_path / f"hands{suffix}"
    write_meshes(path, meshes)
    scene = trimesh.load_scene(path, process=False)
    every = np.concatenate([mesh.vertices_mm for mesh in meshes]) * scale
    upright = every * [1, -1, -1]
    bounds = np.stack([upright.min(0), upright.max(0)])
    np.testing.assert_allclose(scene.bounds, bounds, atol=1e-3 * scale)
    if suffix == ".glb":
        assert set(scene.geometry) == {"right_hand", "left_hand"}
        for mesh in meshes:
            geometry = scene.geometry[mesh.name]
            assert geometry.is_watertight
            assert geometry.volume > 1e-4  # m³; a mirrored mesh would be inside out
    else:
        objects = [
            line for line in path.read_text().splitlines() if line.startswith("o ")
        ]
        assert objects == ["o right_hand", "o left_hand"]


def test_parameters_come_back_exactly(meshes, tmp_path):
    path = tmp_path / "hands.npz"
    write_meshes(path, meshes)
    back = read_meshes(path)
    assert len(back) == 2
    for mesh, again in zip(meshes, back, strict=True):
        for name, value in vars(mesh).items():
            np.testing.assert_array_equal(getattr(again, name), value)


def test_other_formats_and_no_hands_are_refused(meshes, tmp_path):
    with pytest.raises(ValueError, match=r"\.glb, \.obj, \.npz"):
        write_meshes(tmp_path / "hands.stl", meshes)
    with pytest.raises(ValueError, match="no hand"):
        write_meshes(tmp_path / "hands.glb", [])


def test_swapped_hands_are_reported(hands, joints_mm):
    swapped = np.roll(joints_mm, 21, axis=0)
    lines = mesh_warnings(fit_meshes(hands, swapped, (True, True)))
    assert len(lines) == 2
    assert "not those of a right hand" in lines[0]


def test_hands_in_each_other_are_reported(hands, joints_mm):
    joints_mm = joints_mm.copy()
    right, left = np.split(joints_mm, 2)
    joints_mm[21:] = left - left.mean(0) + right.mean(0)
    [line] = mesh_warnings(fit_meshes(hands, joints_mm, (True, True), FitSettings()))
    assert "mm into each other" in line


@pytest.mark.parametrize("apart_mm", [8.0, 0.5, -3.0, -12.0])
def test_penetration_of_two_spheres(apart_mm):
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=20.0)
    other_mm = sphere.vertices + [0, 0, 40 + apart_mm]
    depth_mm = penetration_mm(
        np.asarray(sphere.vertices), sphere.faces, np.asarray(other_mm), sphere.faces
    )
    assert depth_mm == pytest.approx(max(-apart_mm, 0), abs=0.5)


def test_normals_point_outwards():
    sphere = trimesh.creation.icosphere(subdivisions=2)
    normals = vertex_normals(np.asarray(sphere.vertices), sphere.faces)
    np.testing.assert_allclose(normals, sphere.vertices, atol=0.05)
