"""The failure browser without a page: what it answers to what a page asks."""

import base64
import json
import random
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from browser_page import ask

from digit.data.dataset import InterHandDataset
from digit.evaluation.bootstrap import paired_difference
from digit.evaluation.metrics import ERRORS
from digit.plots import overlays
from digit.skeleton import WRISTS
from digit.widgets.evaluated_model import find_evaluated_run
from digit.widgets.failure_browser import FailureBrowser
from digit.widgets.frame_view import THUMBNAIL_PX
from digit.widgets.notes import FrameNotes, Note

# Filters


def test_frames_come_worst_first(browser):
    errors = browser.filter()["mpjpe"].to_numpy()
    assert len(errors) == len(browser.table) > 10
    assert (np.diff(errors) <= 0).all()


def test_filters_join(browser):
    middle = float(np.median(browser.table["mpjpe"]))
    found = browser.filter(query=f"mpjpe > {middle}", slices=["interacting"])
    assert 0 < len(found) < len(browser.table)
    assert (found["mpjpe"] > middle).all()
    assert (found["hand_type"] == "interacting").all()


def test_chosen_rows_are_sorted_as_asked(browser):
    found = browser.filter(chosen=[8, 3, 5], sort="image_id", descending=False)
    assert sorted(found.index) == [3, 5, 8]
    assert found["image_id"].is_monotonic_increasing


@pytest.mark.parametrize("column", ["hidden", "probability_right", "mpjpe"])
def test_a_range_with_untouched_ends_drops_nothing(browser, column):
    [record] = [
        r
        for r in ask(browser, "hello", plotly_there=True)["state"]["columns"]
        if r["name"] == column
    ]
    known = int(browser.table[column].notna().sum())
    answer = ask(browser, "filter", ranges=[[column, *record["range"]]])
    assert answer["page"]["shown"] == known
    [chip] = answer["page"]["chips"]
    assert chip["unknown"] == len(browser.table) - known


def test_an_invalid_filter_is_explained_under_the_filter_and_changes_nothing(browser):
    before = browser.rows
    answer = ask(browser, "filter", query="mpje > 3")
    assert list(answer) == ["say"]
    assert answer["say"]["place"] == "filter"
    assert "did you mean mpjpe" in answer["say"]["text"]
    assert (browser.rows == before).all()
    assert browser.state.query == ""


def test_an_empty_filter_is_explained(browser):
    answer = ask(browser, "filter", query="mpjpe > 1e9")
    assert answer["frame"]["row"] is None
    assert "No frame passes" in answer["frame"]["fault"]
    assert answer["page"]["cells"] == []
    assert ask(browser, "step", by=1)["frame"]["row"] is None
    assert ask(browser, "tag", tag="hidden")["say"]["text"] == "No frame is shown."


# Frames


def test_a_frame_is_drawn_with_the_errors_of_its_row(browser):
    for row in browser.filter().index[:6]:
        view = browser.frame_view(int(row))
        frame = browser.table.iloc[row]
        predicted = view.predictions[0]
        offset_mm = predicted.joints_aligned_mm - view.joints_cam_mm
        error_mm = np.linalg.norm(offset_mm, axis=-1)
        known = np.isfinite(error_mm)
        expected_mm = frame[ERRORS].to_numpy(float)[known]
        np.testing.assert_allclose(error_mm[known], expected_mm, atol=0.05)
        if pd.notna(frame["mrrpe"]) and known[list(WRISTS)].all():
            right, left = WRISTS
            cam_mm = predicted.joints_cam_mm
            vector = cam_mm[left] - cam_mm[right]
            true_vector = view.joints_cam_mm[left] - view.joints_cam_mm[right]
            mrrpe = np.linalg.norm(vector - true_vector)
            assert mrrpe == pytest.approx(frame["mrrpe"], abs=0.1)


def test_stored_predictions_stand_in_for_a_network(evaluated, tiny_root, browser):
    stored = FailureBrowser(evaluated / "errors_train.parquet", tiny_root)
    assert stored.models[0].network is None
    assert stored.split == "train"
    predicted = stored.frame_view(int(stored.rows[0])).predictions[0]
    expected = browser.frame_view(int(browser.rows[0])).predictions[0]
    np.testing.assert_allclose(predicted.joints_px, expected.joints_px, atol=0.05)
    assert predicted.output is None
    answer = ask(stored, "look", layer="predicted parts")["frame"]
    assert "needs a network" in answer["pictures"][0]["caption"]


