"""The hand model: mesh, skinning against a plain implementation, shapes, MANO's own files."""

import json

import numpy as np
import pytest
import torch
from fake_mano import mano_arrays, write_mano
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from digit.hands.mano_files import (
    MANO_REGRESSOR,
    MANO_RIM,
    MANO_TIPS,
    MANO_VERTEX_PARTS,
    find_mano,
)
from digit.hands.model import HandModel, load_hand
from digit.paths import HAND_FILE
from digit.skeleton import (
    HAND_JOINTS,
    MANO_JOINT_PART,
    MANO_JOINTS,
    MANO_PARENTS,
    PARTS,
    SIDES,
)

MIRROR = torch.tensor([-1.0, 1.0, 1.0])
MIRROR_POSE = torch.tensor([1.0, -1.0, -1.0]).repeat(16)


@pytest.fixture(scope="module", params=SIDES)
def hand(request) -> HandModel:
    return load_hand(request.param)


def random_fit(n: int, seed: int = 0, size: float = 0.5):
    rng = np.random.default_rng(seed)
    draws = (
        rng.normal(0, size, (n, 48)),
        rng.normal(0, 1, (n, 10)),
        rng.normal(0, 1, (n, 3)),
    )
    return tuple(torch.tensor(draw, dtype=torch.float32) for draw in draws)


def plain_skinning(hand: HandModel, pose, shape, trans) -> np.ndarray:
    """MANO's formula, joint by joint, float64."""
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    wide = {
        k: v.double().numpy()
        for k, v in vars(hand).items()
        if isinstance(v, torch.Tensor)
    }
    pose = np.append(pose[:3], pose[3:] + wide["hands_mean"])
    turn = rotation.from_rotvec(pose.reshape(16, 3)).as_matrix()
    shaped = wide["v_template"] + wide["shapedirs"] @ shape
    joints = wide["J_regressor"] @ shaped
    posed = shaped + wide["posedirs"] @ (turn[1:] - np.eye(3)).ravel()
    moves = []
    for j, parent in enumerate(MANO_PARENTS):
        move = np.eye(4)
        move[:3, :3] = turn[j]
        move[:3, 3] = joints[j] - (joints[parent] if j else 0)
        moves.append(moves[parent] @ move if j else move)
    moves = np.stack(moves)
    moves[:, :3, 3] -= np.einsum("jab,jb->ja", moves[:, :3, :3], joints)
    blend = np.einsum("vj,jab->vab", wide["weights"], moves)
    return np.einsum("vab,vb->va", blend[:, :3, :3], posed) + blend[:, :3, 3] + trans


def test_asset_is_small():
    assert HAND_FILE.stat().st_size < 1_000_000


def test_mesh_is_closed_and_faces_outward(hand):
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.Trimesh(hand.v_template.numpy(), hand.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.euler_number == 2 and mesh.body_count == 1
    assert 2e-4 < mesh.volume < 5e-4  # m³, positive: outward
    assert len(trimesh.grouping.unique_rows(mesh.vertices)[0]) == len(
        mesh.vertices
    )  # welded


def test_weights_and_regressors_are_averages(hand):
    for weights in (hand.weights, hand.J_regressor, hand.joint_regressor):
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)


def test_rest_pose_and_joints(hand):
    sign = 1 if hand.side == "right" else -1
    rest = hand.joints(hand.v_template).numpy()
    joints = dict(zip(HAND_JOINTS, rest * [sign, 1, 1], strict=True))
    np.testing.assert_allclose(joints["wrist"], [0.09, 0, 0], atol=1e-6)
    for finger in ("index", "middle", "ring", "pinky"):
        chain = np.stack(
            [joints["wrist"], *(joints[f"{finger}{k}"] for k in (1, 2, 3, 4))]
        )
        assert (np.diff(chain[:, 0]) < -0.015).all()  # along −x
        assert np.ptp(chain[1:, 1]) < 0.02  # flat
    z = [
        joints[f"{finger}1"][2]
        for finger in ("thumb", "index", "middle", "ring", "pinky")
    ]
    assert (np.diff(z) < 0).all()
    own = hand.rest_joints(torch.zeros(10)).numpy() * [sign, 1, 1]
    for j, name in enumerate(MANO_JOINTS):
        np.testing.assert_allclose(own[j], joints[name], atol=1e-6)


