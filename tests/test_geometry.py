"""Laws of the camera, crop and 2.5D formulas, and values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from digit import geometry, skeleton

seeds = st.integers(0, 2**32 - 1)
settings.register_profile("digit", deadline=None, max_examples=40)
settings.load_profile("digit")


def scene(seed: int, n: int = 3):
    """Random cameras with two hands before each: joints_cam (n, 42, 3) mm, focal,
    princpt, box."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0, 60, (n, 42, 3)) + [0, 0, rng.uniform(400, 1500)]
    focal, princpt = rng.uniform(800, 2000, (n, 2)), rng.uniform(100, 300, (n, 2))
    box = np.concatenate(
        [rng.uniform(-50, 200, (n, 2)), rng.uniform(40, 400, (n, 2))], -1
    )
    return [torch.tensor(v) for v in (joints, focal, princpt, box)]


def test_world_to_camera_by_hand():
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    world = torch.tensor([[11.0, 22.0, 33.0]])
    moved = geometry.world_to_camera(world, quarter, torch.tensor([10.0, 20.0, 30.0]))
    torch.testing.assert_close(moved, torch.tensor([[-2.0, 1.0, 3.0]]))


def test_projection_by_hand():
    points = torch.tensor([[10.0, -20.0, 1000.0]])
    pixel = geometry.project(
        points, torch.tensor([1000.0, 500.0]), torch.tensor([160.0, 250.0])
    )
    torch.testing.assert_close(pixel, torch.tensor([[170.0, 240.0]]))


@given(seeds)
def test_back_projection_undoes_projection(seed):
    joints, focal, princpt, _ = scene(seed)
    pixels = geometry.project(joints, focal, princpt)
    again = geometry.back_project(pixels, joints[..., 2], focal, princpt)
    torch.testing.assert_close(again, joints)


@given(seeds, st.floats(0, 4))
def test_axis_angles_are_matrix_exponentials(seed, angle):
    axis = torch.tensor(np.random.default_rng(seed).normal(size=3))
    vector = axis / axis.norm() * angle
    x, y, z = vector.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    torch.testing.assert_close(
        geometry.axis_angle_to_matrix(vector), torch.linalg.matrix_exp(cross)
    )


def test_axis_angle_has_a_gradient_at_zero():
    vector = torch.zeros(3, requires_grad=True)
    geometry.axis_angle_to_matrix(vector)[2, 1].backward()
    torch.testing.assert_close(vector.grad, torch.tensor([1.0, 0.0, 0.0]))


def test_square_box_by_hand():
    box = geometry.square_bbox(torch.tensor([10.0, 20.0, 100.0, 40.0]))
    torch.testing.assert_close(box, torch.tensor([-2.5, -22.5, 125.0, 125.0]))


def test_crop_by_hand():
    box = torch.tensor([10.0, 20.0, 100.0, 50.0])  # centre (60, 45)
    affine = geometry.crop_affine(box, 200)
    corners = torch.tensor([[10.0, 20.0], [110.0, 70.0], [60.0, 45.0]])
    expected = torch.tensor([[0.0, 0.0], [200.0, 200.0], [100.0, 100.0]])
    torch.testing.assert_close(geometry.apply_affine(affine, corners), expected)
    turned = geometry.crop_affine(
        torch.tensor([10.0, 20.0, 100.0, 100.0]), 200, math.pi / 2
    )
    right_of_centre = torch.tensor(
        [[60.0, 80.0]]
    )  # the box's x axis now points down the image
    torch.testing.assert_close(
        geometry.apply_affine(turned, right_of_centre), torch.tensor([[120.0, 100.0]])
    )


@given(seeds, st.floats(-3.2, 3.2), st.booleans(), st.sampled_from([64, 128, 256]))
def test_uncropping_gives_the_pixels_back(seed, rotation, mirrored, size_px):
    joints, focal, princpt, box = scene(seed)
    pixels = geometry.project(joints, focal, princpt)
    for dtype, limit_px in ((torch.float64, 1e-6), (torch.float32, 1e-3)):
        affine = geometry.crop_affine(box.to(dtype), size_px, rotation, mirrored)
        within = geometry.apply_affine(affine, pixels.to(dtype))
        again = geometry.apply_affine(geometry.invert_affine(affine), within)
        assert (again - pixels.to(dtype)).abs().max() < limit_px * max(
            1, pixels.abs().max() / 1000
        )