def test_a_hand_predicted_as_the_other_is_drawn_at_the_true_one(
    evaluated, tiny_root, tmp_path
):
    arrays = dict(np.load(evaluated / "errors_train.npz"))
    arrays["hand_type"][:] = 0, 1  # everything is predicted as left
    np.savez(tmp_path / "left.npz", **arrays)
    shutil.copy(evaluated / "errors_train.parquet", tmp_path / "left.parquet")
    browser = FailureBrowser(tmp_path / "left.parquet", tiny_root)

    is_right = (browser.table["hand_type"] == "right").to_numpy()
    view = browser.frame_view(int(np.flatnonzero(is_right)[0]))
    predicted = view.predictions[0]
    right_mm, left_mm = predicted.joints_aligned_mm.reshape(2, 21, 3)
    assert np.isnan(right_mm).all()
    np.testing.assert_allclose(left_mm[-1], view.joints_cam_mm[WRISTS[0]], atol=1e-6)
    assert np.isfinite(predicted.joints_cam_mm[WRISTS[1]]).all()


def test_each_layer_is_another_picture_with_a_caption(browser):
    pictures = []
    for layer in overlays.LAYERS:
        frame = ask(browser, "look", layer=layer)["frame"]
        assert frame["pictures"][0]["caption"]
        pictures.append(bytes(frame["buffers"][0]))
    assert len(set(pictures)) == len(overlays.LAYERS)


def test_a_frame_with_one_hand_has_one_hand_in_3d(browser):
    tested = 0
    for hand, other, wrist in (
        ("right", slice(21, 42), WRISTS[0]),
        ("left", slice(0, 21), WRISTS[1]),
    ):
        if len(browser.filter(query=f"hand_type == '{hand}'")) == 0:
            continue  # the small set may lack one
        tested += 1
        for camera in (False, True):
            frame = ask(browser, "look", camera=camera)["frame"]
            assert frame["fault"] == ""
            assert frame["true_mm"][other] == [[None] * 3] * 21
            assert frame["true_mm"][wrist][0] is not None
    assert tested > 0


def test_a_missing_picture_is_a_sentence(browser, monkeypatch):
    read = InterHandDataset.batch
    bad = int(browser.frames.index_rows[browser.rows[1]])

    def batch(self, positions):
        if bad in positions:
            raise KeyError("val/Capture0/image1.jpg: not among the images")
        return read(self, positions)

    monkeypatch.setattr(InterHandDataset, "batch", batch)
    cells = ask(browser, "hello", plotly_there=True)["page"]["cells"]
    assert "not among the images" in cells[1]["fault"]
    assert cells[0]["fault"] == ""
    frame = ask(browser, "step", by=1)["frame"]
    assert "not among the images" in frame["fault"]
    assert frame["values"]["mpjpe"] > 0
    assert ask(browser, "step", by=1)["frame"]["fault"] == ""


def test_a_frame_without_an_error_comes_last_and_is_called_not_measurable(
    table, evaluated, tiny_root
):
    table.loc[2, ["mpjpe", "mrrpe", *ERRORS]] = np.nan
    checkpoint = evaluated / "checkpoints/best.ckpt"
    browser = FailureBrowser(table, tiny_root, checkpoint, split="train")
    assert browser.filter().index[-1] == 2
    assert list(browser.filter(slices=["not measurable"]).index) == [2]
    frame = ask(browser, "hello", plotly_there=True)["frame"]
    assert "not measurable" in [fact["text"] for fact in frame["facts"]]
    assert frame["errors"] == [[None] * 42]
    charts = ask(browser, "axes", x="mrrpe", bars="mpjpe")["charts"]
    assert charts["unknown"] == 1


# Tags and notes