def test_fingertips_lie_on_the_skins_tip(hand):
    vertices, joints = hand.v_template.numpy(), hand.joints(hand.v_template).numpy()
    for finger in ("thumb", "index", "middle", "ring", "pinky"):
        tip, bone = (joints[HAND_JOINTS.index(f"{finger}{k}")] for k in (4, 3))
        own = hand.weights[:, MANO_JOINTS.index(f"{finger}3")].numpy() > 0.5
        reach = (vertices[own] - bone) @ (tip - bone) / np.linalg.norm(tip - bone)
        assert reach.max() - np.linalg.norm(tip - bone) < 1e-3


def test_parts_follow_the_joints(hand):
    assert set(hand.face_part) == set(range(16))
    centre = hand.v_template.numpy()[hand.faces].mean(1)
    joints = dict(zip(HAND_JOINTS, hand.joints(hand.v_template).numpy(), strict=True))
    for finger in ("thumb", "index", "middle", "ring", "pinky"):
        for k in (1, 2, 3):
            middle = (joints[f"{finger}{k}"] + joints[f"{finger}{k + 1}"]) / 2
            nearest = np.argsort(np.linalg.norm(centre - middle, axis=1))[:5]
            assert (hand.face_part[nearest] == PARTS.index(f"{finger}{k}")).mean() > 0.5
    nearest = np.argsort(np.linalg.norm(centre - joints["wrist"], axis=1))[:20]
    assert (hand.face_part[nearest] == PARTS.index("palm")).all()


def test_skinning_is_manos_formula(hand):
    fits = random_fit(3)
    skinned = hand.skin(*fits).numpy()
    for i, fit in enumerate(zip(*fits, strict=True)):
        expected = plain_skinning(hand, *(f.double().numpy() for f in fit))
        np.testing.assert_allclose(skinned[i], expected, atol=2e-6)


def test_any_leading_dimensions(hand):
    pose, shape, trans = random_fit(6)
    flat = hand.skin(pose, shape, trans)
    shaped = hand.skin(pose.view(2, 3, 48), shape.view(2, 3, 10), trans.view(2, 3, 3))
    torch.testing.assert_close(shaped.flatten(0, 1), flat)
    torch.testing.assert_close(
        hand.skin(pose[0], shape[0], trans[0]), flat[0], atol=1e-6, rtol=0
    )
    torch.testing.assert_close(hand.joints(shaped).flatten(0, 1), hand.joints(flat))


def test_stages_do_the_same_as_skin(hand):
    pose, shape, trans = random_fit(3)
    posed = hand.with_shape(shape).with_pose(pose, trans)
    assert torch.equal(posed.skin(), hand.skin(pose, shape, trans))
    one_shape = hand.with_shape(shape[0]).with_pose(pose, trans)
    expected = hand.skin(pose, shape[:1].expand(3, 10), trans)
    torch.testing.assert_close(one_shape.skin(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        posed.shaped.joints, hand.rest_joints(shape), atol=0, rtol=0
    )


def test_gradients_reach_pose_shape_and_translation(hand):
    for start in (0.0, 0.3):
        fit = [(torch.ones(n) * start).requires_grad_() for n in (48, 10, 3)]
        target = hand.joints(hand.skin(*(f.detach() + 0.01 for f in fit)))
        loss = ((hand.joints(hand.skin(*fit)) - target) ** 2).sum()
        for gradient in torch.autograd.grad(loss, fit):
            assert torch.isfinite(gradient).all() and (gradient != 0).any()


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float32, 48, elements=st.floats(-2, 2, width=32)),
    arrays(np.float32, 10, elements=st.floats(-3, 3, width=32)),
)
def test_the_left_hand_mirrors_the_right(pose, shape):
    right, left = load_hand("right"), load_hand("left")
    pose, shape, trans = torch.from_numpy(pose), torch.from_numpy(shape), torch.ones(3)
    mirrored = left.skin(pose * MIRROR_POSE, shape, trans * MIRROR)
    torch.testing.assert_close(mirrored, right.skin(pose, shape, trans) * MIRROR)


