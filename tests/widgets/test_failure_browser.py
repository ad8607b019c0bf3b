"""The failure browser's kernel side: filters, marks, layers, two models, exports, bad input."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from digit.data.dataset import InterHandDataset
from digit.data.index import open_index
from digit.evaluation.bootstrap import paired_difference
from digit.evaluation.error_table import error_table
from digit.evaluation.metrics import ERRORS
from digit.evaluation.predictions import Predictions
from digit.inference.evaluate import evaluate
from digit.plots import overlays
from digit.skeleton import SWAP_JOINTS, WRISTS
from digit.widgets.failure_browser import FailureBrowser
from digit.widgets.frame_view import Frames
from digit.widgets.notes import Marks


@pytest.fixture(scope="module")
def evaluated(tiny_root, tiny_run):
    """The small run with its error table, as digit evaluate leaves it."""
    errors = tiny_run / "errors_train.parquet"
    checkpoint = tiny_run / "checkpoints/best.ckpt"
    evaluate(tiny_root, "train", "gt", checkpoint, errors=errors)
    return tiny_run


def heard(widget) -> list[dict]:
    """What the widget sends from now on, by kind."""
    messages = []
    widget.send = lambda content, buffers=(): messages.append(
        content | {"buffers": buffers}
    )
    return messages


@pytest.fixture
def shown(evaluated, tiny_root, tmp_path):
    return FailureBrowser(
        evaluated, tiny_root, split="train", notes=tmp_path / "notes.json"
    )


def ask(widget, do: str, **content) -> dict[str, dict]:
    """Answers to a message of the page, the last of each kind."""
    messages = heard(widget)
    widget._receive(widget, {"do": do, **content}, [])
    json.dumps(
        [{k: v for k, v in m.items() if k != "buffers"} for m in messages],
        allow_nan=False,
    )
    return {message["kind"]: message for message in messages}


def test_frames_come_worst_first_and_filters_join(shown):
    errors = shown.filter()["mpjpe"].to_numpy()
    assert (np.diff(errors) <= 0).all() and len(errors) == len(shown.table) > 10
    middle = float(np.median(errors))
    found = shown.filter(query=f"mpjpe > {middle}", slices=["interacting"])
    assert 0 < len(found) < len(errors) / 2 + 1
    assert (found["mpjpe"] > middle).all() and (
        found["hand_type"] == "interacting"
    ).all()
    found = shown.filter(
        query="", slices=[], ranges=[["mpjpe", 0, middle], ["hand_type", "left"]]
    )
    assert set(found["hand_type"]) <= {"left"} and (found["mpjpe"] <= middle).all()
    rows = shown.filter(
        ranges=[], chosen=[8, 3, 5], sort="image_id", descending=False
    ).index
    assert (
        sorted(rows) == [3, 5, 8]
        and shown.table["image_id"][rows].is_monotonic_increasing
    )


@pytest.mark.parametrize(
    "query", ["speed > 3", "mpjpe >", "mpjpe", "mpjpe + 1", "1", "@x > 2"]
)
def test_a_filter_that_is_none_is_said_and_changes_nothing(shown, query):
    before = shown.rows
    answer = ask(shown, "filter", query=query)
    assert list(answer) == ["say"] and query in answer["say"]["text"]
    assert (shown.rows == before).all() and shown.state["query"] == ""


def test_an_empty_filter_and_steps_in_it_are_a_sentence(shown):
    answer = ask(shown, "filter", query="mpjpe > 1e9")
    assert (
        answer["frame"]["row"] is None and "No frame passes" in answer["frame"]["fault"]
    )
    assert (
        answer["page"]["cells"] == []
        and ask(shown, "step", by=1)["frame"]["row"] is None
    )
    assert "say" in ask(
        shown, "tag", tag="hidden"
    )  # no frame to tag: a sentence, no death


def test_a_frame_is_shown_with_the_errors_of_its_row(shown):
    for row in shown.filter().index[:6]:
        shot, frame = shown.shot(int(row)), shown.table.iloc[row]
        said = shot.accounts[0]
        error = np.linalg.norm(said.aligned_mm - shot.camera_mm, axis=-1)
        there = np.isfinite(error)
        np.testing.assert_allclose(
            error[there], frame[ERRORS].to_numpy(float)[there], atol=0.05
        )
        if pd.notna(frame["mrrpe"]) and there[list(WRISTS)].all():
            vectors = [
                mm[WRISTS[1]] - mm[WRISTS[0]] for mm in (said.camera_mm, shot.camera_mm)
            ]
            assert np.linalg.norm(vectors[0] - vectors[1]) == pytest.approx(
                frame["mrrpe"], abs=0.1
            )


def test_stored_predictions_stand_in_for_a_network(evaluated, tiny_root, shown):
    stored = FailureBrowser(evaluated / "errors_train.parquet", tiny_root)
    assert stored.models[0].network is None and stored.split == "train"
    one, other = (b.shot(int(b.rows[0])).accounts[0] for b in (stored, shown))
    np.testing.assert_allclose(one.joints_px, other.joints_px, atol=0.05)
    assert one.labels is None
    answer = ask(stored, "look", layer="predicted parts")["frame"]
    assert "needs a network" in answer["pictures"][0]["caption"]


def test_a_hand_called_the_other_stands_where_the_true_one_does(
    evaluated, tiny_root, tmp_path
):
    said = dict(np.load(evaluated / "errors_train.npz"))
    index = open_index(tiny_root, "train")
    row = int(np.flatnonzero(index["hand_type"] == 0)[0])  # a right hand
    said["hand_type"][:] = 0, 1  # everything is called left
    np.savez(tmp_path / "left.npz", **said)
    shutil.copy(evaluated / "errors_train.parquet", tmp_path / "left.parquet")
    shown = FailureBrowser(tmp_path / "left.parquet", tiny_root)
    shot = shown.shot(
        int(np.flatnonzero(shown.table["image_id"] == index["image_id"][row])[0])
    )
    right, left = shot.accounts[0].aligned_mm.reshape(2, 21, 3)
    assert np.isnan(right).all() and np.isfinite(left).any()
    np.testing.assert_allclose(left[-1], shot.camera_mm[WRISTS[0]], atol=1e-6)
    assert np.isfinite(shot.accounts[0].camera_mm[WRISTS[1]]).all()


def test_each_layer_paints_something_else(shown):
    ask(shown, "look", layer="picture")
    pictures = {
        layer: ask(shown, "look", layer=layer)["frame"] for layer in overlays.LAYERS
    }
    assert len({bytes(frame["buffers"][0]) for frame in pictures.values()}) == len(
        overlays.LAYERS
    )
    assert all(frame["pictures"][0]["caption"] for frame in pictures.values())


def test_wrong_pixels_are_told_apart():
    image, true = np.full((8, 8, 3), 100, np.uint8), np.zeros((8, 8), np.uint8)
    labels = true.copy()
    true[0], labels[0] = 3, 3  # right
    true[1], labels[1] = 3, 19  # the other hand
    true[2], labels[2] = 3, 4  # another part
    true[3], labels[4] = 3, 20  # missed, invented
    painted = overlays.paint_wrong(image, labels, true)[:, 0].astype(int)
    assert (painted[0] == painted[7]).all() and (painted[3] == painted[4]).all()
    assert len({tuple(color) for color in painted}) == 4
    assert painted[1].argmax() == 0 and painted[2].argmax() == 2  # vermilion, blue


def test_marks_are_on_disk_at_once_and_undone(shown, evaluated, tiny_root):
    row = int(shown.rows[0])
    ask(shown, "tag", tag="hidden")
    ask(shown, "note", text=" both wrists <odd> ", row=row)
    saved = json.loads(shown.marks.path.read_text())
    assert saved == {shown.key(row): {"tags": ["hidden"], "note": "both wrists <odd>"}}
    again = FailureBrowser(evaluated, tiny_root, split="train", notes=shown.marks.path)
    assert list(again.filter(slices=["tagged"]).index) == [row]
    assert again.table["note"][row] == "both wrists <odd>"
    ask(shown, "undo")
    assert json.loads(shown.marks.path.read_text())[shown.key(row)]["note"] == ""
    assert ask(shown, "undo")["marks"]["tags"] == []
    assert json.loads(shown.marks.path.read_text()) == {}
    assert "nothing to undo" in ask(shown, "undo")["say"]["text"]


def test_two_kernels_write_to_one_file_of_marks(tmp_path):
    one, other = (Marks(tmp_path / "notes.json") for _ in range(2))
    one.put("a", {"tags": ["x"], "note": ""})
    other.put("b", {"tags": [], "note": "y"})
    assert set(json.loads((tmp_path / "notes.json").read_text())) == {"a", "b"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}', '{"a": {"tags": []}}', "\x00"])
def test_a_broken_file_of_marks_is_said_and_kept(evaluated, tiny_root, tmp_path, text):
    (tmp_path / "notes.json").write_text(text)
    shown = FailureBrowser(
        evaluated, tiny_root, split="train", notes=tmp_path / "notes.json"
    )
    assert "cannot be read as tags" in shown.said
    assert "nothing is saved" in ask(shown, "tag", tag="x")["say"]["text"]
    assert (tmp_path / "notes.json").read_text() == text


def test_two_models_are_compared_frame_by_frame(shown, evaluated, tiny_root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(evaluated, other)
    table = pd.read_parquet(other / "errors_train.parquet")
    table["mpjpe"] -= np.where(np.arange(len(table)) % 4, 5.0, -1.0)
    table.sample(frac=1, random_state=0).to_parquet(other / "errors_train.parquet")
    found = shown.compare(other)
    assert found["frames"] == len(table) and found["worse"] == (len(table) + 3) // 4
    assert (
        found["low"] < found["difference"] < found["high"] < 0
        and found["chance"] < 0.05
    )
    wins = shown.filter(slices=["A better"])
    assert len(wins) == found["worse"] and np.allclose(
        wins["mpjpe_change"], 1, atol=1e-4
    )
    answer = ask(shown, "hello", plotly_there=True)
    assert "B is better in" in answer["state"]["verdict"]
    assert len(answer["frame"]["pictures"]) == 2 == len(answer["frame"]["errors"])
    assert (
        "no such table"
        in ask(shown, "compare", path=str(tmp_path / "none"))["say"]["text"]
    )


def test_the_paired_interval_holds_the_truth_and_resamples_sequences():
    rng, sequence = np.random.default_rng(0), np.repeat(np.arange(40), 25)
    about = {
        "image_id": np.arange(1000),
        "capture": 0,
        "seq_name": sequence.astype(str),
    }
    first = pd.DataFrame(about | {"mpjpe": rng.normal(30, 9, 1000)})
    shift = rng.normal(0, 2, 40)[sequence] + rng.normal(0, 0.5, 1000)
    second = first.assign(mpjpe=first["mpjpe"] - 3 + shift)
    found = paired_difference(first, second.sample(frac=1, random_state=1))
    assert found["low"] < -3 < found["high"] and found["groups"] == 40
    by_frame = paired_difference(first[["image_id", "mpjpe"]], second)
    assert by_frame["high"] - by_frame["low"] < 0.4 * (found["high"] - found["low"])
    with pytest.raises(ValueError, match="no frame has mpjpe in both"):
        paired_difference(first, second.assign(image_id=second["image_id"] + 5000))


def test_exports_hold_the_frames_that_pass(shown, tmp_path):
    shown.marks.put(
        shown.key(int(shown.rows[0])), {"tags": ["</script>"], "note": "<b>"}
    )
    shown._mark_columns()
    rows = shown.filter(slices=["interacting"]).head(3).index
    shown.filter(slices=[], chosen=[*rows])
    names = shown.export(tmp_path / "frames.txt").read_text().split()
    assert names == [shown.key(int(row)) for row in shown.rows]
    assert list(
        pd.read_csv(shown.export(tmp_path / "a" / "frames.csv"))["image_id"]
    ) == list(shown.table["image_id"][shown.rows])
    page = shown.export(tmp_path / "frames.html").read_text()
    assert page.count('"jpeg"') == 3 and "http" not in page.replace(
        "http://www.w3.org", ""
    )
    assert page.count("</script>") == 1, "a tag in the data must not end the script"
    with pytest.raises(ValueError, match=r"ends in \.txt, \.csv or \.html"):
        shown.export(tmp_path / "frames.pdf")


def test_a_table_of_another_data_set_is_said_and_listed(evaluated, tiny_root):
    table = pd.read_parquet(evaluated / "errors_train.parquet")
    table.attrs = {}
    table.loc[3:, "file_name"] = "Capture9/other/cam1/image1.jpg"
    shown = FailureBrowser(table, tiny_root, split="train")
    assert f"{len(table) - 3} of {len(table)} rows are no frames" in shown.said
    shown.filter(query="file_name == 'Capture9/other/cam1/image1.jpg'")
    answer = ask(shown, "hello", plotly_there=True)
    assert (
        "no such frame" in answer["frame"]["fault"]
        and answer["page"]["cells"][0]["fault"]
    )
    elsewhere = FailureBrowser(table, tiny_root / "nowhere", split="train")
    assert (
        "nowhere" in elsewhere.said and ask(elsewhere, "step", by=1)["frame"]["fault"]
    )
    assert "No data set" in FailureBrowser(table, split="train").said


def test_a_table_of_another_version_or_none_is_refused(evaluated, tmp_path):
    table = pd.read_parquet(evaluated / "errors_train.parquet")
    with pytest.raises(ValueError, match=r"error_l_wrist is missing.*digit evaluate"):
        FailureBrowser(table.drop(columns="error_l_wrist"))
    with pytest.raises(FileNotFoundError, match="digit evaluate"):
        FailureBrowser(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"bad.parquet: no Parquet table"):
        FailureBrowser(tmp_path / "bad.parquet")


def test_missing_columns_leave_their_slices_out(evaluated, tiny_root):
    table = pd.read_parquet(evaluated / "errors_train.parquet")
    known = [n for n in table if "hidden" in n or "distance" in n]
    shown = FailureBrowser(
        table.drop(columns=[*known, "file_name"]), tiny_root, split="train"
    )
    state = ask(shown, "hello", plotly_there=True)["state"]
    assert "heavily hidden" not in state["slices"] and "interacting" in state["slices"]
    assert shown.shot(0).picture.any()


def test_a_missing_or_broken_picture_is_a_sentence(evaluated, tiny_root, monkeypatch):
    shown = FailureBrowser(evaluated, tiny_root, split="train")
    real = InterHandDataset.batch
    bad = int(shown.place[shown.rows[1]])

    def batch(self, positions):
        if bad in positions:
            raise KeyError("val/Capture0/image1.jpg: not among the images")
        return real(self, positions)

    monkeypatch.setattr(InterHandDataset, "batch", batch)
    answer = ask(shown, "hello", plotly_there=True)
    faults = [cell["fault"] for cell in answer["page"]["cells"]]
    assert "not among the images" in faults[1] and not faults[0]
    answer = ask(shown, "step", by=1)["frame"]
    assert "not among the images" in answer["fault"] and answer["facts"]["mpjpe"] > 0
    assert ask(shown, "step", by=1)["frame"]["fault"] == ""


def test_frames_without_an_error_are_listed_last_and_shown(evaluated, tiny_root):
    table = pd.read_parquet(evaluated / "errors_train.parquet")
    table.loc[2, ["mpjpe", "mrrpe", *ERRORS]] = np.nan
    checkpoint = evaluated / "checkpoints/best.ckpt"
    shown = FailureBrowser(table, tiny_root, checkpoint, split="train")
    assert shown.filter().index[-1] == 2
    assert list(shown.filter(slices=["no error"]).index) == [2]
    frame = ask(shown, "hello", plotly_there=True)["frame"]
    assert "mpjpe" not in frame["facts"] and frame["errors"] == [[None] * 42]
    assert ask(shown, "axes", x="mrrpe", bars="mpjpe")["charts"]["unknown"] == 1


def test_a_frame_with_one_hand_has_one_hand_in_3d(shown):
    for hand, absent in (("right", slice(21, 42)), ("left", slice(0, 21))):
        there = shown.filter(query=f"hand_type == '{hand}'")
        for camera in (False, True) if len(there) else ():  # the small set may lack one
            frame = ask(shown, "look", camera=camera)["frame"]
            assert frame["true_mm"][absent] == [[None] * 3] * 21
            assert frame["fault"] == "" and np.isfinite(
                frame["true_mm"][WRISTS[hand == "left"]][0]
            )


def test_the_table_tells_swapped_joints_and_the_palms_view(tiny_root):
    index = open_index(tiny_root, "train").usable()
    targets = Frames(index, "gt")._display.batch(range(len(index)))
    right = targets.joints_25d.numpy()
    said = [
        index["image_id"],
        right,
        targets.relative_root_depth.numpy(),
        targets.hand_type.numpy(),
    ]
    table = error_table(index, Predictions(*said))
    two = (table["hand_type"] == "interacting").to_numpy()
    assert (table["joints_swapped"][two] == 0).all() and table["joints_swapped"][
        ~two
    ].isna().all()
    said[1] = np.concatenate([right[:, SWAP_JOINTS, :2], right[..., 2:]], -1)
    assert (error_table(index, Predictions(*said))["joints_swapped"][two] == 1).all()
    for side, hands in enumerate(("right", "left")):
        view = table[f"palm_view_{hands}_deg"]
        has = np.isin(table["hand_type"], [hands, "interacting"])
        assert view[has].between(0, 180).all() and view[~has].isna().all()
        hand = torch.tensor(index["joints_cam_mm"][has][:, 21 * side : 21 * side + 21])
        # From the right hand's palm the thumb's side comes clockwise after the little finger's.
        a, b = (
            hand[:, j, :2] / hand[:, j, 2:] - hand[:, 20, :2] / hand[:, 20, 2:]
            for j in (7, 19)
        )
        turn = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).numpy() * (1 - 2 * side)
        assert ((turn < 0) == (view[has] < 90)).mean() > 0.9