def test_tags_and_notes_are_saved_at_once(browser, evaluated, tiny_root):
    row = int(browser.rows[0])
    ask(browser, "tag", tag="hidden")
    ask(browser, "note", text=" both wrists <odd> ", row=row)
    saved = json.loads(browser.notes.path.read_text())
    expected = {"tags": ["hidden"], "note": "both wrists <odd>"}
    assert saved == {browser.frame_keys[row]: expected}

    path = browser.notes.path
    again = FailureBrowser(evaluated, tiny_root, split="train", notes=path)
    assert list(again.filter(slices=["tagged"]).index) == [row]
    assert again.table["note"][row] == "both wrists <odd>"


def test_tags_and_notes_are_undone_one_by_one(browser):
    row = int(browser.rows[0])
    path = browser.notes.path
    ask(browser, "tag", tag="hidden")
    ask(browser, "note", text="odd", row=row)
    answer = ask(browser, "undo")
    assert browser.frame_keys[row] in answer["say"]["text"]
    assert json.loads(path.read_text())[browser.frame_keys[row]]["note"] == ""
    assert ask(browser, "undo")["marks"]["tags"] == []
    assert json.loads(path.read_text()) == {}
    assert "nothing to undo" in ask(browser, "undo")["say"]["text"]


def test_the_list_of_tagged_frames_follows_the_tags(browser):
    ask(browser, "tag", tag="hidden")
    ask(browser, "step", by=1)
    ask(browser, "tag", tag="hidden")
    assert ask(browser, "filter", slices=["tagged"])["page"]["shown"] == 2
    answer = ask(browser, "tag", tag="hidden")  # takes it away
    assert answer["page"]["shown"] == 1
    assert answer["frame"]["row"] == int(browser.rows[0])
    assert ask(browser, "undo")["page"]["shown"] == 2


def test_two_kernels_write_to_one_file_of_notes(tmp_path):
    one = FrameNotes(tmp_path / "notes.json")
    other = FrameNotes(tmp_path / "notes.json")
    one.set("a", Note(["x"], ""))
    other.set("b", Note([], "y"))
    assert set(json.loads((tmp_path / "notes.json").read_text())) == {"a", "b"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}', '{"a": {"tags": []}}', "\x00"])
def test_broken_notes_are_reported_and_kept(evaluated, tiny_root, tmp_path, text):
    path = tmp_path / "notes.json"
    path.write_text(text)
    browser = FailureBrowser(evaluated, tiny_root, split="train", notes=path)
    assert "cannot be read as tags" in browser.warning
    answer = ask(browser, "tag", tag="x")
    assert "nothing is saved" in answer["say"]["text"]
    assert path.read_text() == text


# Two models


def test_two_models_are_compared_frame_by_frame(browser, evaluated, table, tmp_path):
    other = shutil.copytree(evaluated, tmp_path / "other")
    table["mpjpe"] -= np.where(np.arange(len(table)) % 4, 5.0, -1.0)
    shuffled = table.sample(frac=1, random_state=0)
    shuffled.to_parquet(other / "errors_train.parquet")
    found = browser.compare(other)
    assert found["frames"] == len(table)
    assert found["worse"] == (len(table) + 3) // 4
    assert found["low"] < found["difference"] < found["high"] < 0
    assert found["chance"] < 0.05

    better = browser.filter(slices=["A better"])
    assert len(better) == found["worse"]
    assert np.allclose(better["mpjpe_change"], 1, atol=1e-4)
    answer = ask(browser, "hello", plotly_there=True)
    assert "B is better in" in answer["state"]["verdict"]
    assert len(answer["frame"]["pictures"]) == 2
    assert len(answer["frame"]["errors"]) == 2


def test_a_second_model_that_is_none_is_explained(browser, tmp_path):
    answer = ask(browser, "compare", path=str(tmp_path / "none"))
    assert "no such error table" in answer["say"]["text"]
    assert "Give the second model" in ask(browser, "compare", path=" ")["say"]["text"]