def test_global_rotation_turns_about_the_wrist(hand):
    shape = random_fit(1)[1][0]
    rest = hand.skin(torch.zeros(48), shape, torch.zeros(3))
    pose = torch.cat([torch.tensor([0.3, -1.0, 2.0]), torch.zeros(45)])
    turned = hand.skin(pose, shape, torch.zeros(3))
    wrist = hand.rest_joints(shape)[0]
    torch.testing.assert_close(
        (turned - wrist).norm(dim=-1), (rest - wrist).norm(dim=-1)
    )
    torch.testing.assert_close(hand.joints(turned)[-1], wrist, atol=1e-6, rtol=0)


def measures(hand: HandModel, shape) -> dict[str, float]:
    vertices = hand.v_template + hand.shapedirs @ torch.tensor(
        shape, dtype=torch.float32
    )
    joints = dict(zip(HAND_JOINTS, hand.joints(vertices).numpy(), strict=True))

    def length(*chain):
        points = np.stack([joints[name] for name in chain])
        return np.linalg.norm(np.diff(points, axis=0), axis=1).sum()

    fingers = ("thumb", "index", "middle", "ring", "pinky")
    out = {f: length(*(f"{f}{k}" for k in (1, 2, 3, 4))) for f in fingers}
    own = hand.weights[:, MANO_JOINTS.index("middle2")] > 0.6
    across = vertices[own, 1]
    palm = vertices[hand.weights[:, 0] > 0.99]
    return out | {
        "hand": length("wrist", "middle1", "middle2", "middle3", "middle4"),
        "palm": length("wrist", "middle1"),
        "width": length("index1", "pinky1"),
        "thickness": float(across.max() - across.min()),
        "palm thickness": float(palm[:, 1].max() - palm[:, 1].min()),
    }


@pytest.mark.parametrize(
    ("beta", "grows", "stays"),
    [
        (0, ("hand", "width", "thickness", "thumb", "palm thickness"), ()),
        (
            1,
            ("index", "middle", "ring", "pinky"),
            ("thumb", "palm", "width", "thickness"),
        ),
        (2, ("palm",), ("index", "thumb", "thickness")),
        (3, ("width",), ("index", "middle", "thumb", "thickness")),
        (4, ("thickness",), ("index1", "palm", "width", "palm thickness")),
        (5, ("palm thickness",), ("middle", "palm", "thickness")),
        (6, ("index",), ("middle", "thumb", "width")),
        (7, ("pinky",), ("index", "thumb", "width")),
        (8, ("thumb",), ("index", "palm", "width", "thickness")),
        (9, (), ("palm", "width", "thumb1")),
    ],
)
def test_shape_directions_mean_something(hand, beta, grows, stays):
    low, rest, high = (measures(hand, np.eye(10)[beta] * s) for s in (-2, 0, 2))
    for name in grows:
        assert low[name] < 0.97 * rest[name] and high[name] > 1.03 * rest[name]
    for name in set(stays) & set(rest):
        assert abs(high[name] / rest[name] - 1) < 0.012


def test_extreme_shapes_stay_hands(hand):
    trimesh = pytest.importorskip("trimesh")
    rest = measures(hand, np.zeros(10))
    for shape in np.concatenate([3 * np.eye(10), -3 * np.eye(10)]):
        vertices = hand.v_template + hand.shapedirs @ torch.tensor(
            shape, dtype=torch.float32
        )
        mesh = trimesh.Trimesh(vertices.numpy(), hand.faces, process=False)
        assert 1.5e-4 < mesh.volume < 6e-4
        edge = mesh.edges_unique_length
        assert edge.min() > 1e-4 and edge.max() < 0.05
        for name, size in measures(hand, shape).items():
            assert 0.6 < size / rest[name] < 1.5


