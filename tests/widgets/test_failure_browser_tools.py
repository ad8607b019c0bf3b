"""Similar frames, groups, films, views, undo and small changes of the failure browser."""

import json
import shutil

import numpy as np
import pytest
from browser_page import ask

from digit.evaluation.metrics import ERRORS
from digit.widgets.failure_browser import FailureBrowser

# Similar frames


@pytest.mark.parametrize("space", ["features", "pose", "errors"])
def test_frames_like_this_one_come_nearest_first(browser, space):
    row = int(browser.rows[2])
    ask(browser, "step", by=2)
    answer = ask(browser, "like", space=space)
    assert answer["page"]["state"]["like"] == [
        space,
        int(browser.table["image_id"][row]),
    ]
    distances = browser.table["distance_to_chosen"].to_numpy()[browser.rows]
    assert browser.rows[0] == row
    assert distances[0] == pytest.approx(0, abs=1e-5)
    assert (np.diff(distances) >= 0).all()


def test_likeness_by_errors_is_the_distance_of_error_patterns(browser):
    ask(browser, "like", space="errors")
    table = browser.table
    of_type = table[table["hand_type"] == table["hand_type"][browser.rows[0]]]
    chosen = of_type.loc[browser.rows[0], ERRORS].astype(float)
    squares = (of_type[ERRORS].astype(float) - chosen) ** 2
    expected = np.sqrt(squares.sum(axis=1) / 21)
    found = of_type["distance_to_chosen"]
    whole = of_type[ERRORS].notna().sum(axis=1) == chosen.notna().sum()
    np.testing.assert_allclose(found[whole], expected[whole], rtol=1e-3, atol=1e-3)


def test_likeness_joins_with_filters_and_is_given_up(browser):
    ask(browser, "like", space="pose")
    answer = ask(browser, "filter", slices=["interacting"])
    assert answer["page"]["state"]["sort"] == "distance_to_chosen"
    assert 0 < answer["page"]["shown"] < len(browser.table)
    answer = ask(browser, "filter", like=None)
    assert answer["page"]["state"]["sort"] == "mpjpe"
    assert answer["page"]["state"]["descending"]


def test_a_table_without_features_offers_the_other_spaces(browser, table, tiny_root):
    without = FailureBrowser(table, tiny_root, split="train")
    state = ask(without, "hello", plotly_there=True)["state"]
    assert list(state["spaces"]) == ["pose", "errors"]
    answer = ask(without, "like", space="features")
    assert "digit evaluate --errors" in answer["say"]["text"]
    alone = FailureBrowser(table, split="train")
    state = ask(alone, "hello", plotly_there=True)["state"]
    assert list(state["spaces"]) == ["errors"]


def test_a_map_is_the_scatter_plot_over_two_columns(browser):
    answer = ask(browser, "map", space="features")
    axes = answer["charts"]["axes"]
    assert (axes["x"], axes["y"]) == ("map_features_1", "map_features_2")
    x = np.frombuffer(answer["charts"]["buffers"][0], np.float32)
    np.testing.assert_allclose(x, browser.table["map_features_1"][browser.rows])
    color = np.frombuffer(answer["charts"]["buffers"][5], np.float32)
    np.testing.assert_allclose(color, browser.table["mpjpe"][browser.rows], rtol=1e-6)


def test_points_are_coloured_by_words(browser):
    charts = ask(browser, "axes", color="hand_type")["charts"]
    codes = np.frombuffer(charts["buffers"][5], np.float32).astype(int)
    words = np.array(charts["categories"])[codes]
    assert (words == browser.table["hand_type"].to_numpy()[browser.rows]).all()


# Groups and films


def test_groups_follow_the_filter_but_not_their_own_choice(browser):
    groups = ask(browser, "groups", by="hand_type")["groups"]["groups"]
    assert sum(group["frames"] for group in groups) == len(browser.table)
    browser.filter(ranges=[["hand_type", "interacting"]])
    assert ask(browser, "groups", by="hand_type")["groups"]["groups"] == groups
    browser.filter(query="hand_type != 'right'")
    found = ask(browser, "groups", by="hand_type")["groups"]["groups"]
    assert "right" not in [group["value"] for group in found]


def test_clusters_of_failures_are_groups_that_can_be_filtered(browser):
    answer = ask(browser, "groups", by="clusters by features")
    groups = answer["groups"]["groups"]
    names = [column["name"] for column in answer["state"]["columns"]]
    assert "cluster" in names
    first = groups[0]
    found = browser.filter(ranges=[["cluster", first["value"]]])
    assert len(found) == first["frames"]
    assert found["mpjpe"].mean() == pytest.approx(first["mean"])
    assert found["mpjpe"].min() >= browser.table["mpjpe"].quantile(0.75)


def test_a_film_is_the_sequence_of_the_frame(browser):
    row = int(browser.rows[0])
    film = ask(browser, "film")["film"]
    assert row in film["rows"]
    frames = browser.table.iloc[film["rows"]]
    assert frames["camera"].nunique() == frames["seq_name"].nunique() == 1
    assert film["instants"] == sorted(film["instants"])
    assert film["errors"][0] == pytest.approx(frames["mpjpe"].tolist(), abs=0.06)