def test_the_paired_interval_contains_the_truth_and_resamples_sequences():
    rng = np.random.default_rng(0)
    sequence = np.repeat(np.arange(40), 25)
    first = pd.DataFrame(
        {
            "image_id": np.arange(1000),
            "capture": 0,
            "seq_name": sequence.astype(str),
            "mpjpe": rng.normal(30, 9, 1000),
        }
    )
    shift = rng.normal(0, 2, 40)[sequence] + rng.normal(0, 0.5, 1000)
    second = first.assign(mpjpe=first["mpjpe"] - 3 + shift)
    found = paired_difference(first, second.sample(frac=1, random_state=1))
    assert found["low"] < -3 < found["high"]
    assert found["groups"] == 40
    by_frame = paired_difference(first[["image_id", "mpjpe"]], second)
    width = found["high"] - found["low"]
    assert by_frame["high"] - by_frame["low"] < 0.4 * width


# Exports


def test_exports_hold_the_frames_that_pass(browser, tmp_path):
    rows = browser.filter(slices=["interacting"]).head(3).index
    browser.filter(slices=[], chosen=[*rows])
    keys = browser.export(tmp_path / "frames.txt").read_text().split()
    assert keys == [browser.frame_keys[row] for row in browser.rows]
    path = browser.export(tmp_path / "a" / "frames.csv")
    image_ids = browser.table["image_id"][browser.rows]
    assert list(pd.read_csv(path)["image_id"]) == list(image_ids)


def test_an_exported_page_stands_alone_and_runs_nothing(browser, tmp_path):
    key = browser.frame_keys[int(browser.rows[0])]
    browser.notes.set(key, Note(["</script>"], "<b>"))
    browser.filter(chosen=browser.rows[:3].tolist())
    page = browser.export(tmp_path / "frames.html").read_text()
    assert page.count('"jpeg"') == 3
    assert "http" not in page.replace("http://www.w3.org", "")
    assert page.count("</script>") == 1


def test_an_export_of_another_kind_is_refused(browser, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.txt, \.csv or \.html"):
        browser.export(tmp_path / "frames.pdf")


@pytest.mark.parametrize("ending", [".txt", ".csv", ".html"])
def test_an_export_of_the_page_is_named_by_its_filter_and_offered(browser, ending):
    browser.filter(query="mpjpe > 0", slices=["interacting"])
    answer = ask(browser, "export", ending=ending)["export"]
    assert answer["name"].startswith("train_interacting-mpjpe-0_")
    assert answer["name"].endswith(ending)
    path = browser.notes.path.parent / "exports" / answer["name"]
    assert str(path) in answer["text"]
    assert answer["buffers"] == [path.read_bytes()]
    if ending != ".html":
        about = json.loads(path.with_suffix(f"{ending}.json").read_text())
        assert about["filter"] == "interacting; mpjpe > 0"
        assert about["frames"] == len(browser.rows)


def test_an_export_of_nothing_is_refused(browser):
    browser.filter(query="mpjpe > 1e9")
    answer = ask(browser, "export", ending=".csv")
    assert "nothing to export" in answer["say"]["text"]
    assert not (browser.notes.path.parent / "exports").exists()


def test_progress_of_a_page_is_shown(browser):
    said = []
    browser.send = lambda content, buffers=(): said.append(content)
    browser.exporter.answers["export"](".html")
    progress = [content["text"] for content in said if content["kind"] == "say"]
    assert progress[0] == f"Making the page: 0 of {len(browser.rows)} frames …"
    assert len(progress) > 1


# Any request


def test_two_hundred_random_requests_are_answered(browser):
    rng = random.Random(0)
    columns = ["mpjpe", "hidden", "camera", "hand_type", "none", 3, None]
    words = ["interacting", "x", "", "</script>", "mpjpe > 90", "mpjpe >", None, 7]
    numbers = [-1, 0, 1, 5, 10**9, 0.5, None]
    requests = {
        "hello": lambda: {"plotly_there": True},
        "filter": lambda: {
            "query": rng.choice(words),
            "slices": rng.choice([[], ["tagged"], ["none"]]),
            "ranges": [[rng.choice(columns), rng.choice(numbers), rng.choice(numbers)]],
            "sort": rng.choice(columns),
        },
        "page": lambda: {"page": rng.choice(numbers)},
        "axes": lambda: {rng.choice(["x", "y", "bars", "z"]): rng.choice(columns)},
        "show": lambda: {"row": rng.choice(numbers)},
        "step": lambda: {"by": rng.choice(numbers)},
        "look": lambda: {"layer": rng.choice([*overlays.LAYERS, "none"])},
        "tag": lambda: {"tag": rng.choice(words[:4])},
        "note": lambda: {"text": rng.choice(words[:4]), "row": rng.choice(numbers)},
        "undo": dict,
        "export": lambda: {"ending": rng.choice([".txt", ".csv", ".pdf", None])},
        "compare": lambda: {"path": rng.choice(words)},
        "none": dict,
    }
    for _ in range(200):
        request = rng.choice(list(requests))
        for message in ask(browser, request, **requests[request]()).values():
            assert "Traceback" not in str(message.get("text", ""))
    # It still works.
    ask(browser, "filter", query="", slices=[], ranges=[], chosen=None, sort="mpjpe")
    answer = ask(browser, "hello", plotly_there=True)
    assert answer["page"]["shown"] == len(browser.table)
    assert answer["frame"]["fault"] == ""
    assert "charts" in answer


# Without a kernel


def test_the_widget_comes_with_a_static_picture(browser, table, published):
    browser._repr_mimebundle_()
    jpeg = np.frombuffer(base64.b64decode(published[0]["image/jpeg"]), np.uint8)
    assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR).shape == (
        3 * THUMBNAIL_PX,
        6 * THUMBNAIL_PX,
        3,
    )
    FailureBrowser(table, split="train")._repr_mimebundle_()
    assert len(published) == 1