def test_bent_knuckles_stay_full(hand):
    """Linear blending loses volume where joints bend; pose correctives restore it."""
    from dataclasses import replace

    trimesh = pytest.importorskip("trimesh")
    pose = torch.zeros(48)
    for j in (2, 5, 8, 11, 14):  # the middle joints, and the thumb's
        pose[3 * j + 2] = 1.5 if hand.side == "right" else -1.5
    volume = {}
    for name, model in {
        "full": hand,
        "linear": replace(hand, posedirs=0 * hand.posedirs),
    }.items():
        vertices = model.skin(pose, torch.zeros(10), torch.zeros(3)).numpy()
        volume[name] = trimesh.Trimesh(vertices, hand.faces, process=False).volume
    rest = trimesh.Trimesh(hand.v_template.numpy(), hand.faces, process=False).volume
    assert volume["linear"] < volume["full"] and abs(volume["full"] / rest - 1) < 0.02


def test_unknown_hands_are_refused():
    for side, name in (("middle", "generic"), ("right", "smpl")):
        with pytest.raises(ValueError, match="use right or left of generic or mano"):
            load_hand(side, name)


# ---------------------------------------------------------------- MANO's own files


@pytest.fixture(scope="module")
def mano_dir(tmp_path_factory):
    return write_mano(tmp_path_factory.mktemp("mano"))


