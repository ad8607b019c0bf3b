"""Tags and notes by frame: kept when two kernels write to one file."""

from digit.widgets.notes import FrameNotes


def test_tags_of_another_kernel_are_kept(tmp_path):
    path = tmp_path / "notes.json"
    one, other = FrameNotes(path), FrameNotes(path)
    one.toggle_tag(["a.jpg"], "blurred")
    other.toggle_tag(["a.jpg", "b.jpg"], "depth")
    one.read()
    assert one.of("a.jpg").tags == ["blurred", "depth"]
    assert one.of("b.jpg").tags == ["depth"]


def test_a_tag_of_another_kernel_is_taken_away(tmp_path):
    path = tmp_path / "notes.json"
    one, other = FrameNotes(path), FrameNotes(path)
    one.toggle_tag(["a.jpg"], "blurred")
    other.toggle_tag(["a.jpg"], "blurred")
    one.read()
    assert one.of("a.jpg").is_empty()
