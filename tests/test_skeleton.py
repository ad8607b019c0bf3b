import numpy as np

from digit import skeleton as sk


def test_joints_stand_in_the_order_of_the_data_set(reference):
    text = (reference / "protocol_seed11/annotations/skeleton.txt").read_text()
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert [(name, int(i), int(parent)) for name, i, parent in lines] == [
        (name, i, sk.PARENTS[i]) for i, name in enumerate(sk.JOINTS)
    ]


def test_every_joint_leads_to_its_own_wrist():
    for joint in range(sk.N_JOINTS):
        assert sk.PARENTS[sk.JOINT_WRIST[joint]] == -1
        at = joint
        while sk.PARENTS[at] >= 0:
            at = sk.PARENTS[at]
        assert at == sk.JOINT_WRIST[joint]
        assert sk.JOINTS[at] == "rl"[sk.JOINT_SIDE[joint]] + "_wrist"
    assert len(sk.BONES) == 40
    for child, parent in sk.BONES:
        name, towards = sk.JOINTS[child][2:], sk.JOINTS[parent][2:]
        assert towards == (
            "wrist" if name[-1] == "1" else f"{name[:-1]}{int(name[-1]) - 1}"
        )


def test_mirroring_twice_changes_nothing():
    assert [sk.JOINTS[j][2:] for j in sk.SWAP_JOINTS] == [
        name[2:] for name in sk.JOINTS
    ]
    np.testing.assert_array_equal(sk.SWAP_JOINTS[sk.SWAP_JOINTS], np.arange(42))
    np.testing.assert_array_equal(sk.SWAP_LABELS[sk.SWAP_LABELS], np.arange(33))
    for label in range(1, 33):
        assert sk.LABELS[label][0] != sk.LABELS[sk.SWAP_LABELS[label]][0]
        assert sk.LABELS[label][2:] == sk.LABELS[sk.SWAP_LABELS[label]][2:]


def test_part_numbers_are_those_of_the_checkpoints():
    numbers = {
        "ring1": 0,
        "middle1": 3,
        "thumb1": 7,
        "palm": 8,
        "index3": 11,
        "ring2": 15,
    }
    assert {name: sk.PARTS.index(name) for name in numbers} == numbers
    assert (
        sk.LABELS[1] == "r_ring1"
        and sk.LABELS[17] == "l_ring1"
        and sk.LABELS[32] == "l_ring2"
    )
    assert sorted(sk.MANO_JOINT_PART) == list(range(16))
    assert [sk.PARTS[p] for p in sk.MANO_JOINT_PART[[0, 1, 6, 7, 12, 15]]] == [
        "palm",
        "index1",
        "middle3",
        "pinky1",
        "ring3",
        "thumb3",
    ]
    assert [sk.FINGERS[f] if f < 5 else "palm" for f in sk.PART_FINGER[[0, 8, 12]]] == [
        "ring",
        "palm",
        "thumb",
    ]