# Odd tables


def test_a_table_of_another_data_set_is_listed_with_a_warning(table, tiny_root):
    table.attrs = {}
    table.loc[3:, "file_name"] = "Capture9/other/cam1/image1.jpg"
    browser = FailureBrowser(table, tiny_root, split="train")
    assert f"{len(table) - 3} of {len(table)} rows are no frames" in browser.warning
    browser.filter(query="file_name == 'Capture9/other/cam1/image1.jpg'")
    answer = ask(browser, "hello", plotly_there=True)
    assert "no such frame" in answer["frame"]["fault"]
    assert answer["page"]["cells"][0]["fault"]


def test_a_missing_data_set_is_a_warning(table, tiny_root):
    elsewhere = FailureBrowser(table, tiny_root / "nowhere", split="train")
    assert "nowhere" in elsewhere.warning
    assert ask(elsewhere, "step", by=1)["frame"]["fault"]
    assert "No data set" in FailureBrowser(table, split="train").warning


def test_what_is_no_error_table_is_refused(table, tmp_path):
    with pytest.raises(ValueError, match=r"error_l_wrist is missing.*digit evaluate"):
        FailureBrowser(table.drop(columns="error_l_wrist"))
    with pytest.raises(FileNotFoundError, match="digit evaluate"):
        FailureBrowser(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(
        ValueError, match=r"bad\.parquet: cannot be read as a Parquet table"
    ):
        FailureBrowser(tmp_path / "bad.parquet")


def test_missing_columns_leave_their_slices_out(table, tiny_root):
    optional = [name for name in table if "hidden" in name or "distance" in name]
    table = table.drop(columns=[*optional, "file_name"])
    browser = FailureBrowser(table, tiny_root, split="train")
    state = ask(browser, "hello", plotly_there=True)["state"]
    assert "heavily hidden" not in state["slices"]
    assert "interacting" in state["slices"]
    assert browser.frame_view(0).picture.any()


# Runs


def test_latest_is_the_newest_run_that_was_evaluated(evaluated, tmp_path, monkeypatch):
    monkeypatch.setenv("DIGIT_RUNS", str(tmp_path))
    first = shutil.copytree(evaluated, tmp_path / "first")
    newer = shutil.copytree(evaluated, tmp_path / "newer")
    (newer / "errors_train.parquet").unlink()
    assert find_evaluated_run("latest", "train") == first
    with pytest.raises(FileNotFoundError, match="digit evaluate --root") as error:
        find_evaluated_run("newer", "train")
    assert "newer was not evaluated on train yet" in str(error.value)
    with pytest.raises(FileNotFoundError, match="was not evaluated on test yet"):
        find_evaluated_run("latest", "test")