@pytest.mark.parametrize("side", SIDES)
def test_mano_files_load_with_a_sealed_wrist(mano_dir, side):
    trimesh = pytest.importorskip("trimesh")
    hand, stored = (
        load_hand(side, "mano", mano_dir),
        mano_arrays(side, signs_as_shipped=False),
    )
    assert (hand.side, hand.name) == (side, "mano")
    assert (len(hand.v_template), len(hand.faces)) == (779, 1554)
    mesh = trimesh.Trimesh(hand.v_template.numpy(), hand.faces, process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    np.testing.assert_array_equal(hand.faces[:1538], stored["f"])
    torch.testing.assert_close(
        hand.v_template[778], hand.v_template[list(MANO_RIM)].mean(0)
    )
    assert (hand.face_part[1538:] == PARTS.index("palm")).all()
    weights = stored["weights"][stored["f"].astype(int)].sum(1)
    np.testing.assert_array_equal(
        hand.face_part[:1538], MANO_JOINT_PART[weights.argmax(1)]
    )
    for key in ("v_template", "weights", "posedirs"):
        np.testing.assert_allclose(getattr(hand, key)[:778], stored[key], atol=1e-6)
    np.testing.assert_allclose(
        hand.J_regressor[:, :778], stored["J_regressor"], atol=1e-6
    )
    np.testing.assert_allclose(
        hand.rest_joints(torch.zeros(10)), stored["J"], atol=1e-6
    )
    fit = [f[0] for f in random_fit(1, seed=4)]
    expected = plain_skinning(hand, *(f.double().numpy() for f in fit))
    np.testing.assert_allclose(hand.skin(*fit), expected, atol=2e-6)


def test_the_official_left_models_fault_is_mended(mano_dir, tmp_path):
    right = load_hand("right", "mano", mano_dir)
    for folder in (mano_dir, write_mano(tmp_path, signs_as_shipped=False)):
        left = load_hand("left", "mano", folder)
        torch.testing.assert_close(left.shapedirs, right.shapedirs * MIRROR[:, None])
        pose, shape, trans = (f[0] for f in random_fit(1, seed=2))
        mirrored = left.skin(pose * MIRROR_POSE, shape, trans * MIRROR)
        torch.testing.assert_close(mirrored, right.skin(pose, shape, trans) * MIRROR)


def test_the_mean_pose_is_added(mano_dir):
    hand = load_hand("right", "mano", mano_dir)
    flat = torch.cat([torch.zeros(3), -hand.hands_mean])
    torch.testing.assert_close(
        hand.skin(flat, torch.zeros(10), torch.zeros(3)), hand.v_template
    )


def test_joints_without_and_with_interhands_regressor(mano_dir, tmp_path):
    hand = load_hand("right", "mano", mano_dir)
    joints = hand.joints(hand.v_template)
    for name, vertex in MANO_TIPS.items():
        torch.testing.assert_close(
            joints[HAND_JOINTS.index(name)], hand.v_template[vertex]
        )
    torch.testing.assert_close(joints[-1], hand.rest_joints(torch.zeros(10))[0])
    write_mano(tmp_path)
    regressor = np.random.default_rng(0).dirichlet(np.ones(778), 21)
    np.save(tmp_path / MANO_REGRESSOR, regressor)
    hand = load_hand("left", "mano", tmp_path)
    np.testing.assert_allclose(
        hand.joints(hand.v_template),
        regressor @ hand.v_template[:778].numpy(),
        atol=1e-6,
    )
    np.save(tmp_path / MANO_REGRESSOR, regressor[:20])
    with pytest.raises(ValueError, match=r"J_regressor_mano_ih26m.npy.*\(20, 778\)"):
        load_hand("left", "mano", tmp_path)


def test_the_originals_vertex_parts_are_used(mano_dir, tmp_path):
    write_mano(tmp_path)
    plain = load_hand("right", "mano", tmp_path)
    # Every vertex of the thumb's last part is called the ring finger's first.
    weights = plain.weights.numpy()
    parts = MANO_JOINT_PART[weights.argmax(1)]
    parts = np.where(parts == PARTS.index("thumb3"), PARTS.index("ring1"), parts)
    (tmp_path / MANO_VERTEX_PARTS).write_text(json.dumps(parts.tolist()))
    for side in SIDES:
        hand = load_hand(side, "mano", tmp_path)
        corners = parts[hand.faces]
        for face_part, corner_part in zip(hand.face_part, corners, strict=True):
            counts = np.bincount(corner_part, minlength=16)
            assert counts[face_part] == counts.max()
        assert PARTS.index("thumb3") not in hand.face_part
    (tmp_path / MANO_VERTEX_PARTS).write_text("[1, 2, 16]")
    with pytest.raises(ValueError, match=r"vertex_segments_right_seal.json.*779"):
        load_hand("right", "mano", tmp_path)


def test_text_pickles_load_too(mano_dir, tmp_path):
    write_mano(tmp_path, protocol=0)
    binary, text = (
        load_hand("left", "mano", folder) for folder in (mano_dir, tmp_path)
    )
    for key, value in vars(binary).items():
        np.testing.assert_array_equal(value, getattr(text, key))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": np.zeros((778, 15))}, "weights.*778, 15"),
        ({"posedirs": None}, "posedirs"),
        ({"kintree_table": np.zeros((2, 16))}, "kintree_table"),
    ],
)
def test_what_is_not_mano_is_refused(tmp_path, changes, words):
    write_mano(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"MANO_RIGHT.pkl.*{words}.*get it from MANO"):
        load_hand("right", "mano", tmp_path)


def test_a_mano_file_runs_nothing(tmp_path):
    write_mano(tmp_path)
    trap = tmp_path / "trap"
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(
        b"cos\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR."
    )
    with pytest.raises(ValueError, match=r"MANO_RIGHT.pkl.*os.system"):
        load_hand("right", "mano", tmp_path)
    assert not trap.exists()


def test_mano_is_found_where_users_put_it(mano_dir, tmp_path, monkeypatch):
    monkeypatch.delenv("DIGIT_MANO", raising=False)
    monkeypatch.setattr("digit.hands.mano_files.ASSETS_DIR", tmp_path / "no data")
    assert find_mano(tmp_path) is None
    with pytest.raises(FileNotFoundError, match=r"MANO_RIGHT\.pkl"):
        load_hand("right", "mano")
    (tmp_path / "mano").symlink_to(mano_dir)
    assert find_mano(tmp_path) == tmp_path / "mano"
    (tmp_path / "official").mkdir()
    (tmp_path / "official" / "models").symlink_to(mano_dir)
    monkeypatch.setenv("DIGIT_MANO", str(tmp_path / "official"))
    assert find_mano(tmp_path) == tmp_path / "official" / "models"
    assert load_hand("right", "mano").name == "mano"
