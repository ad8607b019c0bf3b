"""The subject of a capture, its posed hands, and what a camera sees of them.

`capture` calls these in order: draw the subject, pose the hands of a motion, build the
scene of each instant, take pictures of it.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from digit.skeleton import JOINTS_PER_HAND
from digit.synth.anatomy import Rig, build_rig, mano_pose, pose_rig
from digit.synth.annotations import FrameTruth, occlusion
from digit.synth.arms import Person, draw_person
from digit.synth.arrays import Betas, LinearRgb, PresentOverTime, Rng
from digit.synth.body import Body, build_mesh
from digit.synth.contact import Separation, separate_hands
from digit.synth.motion import Motion
from digit.synth.renderer import (
    NEAR_MM,
    Camera,
    Lights,
    Seen,
    Shadows,
    cast_shadows,
    render,
)
from digit.synth.shading import openness, vertex_normals


class Subject(NamedTuple):
    """The person of a capture."""

    betas: Betas  # shape of both hands
    body: Body
    person: Person
    rig: Rig


class PosedHands(NamedTuple):
    """The hand models of a capture at T instants, in the world; right hand first."""

    present: PresentOverTime
    joint_valid: Bool[np.ndarray, "t 42"]
    orientation: Float[np.ndarray, "t 2 3 3"]
    wrist_mm: Float[np.ndarray, "t 2 3"]
    mano_pose: Float32[np.ndarray, "t 2 48"]
    mano_trans: Float32[np.ndarray, "t 2 3"]  # m
    vertices_mm: Float32[np.ndarray, "t 2 v 3"]
    joints_mm: Float32[np.ndarray, "t 42 3"]
    spheres_mm: Float32[np.ndarray, "t 2 s 3"]  # of the rig, for ambient occlusion
    separation: Separation


class Scene(NamedTuple):
    """What the cameras of an instant see."""

    body: Body
    attributes: Float32[np.ndarray, "v 9"]  # see `renderer.render`
    lights: Lights
    shadows: Shadows
    near_mm: float


class View(NamedTuple):
    """A rendered view of an instant."""

    camera: Camera
    light: LinearRgb
    truth: dict[str, Any]  # see `annotations.occlusion`


def draw_betas(rng: Rng) -> Betas:
    """Shape parameters of a subject's hands."""
    return np.clip(rng.normal(0, 1, 10), -2, 2).round(6).astype(np.float32)


def make_subject(
    rng: Rng,
    betas: Betas,
    body: Body,
) -> Subject:
    """A subject with a body; large hands belong to large people."""
    person = draw_person(rng, 1 + 0.05 * float(betas[0]))
    return Subject(betas, body, person, build_rig(body.models[0], betas))


def pose_hands(subject: Subject, motion: Motion) -> PosedHands:
    """Pose the hand model as a motion says; hands that collide are parted."""
    models = subject.body.models
    shape = torch.tensor(subject.betas)
    # Annotation files hold six decimals, so the pictures show what they say.
    pose = mano_pose(subject.rig, motion.angles, motion.orientation).round(6)
    rest_wrist = np.stack([model.rest_joints(shape).numpy()[0] for model in models])

    def translation(wrist_mm: np.ndarray) -> np.ndarray:
        """MANO's translation (m) for wrists that are there."""
        return (wrist_mm / 1000 - rest_wrist).astype(np.float32).round(6)

    def skin(trans: np.ndarray) -> np.ndarray:
        """Vertices of both hands, mm."""
        hands = []
        for side, model in enumerate(models):
            pose_of_side = torch.tensor(pose).unbind(1)[side]
            trans_of_side = torch.tensor(trans).unbind(1)[side]
            shapes_of_side = shape.expand(len(pose_of_side), 10)
            vertices = model.skin(pose_of_side, shapes_of_side, trans_of_side)
            hands.append(vertices.numpy() * 1000)
        return np.stack(hands, 1)

    # 1. Part the hands where their meshes pass through each other.
    both = motion.present.all(1)
    separation = separate_hands(models, skin(translation(motion.wrist_mm)), both)
    wrist = motion.wrist_mm + separation.shift_mm

    # 2. Vertices, joints, and the rig's spheres.
    trans = translation(wrist)
    vertices = skin(trans)
    joints = [
        model.joints(torch.tensor(vertices[:, side])).numpy()
        for side, model in enumerate(models)
    ]
    rig_points = pose_rig(
        subject.rig,
        torch.tensor(motion.angles, dtype=torch.float32),
        torch.tensor(motion.orientation, dtype=torch.float32),
        torch.tensor(wrist, dtype=torch.float32),
    )
    return PosedHands(
        present=motion.present,
        joint_valid=motion.present.repeat(JOINTS_PER_HAND, 1),
        orientation=motion.orientation,
        wrist_mm=wrist,
        mano_pose=pose,
        mano_trans=trans,
        vertices_mm=vertices,
        joints_mm=np.concatenate(joints, 1),
        spheres_mm=rig_points[:, :, : len(subject.rig.radii)].numpy(),
        separation=separation,
    )


def build_scene(
    subject: Subject,
    shown: Body,
    hands: PosedHands,
    t: int,
    lights: Lights,
    near_mm: float = NEAR_MM,
) -> Scene:
    """Place the mesh of an instant and light it.

    Args:
        subject: The person.
        shown: The faces of the body that are drawn.
        hands: The posed hands.
        t: The instant.
        lights: Of the scene.
        near_mm: Faces nearer to a camera are not drawn.
    """
    present = hands.present[t]
    body = subject.body
    vertices, uv = build_mesh(
        body,
        subject.person,
        hands.vertices_mm[t],
        hands.orientation[t],
        hands.wrist_mm[t],
        present,
    )
    normals = vertex_normals(vertices, body.surface.faces, body.shares_normal_with)
    spheres = hands.spheres_mm[t, present].reshape(-1, 3)
    radii = np.tile(subject.rig.radii, present.sum())
    free = openness(vertices, normals, spheres, radii)
    middle = hands.vertices_mm[t][present].mean((0, 1)).astype(float)
    return Scene(
        body=shown,
        attributes=np.concatenate([vertices, normals, free[:, None], uv], 1),
        lights=lights,
        shadows=cast_shadows(vertices, shown.surface.faces, lights, middle),
        near_mm=near_mm,
    )


def take_picture(
    scene: Scene,
    hands: PosedHands,
    t: int,
    camera: Camera,
    background: LinearRgb,
) -> View:
    """Render a scene, and find out what hides its hands."""
    light, seen = render(
        scene.body.surface,
        scene.attributes,
        scene.lights,
        scene.shadows,
        camera,
        background,
        scene.near_mm,
    )
    return View(camera, light, occlusion(_frame_truth(scene, hands, t, camera, seen)))


def _frame_truth(
    scene: Scene,
    hands: PosedHands,
    t: int,
    camera: Camera,
    seen: Seen,
) -> FrameTruth:
    """What `occlusion` needs to know of a view."""
    count = hands.vertices_mm.shape[2]
    both_hands = scene.attributes[: 2 * count]
    return FrameTruth(
        camera=camera,
        seen=seen,
        owner=scene.body.owner,
        skin_mm=both_hands[:, :3].reshape(2, count, 3),
        skin_normals=both_hands[:, 3:6].reshape(2, count, 3),
        joints_mm=hands.joints_mm[t],
        present=hands.present[t],
    )
