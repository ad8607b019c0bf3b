"""Make generic_hand.npz: a freely licensed hand mesh in MANO's layout.

    python data/hand/make_hand.py RIGHT.glb [generic_hand.npz]

RIGHT.glb is `dist/profiles/generic-hand/right.glb` of the npm package
`@webxr-input-profiles/assets` 1.0.20 (MIT, see LICENSE.md). Needs pygltflib and scipy.

Steps: weld the UV seams; turn the hand into MANO's rest pose (metres; right hand flat,
fingers along −x, thumb towards +z, palm facing −y, wrist joint at (0.09, 0, 0)); reduce
WebXR's 25 joints to MANO's 16 (metacarpals of index to pinky and the wrist become the
wrist, tips their last phalanx); build ten shape directions by stretching and thickening
along the bones; fit regressors that find the joints in the mesh; fit pose correctives
that keep bent knuckles full. Only the right hand is stored: the left is its mirror
image.
"""

import sys
from pathlib import Path

import numpy as np
import pygltflib
from scipy.optimize import nnls
from scipy.spatial.transform import Rotation

MANO_JOINTS = ("wrist",) + tuple(
    f"{finger}{k}"
    for finger in ("index", "middle", "pinky", "ring", "thumb")
    for k in (1, 2, 3)
)
PARENTS = np.array([-1 if j == 0 else 0 if j % 3 == 1 else j - 1 for j in range(16)])
TIPS = tuple(f"{finger}4" for finger in ("index", "middle", "pinky", "ring", "thumb"))
ANNOTATED = tuple(
    f"{f}{k}"
    for f in ("thumb", "index", "middle", "ring", "pinky")
    for k in (4, 3, 2, 1)
) + ("wrist",)
WRIST_M = np.array([0.09, 0.0, 0.0])


def mano_name(webxr):
    """WebXR's joint name → the MANO joint that takes its place ("index4" for a tip)."""
    if webxr == "wrist":
        return "wrist"
    finger, bone = webxr.split("-")[0], webxr.split("-")[-1]
    if finger == "thumb":
        return (
            "thumb"
            + {"metacarpal": "1", "proximal": "2", "distal": "3", "tip": "4"}[bone]
        )
    if bone == "metacarpal":
        return "wrist"
    return (
        finger + {"proximal": "1", "intermediate": "2", "distal": "3", "tip": "4"}[bone]
    )


def read_glb(path):
    """Welded vertices (V,3), faces (F,3), weights (V,16), joints' (3,4) frames by
    MANO's names: columns across the joint (flexion is the turn about −x), out of the
    back, back along the bone, position."""
    gltf = pygltflib.GLTF2().load(path)
    blob = gltf.binary_blob()

    def accessor(i):
        entry = gltf.accessors[i]
        view = gltf.bufferViews[entry.bufferView]
        dtype = np.dtype(
            {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[entry.componentType]
        )
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry.type]
        start = (view.byteOffset or 0) + (entry.byteOffset or 0)
        stride = view.byteStride or width * dtype.itemsize
        rows = [
            np.frombuffer(blob, dtype, width, start + k * stride)
            for k in range(entry.count)
        ]
        return np.stack(rows)

    primitive = gltf.meshes[0].primitives[0]
    position = accessor(primitive.attributes.POSITION).astype(float)
    faces = accessor(primitive.indices).reshape(-1, 3).astype(int)
    skin = gltf.skins[0]
    names = [gltf.nodes[j].name for j in skin.joints]
    bind = accessor(skin.inverseBindMatrices).reshape(-1, 4, 4).astype(float)
    rest = np.linalg.inv(bind.transpose(0, 2, 1))[
        :, :3
    ]  # rotation and position of each joint
    joints = {
        mano_name(n): p
        for n, p in zip(names, rest, strict=True)
        if n == "wrist" or mano_name(n) != "wrist"
    }

    weights = np.zeros((len(position), 16))
    influences = zip(
        accessor(primitive.attributes.JOINTS_0).T,
        accessor(primitive.attributes.WEIGHTS_0).T,
        strict=True,
    )
    last = {tip: tip[:-1] + "3" for tip in TIPS}
    target = [MANO_JOINTS.index(last.get(mano_name(n), mano_name(n))) for n in names]
    for joint, weight in influences:
        np.add.at(weights, (np.arange(len(position)), np.array(target)[joint]), weight)

    _, first, welded = np.unique(
        np.round(position, 6), axis=0, return_index=True, return_inverse=True
    )
    weights = weights[first] / weights[first].sum(1, keepdims=True)
    return position[first], welded.reshape(-1)[faces], weights, joints


def to_mano_frame(vectors):
    """The source has fingers along −y, thumb towards −z, palm facing −x."""
    return vectors[..., [1, 0, 2]] * [1, 1, -1]