def test_a_frame_outside_of_the_filter_is_visited_and_left_again(browser):
    outside = int(browser.rows[-1])
    browser.filter(query=f"image_id != {browser.table['image_id'][outside]}")
    frame = ask(browser, "visit", row=outside)["frame"]
    assert frame["row"] == outside
    assert frame["position"] is None
    ask(browser, "tag", tag="hidden")
    assert browser.table["tags"][outside] == "hidden"
    assert ask(browser, "step", by=1)["frame"]["row"] == browser.rows[1]


# Undo and redo


def test_filters_and_tags_are_undone_in_turn_in_words(browser):
    row = int(browser.rows[0])
    ask(browser, "filter", slices=["interacting"])
    ask(browser, "tag", tag="hidden")
    ask(browser, "filter", sort="image_id", descending=False)
    said = [ask(browser, "undo")["say"]["text"] for _ in range(4)]
    assert "order by mpjpe, descending → by image_id, ascending" in said[0]
    assert "tag “hidden” of train/" in said[1]
    assert "filter “no filter” → “interacting”" in said[2]
    assert said[3] == "There is nothing to undo."
    assert browser.current_row() == row
    assert browser.table["tags"][row] == ""

    again = [ask(browser, "redo")["say"]["text"] for _ in range(4)]
    assert again[0] == said[2].replace("Undone", "Done again")
    assert again[3] == "There is nothing to redo."
    assert browser.state.sort == "image_id"
    assert (browser.table["tags"] == "hidden").sum() == 1


def test_a_new_change_ends_what_could_be_redone(browser):
    ask(browser, "filter", slices=["interacting"])
    ask(browser, "undo")
    answer = ask(browser, "filter", slices=["single"])
    assert answer["history"]["redo"] == ""
    assert "single" in answer["history"]["undo"]


def test_many_frames_are_tagged_at_once_and_undone_at_once(browser):
    rows = browser.rows[:5].tolist()
    ask(browser, "tag", tag="bad label", rows=rows)
    ask(browser, "tag", tag="hidden", rows=rows[:2])
    ask(browser, "tag", tag="hidden", rows=rows[:3])  # one lacked it: all have it now
    assert (browser.table["tags"].str.contains("hidden")).sum() == 3
    ask(browser, "tag", tag="hidden", rows=rows[:3])  # all had it: removed
    assert not browser.table["tags"].str.contains("hidden").any()
    for _ in range(3):
        ask(browser, "undo")
    assert (browser.table["tags"][rows] == "bad label").all()
    assert "5 frames" in ask(browser, "undo")["say"]["text"]
    assert (browser.table["tags"] == "").all()


# Saved views


def test_a_saved_view_is_opened_by_another_browser(browser, evaluated, tiny_root):
    ask(browser, "map", space="errors")
    ask(browser, "look", layer="uncertainty", facts=["mpjpe", "camera"])
    browser.filter(query="mpjpe > 1", slices=["interacting"], sort="image_id")
    answer = ask(browser, "save_view", name=" two hands ", page={"opacity": 0.4})
    assert answer["views"]["names"] == ["two hands"]
    assert "open_view('two hands')" in answer["say"]["text"]

    notes = browser.notes.path
    assert notes.with_name("notes.views.json").is_file()
    other = FailureBrowser(evaluated, tiny_root, split="train", notes=notes)
    assert other.open_view("two hands") is other
    assert other.rows.tolist() == browser.rows.tolist()
    assert (other.look.layer, other.axes) == ("uncertainty", browser.axes)
    view = ask(other, "open_view", name="two hands")["view"]
    assert view["page"] == {"opacity": 0.4}
    assert ask(other, "delete_view", name="two hands")["views"]["names"] == []


def test_a_missing_or_broken_view_changes_nothing(browser):
    answer = ask(browser, "open_view", name="mine")
    assert "none is saved yet" in answer["say"]["text"]
    assert (
        "Give the view a name"
        in ask(browser, "save_view", name=" ", page={})["say"]["text"]
    )
    path = browser.views.path
    path.write_text('{"mine": {"filter": {"shoes": 3}}}')
    answer = ask(browser, "save_view", name="other", page={})
    assert "cannot be read as saved views" in answer["say"]["text"]
    assert json.loads(path.read_text()) == {"mine": {"filter": {"shoes": 3}}}
    assert ask(browser, "hello", plotly_there=True)["state"]["views"] == []


# Two models