@given(seeds, st.floats(-3.2, 3.2))
def test_a_mirrored_crop_is_the_crop_of_the_mirrored_image(seed, rotation):
    joints, focal, princpt, box = scene(seed)
    pixels, width = geometry.project(joints, focal, princpt), 334
    flipped = torch.stack([width - 1 - pixels[..., 0], pixels[..., 1]], -1)
    centre_x = width - 1 - (box[:, 0] + box[:, 2] / 2)
    flipped_box = torch.cat([(centre_x - box[:, 2] / 2)[:, None], box[:, 1:]], -1)
    torch.testing.assert_close(
        geometry.apply_affine(geometry.crop_affine(box, 256, rotation, True), pixels),
        geometry.apply_affine(
            geometry.crop_affine(flipped_box, 256, rotation), flipped
        ),
    )
    angles = torch.full((3,), rotation, dtype=torch.float64)
    each = geometry.crop_affine(box, 256, angles, torch.tensor([True, False, True]))
    torch.testing.assert_close(each[1], geometry.crop_affine(box[1], 256, rotation))
    torch.testing.assert_close(
        each[2], geometry.crop_affine(box[2], 256, rotation, True)
    )


@given(seeds)
def test_25d_and_back(seed):
    joints, focal, princpt, box = scene(seed)
    affine = geometry.crop_affine(geometry.square_bbox(box), 256)
    pixels = geometry.apply_affine(affine, geometry.project(joints, focal, princpt))
    joints_25d = geometry.to_25d(pixels, joints[..., 2], 256)
    wrist_depth = joints[:, skeleton.WRISTS, 2]
    back = geometry.invert_affine(affine)
    again = geometry.from_25d(joints_25d, back, wrist_depth, focal, princpt, 256)
    torch.testing.assert_close(again, joints)


def test_depth_cells_by_hand():
    cells = geometry.depth_to_cells(torch.tensor([-200.0, 0.0, 50.0]))
    array = geometry.depth_to_cells(np.array([-200.0, 0.0, 50.0]))
    np.testing.assert_array_equal(array, cells)
    np.testing.assert_array_equal(geometry.cells_to_depth(array), [-200, 0, 50])
    torch.testing.assert_close(cells, torch.tensor([0.0, 32.0, 40.0]))
    torch.testing.assert_close(
        geometry.cells_to_depth(cells), torch.tensor([-200.0, 0.0, 50.0])
    )


@given(seeds)
def test_root_relative_joints_start_at_their_own_wrist(seed):
    joints = scene(seed)[0]
    relative = geometry.root_relative(joints)
    assert (relative[:, skeleton.WRISTS] == 0).all()
    torch.testing.assert_close(relative[:, 3], joints[:, 3] - joints[:, 20])
    torch.testing.assert_close(relative[:, 25], joints[:, 25] - joints[:, 41])
    between = geometry.relative_root_depth(joints[..., 2])
    torch.testing.assert_close(between, joints[:, 41, 2] - joints[:, 20, 2])


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_leading_dimensions_are_free(leading):
    joints = torch.rand(*leading, 42, 3) + 1
    camera = torch.ones(*leading, 2), torch.zeros(*leading, 2)
    affine = geometry.crop_affine(torch.ones(*leading, 4), 256)
    pixels = geometry.apply_affine(affine, geometry.project(joints, *camera))
    joints_25d = geometry.to_25d(pixels, joints[..., 2], 256)
    wrist_depth = joints[..., skeleton.WRISTS, 2]
    again = geometry.from_25d(
        joints_25d, geometry.invert_affine(affine), wrist_depth, *camera, 256
    )
    torch.testing.assert_close(again, joints, atol=1e-3, rtol=1e-4)
    rotation = geometry.axis_angle_to_matrix(torch.rand(*leading, 3))
    moved = geometry.world_to_camera(joints, rotation, torch.zeros(*leading, 3))
    torch.testing.assert_close(moved.norm(dim=-1), joints.norm(dim=-1))