def rim_of_stub(vertices, faces):
    """The vertices around the sharp edge where the mesh is cut behind the wrist, in
    order."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cap = set(
        np.flatnonzero((normals[:, 0] > 0.7) & (corners[..., 0].min(1) > WRIST_M[0]))
    )
    owner = {(f[k], f[(k + 1) % 3]): i for i, f in enumerate(faces) for k in range(3)}
    after = {a: b for (a, b), i in owner.items() if i in cap and owner[b, a] not in cap}
    rim = [min(after)]
    while after[rim[-1]] != rim[0]:
        rim.append(after[rim[-1]])
    assert len(rim) == len(after), "the rim must be one loop"
    return np.array(rim)


def shape_fields(weights, joints, tips, points, point_weights):
    """Displacements (10, P, 3) of points whose skinning weights are given, per unit of
    each beta.

    Each direction moves every finger as a whole with its knuckle, and stretches or
    thickens it about its own bones; the skinning weights blend between finger and palm.
    """
    palm = point_weights[:, 0]
    chains = [
        range(k, k + 3) for k in (1, 4, 7, 10, 13)
    ]  # index, middle, pinky, ring, thumb
    member = np.stack([point_weights[:, list(c)].sum(1) for c in chains], 1)  # (P, 5)
    knuckle = np.stack([joints[c[0]] for c in chains])  # (5, 3)
    length = np.zeros((5, len(points), 3))  # of a finger stretched by 100 %
    radial = np.zeros((5, len(points), 3))  # from the finger's axis
    along = np.zeros((5, len(points)))  # 0 at the knuckle, 1 at the tip
    for f, chain in enumerate(chains):
        nodes = np.vstack([joints[list(chain)], tips[f]])
        best = np.full(len(points), np.inf)
        total = np.linalg.norm(np.diff(nodes, axis=0), axis=1).sum()
        passed = 0.0
        for k in range(3):
            a, b = nodes[k], nodes[k + 1]
            size = np.linalg.norm(b - a)
            axis = (b - a) / size
            raw = (points - a) @ axis
            reach = np.clip(raw, 0, None if k == 2 else size)
            length[f] += reach[:, None] * axis
            on_axis = np.clip(raw, None if k == 0 else 0, None if k == 2 else size)
            offset = points - a - on_axis[:, None] * axis
            near = np.linalg.norm(offset, axis=1)
            closer = near < best
            best = np.where(closer, near, best)
            radial[f][closer] = offset[closer]
            along[f][closer] = ((passed + reach) / total)[closer]
            passed += size

    def stretch(amounts):  # fraction per finger
        return np.einsum("f,pf,fpc->pc", np.asarray(amounts, float), member, length)

    def follow(
        palm_field, knuckle_field
    ):  # palm deforms, fingers go along with their knuckles
        return palm[:, None] * palm_field + member @ knuckle_field

    wrist = joints[0]
    palm_x = knuckle[1, 0] - wrist[0]  # negative

    def span(x):  # from the wrist to the knuckles
        return np.clip((x - wrist[0]) / palm_x, 0, 1)[:, None] * [[palm_x, 0, 0]]

    def side(p):
        return (p - wrist) * [0, 0, 1]

    def height(p):
        return (p - (wrist + [0, -0.004, 0])) * [0, 1, 0]

    fields = [
        0.05 * (points - wrist),  # 0 overall size
        0.05 * stretch([1, 1, 1, 1, 0]),  # 1 finger length
        0.05 * follow(span(points[:, 0]), span(knuckle[:, 0])),  # 2 palm length
        0.06 * follow(side(points), side(knuckle)),  # 3 palm width
        0.06 * np.einsum("pf,fpc->pc", member, radial),  # 4 finger thickness
        0.07 * follow(height(points), height(knuckle)),  # 5 palm thickness
        0.04 * stretch([1, 0, 0, -1, 0]),  # 6 index against ring finger
        0.05 * stretch([0, -0.4, 1, 0, 0]),  # 7 pinky against middle finger
        0.06 * stretch([0, 0, 0, 0, 1]),  # 8 thumb length
        0.08
        * np.einsum("pf,fp,fpc->pc", member, along**2, radial),  # 9 fingertip taper
    ]
    return np.stack(fields)


def regressor(vertices, fields, point, point_fields, candidates=80):
    """Non-negative weights (V,) summing to one that find a point in the mesh, and
    follow it through the shape directions as well as the nearest vertices can."""
    near = np.argsort(np.linalg.norm(vertices - point, axis=1))[:candidates]
    distance = np.linalg.norm(vertices[near] - point, axis=1)
    system = np.vstack(
        [
            1e3 * np.ones((1, candidates)),
            1e5 * (vertices[near] - point).T,
            3e3
            * (fields[:, near] - point_fields[:, None])
            .transpose(0, 2, 1)
            .reshape(-1, candidates),
            2.0
            * np.diag(distance / distance.min()),  # prefers many small weights close by
        ]
    )
    target = np.zeros(len(system))
    target[0] = 1e3
    row = np.zeros(len(vertices))
    row[near] = nnls(system, target)[0]
    return row / row.sum()


def rotation(axis_angle):
    """Rotation matrix of an axis-angle vector."""
    return Rotation.from_rotvec(axis_angle).as_matrix()


def pose_correctives(vertices, weights, rest, frames):
    """posedirs (V, 3, 135): what to add before blending, linear in each joint's R − 1.

    Linear blending pulls the skin of a bent joint towards the joint. Turning a vertex
    by its share of the angle, about the joint, keeps its distance instead (what dual
    quaternions do). The difference is fitted over the range of motion, joint by joint.
    """
    posedirs = np.zeros((len(vertices), 3, 15, 9))
    for j in range(1, 16):
        share = weights[:, j : (j + 2) // 3 * 3 + 1].sum(
            1
        )  # of the joint and those behind it
        moving = (share > 1e-3) & (share < 1 - 1e-3)
        offset = vertices[moving] - rest[j]
        samples, wanted = [], []
        for bend in np.radians([-20, 0, 20, 40, 60, 80, 100]):
            for aside, twist in np.radians(
                [[0, 0], [20, 0], [-20, 0], [0, 20], [0, -20]]
            ):
                turn = (
                    rotation([0, aside, 0])
                    @ rotation([-bend, 0, 0])
                    @ rotation([0, 0, twist])
                )
                turn = frames[j] @ turn @ frames[j].T
                vector = Rotation.from_matrix(turn).as_rotvec()
                blend = (1 - share[moving])[:, None, None] * np.eye(3)
                blend = blend + share[moving][:, None, None] * turn
                arc = np.stack([rotation(w * vector) for w in share[moving]])
                target = np.einsum("vab,vb->va", arc, offset)
                wanted.append(
                    np.linalg.solve(blend, target[..., None])[..., 0] - offset
                )
                samples.append((turn - np.eye(3)).ravel())
        samples, wanted = np.stack(samples), np.stack(wanted)
        normal = samples.T @ samples + 1e-2 * np.eye(9)
        fit = np.linalg.solve(normal, samples.T @ wanted.reshape(len(samples), -1))
        posedirs[moving, :, j - 1] = fit.reshape(9, -1, 3).transpose(1, 2, 0)
        left = np.linalg.norm(wanted - (samples @ fit).reshape(wanted.shape), axis=-1)
        size = np.linalg.norm(wanted, axis=-1)
        print(
            f"{MANO_JOINTS[j]:8s} corrective up to {1e3 * size.max():.1f} mm, of which the fit"
            f" leaves {1e3 * left.max():.1f}"
        )
    posedirs[abs(posedirs) < 2e-5] = 0
    return posedirs.reshape(len(vertices), 3, 135)


def build(glb):
    """The arrays of generic_hand.npz."""
    vertices, faces, weights, joints = read_glb(glb)
    wrist = joints["wrist"][:, 3]
    vertices = to_mano_frame(vertices - wrist) + WRIST_M
    frames = {name: to_mano_frame(frame[:, :3].T).T for name, frame in joints.items()}
    joints = {
        name: to_mano_frame(f[:, 3] - wrist) + WRIST_M for name, f in joints.items()
    }
    rest = np.stack([joints[name] for name in MANO_JOINTS])
    tip_vertex = {}
    for tip in TIPS:  # the skin's tip: the vertex farthest along the last phalanx
        direction = joints[tip] - joints[tip[:-1] + "3"]
        own = weights[:, MANO_JOINTS.index(tip[:-1] + "3")] > 0.5
        tip_vertex[tip] = int(np.argmax(np.where(own, vertices @ direction, -np.inf)))
    tips = np.stack([vertices[tip_vertex[t]] for t in TIPS])

    fields = shape_fields(weights, rest, tips, vertices, weights)
    joint_fields = shape_fields(weights, rest, tips, rest, np.eye(16))
    j_regressor = np.stack(
        [regressor(vertices, fields, p, joint_fields[:, j]) for j, p in enumerate(rest)]
    )
    annotated = np.stack(
        [
            np.eye(len(vertices))[tip_vertex[name]]
            if name in TIPS
            else j_regressor[MANO_JOINTS.index(name)]
            for name in ANNOTATED
        ]
    )
    print(
        "largest error of a regressed joint, mm:",
        1e3 * abs(j_regressor @ vertices - rest).max(),
    )
    drift = np.einsum("jv,kvc->kjc", j_regressor, fields) - joint_fields
    print("and of its motion by each beta, mm:", 1e3 * abs(drift).max((1, 2)).round(5))
    return {
        "v_template": vertices.astype("f4"),
        "faces": faces.astype("u2"),
        "weights": weights.astype("f4"),
        "J_regressor": j_regressor.astype("f4"),
        "joint_regressor": annotated.astype("f4"),
        "shapedirs": fields.transpose(1, 2, 0).astype("f4"),
        "posedirs": pose_correctives(
            vertices, weights, rest, np.stack([frames[name] for name in MANO_JOINTS])
        ).astype("f2"),
        "rim": rim_of_stub(vertices, faces).astype("u2"),
    }


if __name__ == "__main__":
    output = (
        sys.argv[2]
        if len(sys.argv) > 2
        else Path(__file__).with_name("generic_hand.npz")
    )
    np.savez_compressed(output, **build(sys.argv[1]))
    print(output, Path(output).stat().st_size, "bytes")