def test_a_second_model_is_found_by_its_runs_name_and_dropped(
    browser, evaluated, table
):
    second = evaluated.parent / "second-run"
    if not second.exists():
        shutil.copytree(evaluated, second)
    state = ask(browser, "hello", plotly_there=True)["state"]
    assert "second-run" in state["runs"]
    assert evaluated.name not in state["runs"]
    columns = list(browser.table)
    answer = ask(browser, "compare", path="second-run")
    assert answer["state"]["models"][1] == "second-run"
    facts = answer["frame"]["facts"]
    assert any(fact.get("other") for fact in facts)
    charts = ask(browser, "axes", x="mpjpe", y="mpjpe_b")["charts"]
    assert charts["diagonal"]
    assert not ask(browser, "axes", x="mrrpe")["charts"]["diagonal"]

    browser.filter(slices=["A better"], sort="mpjpe_change")
    answer = ask(browser, "drop")
    assert list(browser.table) == columns
    assert len(answer["frame"]["pictures"]) == 1
    assert answer["charts"]["axes"]["y"] == "mpjpe"
    assert answer["page"]["shown"] == len(browser.table)
    # Undoing a filter by a column that is gone shows all frames.
    answer = ask(browser, "undo")
    assert answer["say"]["text"].startswith("Undone")
    assert answer["page"]["shown"] == len(browser.table)
    shutil.rmtree(second)


def test_a_second_model_without_a_network_says_why_it_has_no_layers(browser, table):
    browser.compare(table)
    frame = ask(browser, "look", layer="uncertainty")["frame"]
    first, second = frame["pictures"]
    assert first["missing"] == ""
    assert "B is an error table without its network" in second["missing"]
    # Truth, joints and meshes need none
    for layer in ("true parts", "fitted mesh", "picture"):
        frame = ask(browser, "look", layer=layer)["frame"]
        assert frame["pictures"][1]["missing"] == ""


# Layers and what lies around a frame


def test_the_fitted_mesh_covers_the_predicted_hand(browser):
    browser.filter(query="handedness_correct == 1")
    frame = ask(browser, "look", layer="fitted mesh")["frame"]
    [picture] = frame["pictures"]
    assert "joints off the mesh" in picture["caption"]
    assert len(frame["buffers"]) == 2  # the layer, and the picture under it
    joints_mm = np.array(picture["mm"], float)
    for mesh in picture["meshes"]:
        hand = joints_mm[:21] if mesh["name"] == "right mesh" else joints_mm[21:]
        middle_mm = np.mean(mesh["vertices"], axis=1)
        assert np.linalg.norm(middle_mm - np.nanmean(hand, axis=0)) < 60
        assert np.max(mesh["faces"]) < len(mesh["vertices"][0])


def test_heat_layers_say_where_their_scale_ends(browser):
    heat = ask(browser, "look", layer="uncertainty")["frame"]["pictures"][0]["heat"]
    assert 0 < heat["high"] <= np.log(33) + 1e-3
    assert heat["unit"] == "nats"
    frame = ask(browser, "look", layer="picture")["frame"]
    assert frame["pictures"][0]["heat"] is None
    assert len(frame["buffers"]) == 1


def test_the_whole_picture_comes_with_the_instants_other_views(browser):
    table = browser.table
    instant = ["capture", "seq_name", "frame_idx"]
    counts = table.groupby(instant)["image_id"].transform("count").to_numpy()
    row = int(counts.argmax())
    ask(browser, "visit", row=row)
    whole = ask(browser, "whole")["whole"]
    assert len(whole["views"]) == counts[row] - 1
    assert len(whole["buffers"]) == counts[row]
    for view in whole["views"]:
        same = table.loc[[row, view["row"]], instant]
        assert same.nunique().max() == 1


def test_chosen_columns_are_written_about_a_frame(browser):
    frame = ask(browser, "look", facts=["camera", "probability_right"])["frame"]
    texts = [fact["text"] for fact in frame["facts"]]
    camera = browser.table["camera"][frame["row"]]
    assert f"camera {camera}" in texts
    assert any(text.startswith("probability of the right hand 0.") for text in texts)
    assert not any("MPJPE" in text for text in texts)


def test_thumbnails_carry_the_stored_predictions_if_wanted(browser):
    cells = ask(browser, "page", page=0, per_page=8, with_joints=True)["page"]["cells"]
    assert len(cells) == 8
    joints = np.array(cells[0]["joints"], float)
    known = np.isfinite(joints)
    view = browser.frame_view(cells[0]["row"])
    expected = view.predictions[0].joints_px / 3.84
    np.testing.assert_allclose(joints[known], expected[known], atol=0.1)


# Small changes


def test_small_changes_are_made_with_progress_and_start_from_the_tables_error(
    browser, monkeypatch
):
    monkeypatch.setattr("digit.widgets.what_if.MAP_TIME_S", 0.01)
    said = []
    browser.send = lambda content, buffers=(): said.append((content, buffers))
    browser._receive(browser, {"do": "why"}, [])
    progress = [content["text"] for content, _ in said[:-1]]
    assert progress[0] == "Changing the box and the colours: 1 of 4 …"
    assert progress[-1] == "Covering squares: 36 of 36 …"
    content, [picture] = said[-1]
    error_mm = browser.table["mpjpe"][content["row"]]
    assert content["plain_mm"] == pytest.approx(error_mm, abs=0.2)
    assert content["curves"][0]["name"] == "box scaled"
    assert picture[:2] == b"\xff\xd8"
    json.dumps(content, allow_nan=False)


def test_small_changes_need_a_network(evaluated, tiny_root):
    browser = FailureBrowser(evaluated / "errors_train.parquet", tiny_root)
    assert "needs a network" in ask(browser, "why")["say"]["text"]
