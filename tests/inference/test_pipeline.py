"""Photos, folders and videos in, records out: every kind of input, good and bad."""

import csv
import io
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from digit.cli import main
from digit.data.build_index import prepare_index
from digit.evaluation.conversion import cells_from_camera
from digit.evaluation.ground_truth import read_ground_truth
from digit.evaluation.predictions import Predictions
from digit.inference.assembly import PredictOptions
from digit.inference.background import core_for_the_detector, in_background
from digit.inference.outputs import (
    CsvWriter,
    JsonLinesWriter,
    NpzWriter,
    contact_sheet,
    fit_into,
)
from digit.inference.pipeline import predict_files
from digit.inference.records import CSV_COLUMNS, SCHEMA_VERSION
from digit.inference.sources import Failure, expand_inputs
from digit.model.checkpoints import save_checkpoint
from digit.model.network import NETWORKS, Digit
from digit.skeleton import HAND_TYPE_FLAGS

BOX = (10.0, 20.0, 100.0, 90.0)


@pytest.fixture(scope="module")
def network() -> Digit:
    torch.manual_seed(0)
    network = Digit(**NETWORKS["quick"]).eval()
    torch.nn.init.constant_(network.hand_fc[2].bias, 3.0)  # both hands are always seen
    return network


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "quick.ckpt"
    save_checkpoint(path, network)
    return path


def picture(seed: int = 0, width: int = 160, height: int = 120) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height))


def write_photo(path, pixels: np.ndarray, **options) -> None:
    Image.fromarray(pixels).save(path, **options)


def write_video(path, frames, rate: int = 30, codec: str = "libx264") -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def boxed(inputs, network, **changes):
    options = PredictOptions(bbox_xywh=BOX, **changes)
    return list(predict_files(inputs, network, options))


def bomb(path) -> None:
    """A picture of 20,000 × 20,000 pixels in a small file."""
    Image.fromarray(np.zeros((20_000, 20_000), bool)).save(path)


BAD_PHOTOS = {
    "text.jpg": lambda path: path.write_text("hello"),
    "empty.png": lambda path: path.write_bytes(b""),
    "cut.jpg": lambda path: path.write_bytes(encoded("JPEG")[:700]),
    "huge.png": bomb,
}


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_a_bad_photo_is_named_and_the_rest_done(name, network, tmp_path):
    BAD_PHOTOS[name](tmp_path / name)
    write_photo(tmp_path / "zz.jpg", picture())
    failure, record = boxed([tmp_path], network)
    assert isinstance(failure, Failure) and name in failure.reason
    assert "\n" not in failure.reason
    assert record.image.endswith("zz.jpg") and len(record.crops) == 1


ODD_PHOTOS = {
    "one_pixel.png": lambda path: write_photo(path, picture(width=1, height=1)),
    "strip.png": lambda path: write_photo(path, picture(width=20_000, height=3)),
    "cmyk.jpg": lambda path: Image.fromarray(picture()).convert("CMYK").save(path),
    "deep.png": lambda path: cv2.imwrite(str(path), picture().astype(np.uint16) * 257),
    "turned.jpg": lambda path: write_photo(path, picture(), exif=turned()),
}


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6
    return exif


@pytest.mark.parametrize("name", ODD_PHOTOS)
def test_an_unusual_photo_is_read(name, network, tmp_path):
    ODD_PHOTOS[name](tmp_path / name)
    [record] = predict_files([tmp_path / name], network)
    assert record.warnings == ["no hand found"]
    if name == "turned.jpg":
        assert (record.width, record.height) == (120, 160)


def test_an_animated_photo_gives_its_first_frame_and_says_so(network, tmp_path):
    frames = [Image.fromarray(picture(seed)) for seed in range(3)]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    [record] = boxed([path], network)
    assert record.warnings == ["animated, 3 frames: only the first is used"]


def test_ten_broken_photos_of_a_hundred_are_named(network, tmp_path):
    for number in range(100):
        if number % 10 == 3:
            (tmp_path / f"{number:03d}.jpg").write_bytes(b"broken")
        else:
            write_photo(tmp_path / f"{number:03d}.jpg", picture(number))
    results = boxed([tmp_path], network)
    failed = [result for result in results if isinstance(result, Failure)]
    assert len(results) == 100 and len(failed) == 10
    names = [getattr(result, "image", None) or result.source for result in results]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("empty", "no pictures or videos in this folder"),
        ("nowhere.jpg", "no such file or folder"),
        ("*.jpeg", "no file fits this pattern"),
    ],
)
def test_an_input_without_pictures_is_named(given, reason, tmp_path):
    (tmp_path / "empty").mkdir()
    sources, [failure] = expand_inputs([tmp_path / given])
    assert sources == [] and given in failure.reason and reason in failure.reason


def test_folders_and_patterns_give_each_file_once(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.jpg", "a.PNG", "sub/c.webp", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).write_bytes(b"")
    sources, failures = expand_inputs([tmp_path, tmp_path / "*.jpg"])
    names = [str(source.path.relative_to(tmp_path)) for source in sources]
    assert names == ["a.PNG", "b.jpg", "sub/c.webp"] and not failures


def test_a_video_gives_a_record_for_each_frame(network, tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, [picture(0)] * 20, rate=10)
    records = boxed([path], network)
    assert [record.frame for record in records] == list(range(20))
    assert records[5].time_s == pytest.approx(0.5)
    assert len({tuple(record.crops[0].bbox_xywh) for record in records}) == 1


def test_a_video_cut_in_the_middle_gives_what_is_there(network, tmp_path):
    path = tmp_path / "cut.mkv"
    write_video(path, [picture(seed) for seed in range(40)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    results = boxed([path], network)
    records = [result for result in results if not isinstance(result, Failure)]
    assert 5 < len(records) < 40


def test_a_video_without_its_index_is_named(network, tmp_path):
    path = tmp_path / "cut.mp4"
    write_video(path, [picture(seed) for seed in range(10)])
    path.write_bytes(path.read_bytes()[:3000])
    [failure] = boxed([path], network)
    assert "cut.mp4: cannot be read as a video" in failure.reason


def test_sound_alone_and_text_are_no_video(network, tmp_path):
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (tmp_path / "text.mp4").write_text("hello")
    first, second = boxed([tmp_path], network)
    assert "sound.mkv: has no video stream" in first.reason
    assert "text.mp4: cannot be read as a video" in second.reason


def test_a_video_may_change_its_size(network, tmp_path):
    path = tmp_path / "sizes.avi"
    parts = []
    for number, size in enumerate(((160, 120), (128, 96))):
        part = tmp_path / f"part{number}.h264"
        write_video(part, [picture(0, *size)] * 4)
        parts.append(part.read_bytes())
    (tmp_path / "sizes.h264").write_bytes(b"".join(parts))
    (tmp_path / "sizes.h264").rename(path)
    records = boxed([path], network)
    sizes = {(record.width, record.height) for record in records}
    assert sizes == {(160, 120), (128, 96)}


def test_a_box_that_misses_one_picture_fails_that_one_only(network, tmp_path):
    write_photo(tmp_path / "a.png", picture(width=8, height=8))
    write_photo(tmp_path / "b.png", picture())
    first, second = boxed([tmp_path], network)
    assert "a.png: bbox_xywh 10,20,100,90 lies outside" in first.reason
    assert len(second.crops) == 1


def test_a_batch_gives_what_single_crops_give(network, tmp_path):
    for number in range(5):
        write_photo(tmp_path / f"{number}.png", picture(number))
    together = boxed([tmp_path], network, batch_size=4)
    alone = boxed([tmp_path], network, batch_size=1)
    for one, other in zip(together, alone, strict=True):
        apart = one.crops[0].joints_px - other.crops[0].joints_px
        assert np.abs(apart).max() < 1e-3


def test_a_network_is_needed_but_for_the_landmark_model(tmp_path):
    write_photo(tmp_path / "a.png", picture())
    with pytest.raises(ValueError, match="needs a network"):
        list(predict_files([tmp_path], None))
    [record] = predict_files([tmp_path], None, PredictOptions(method="mediapipe"))
    assert record.method == "mediapipe" and record.crops == []


def test_files_hold_the_same_record(network, tmp_path):
    write_photo(tmp_path / "a.png", picture())
    [record] = boxed([tmp_path / "a.png"], network)
    writers = [
        JsonLinesWriter(tmp_path / "o.jsonl"),
        CsvWriter(tmp_path / "o.csv"),
        NpzWriter(tmp_path / "o.npz"),
    ]
    for writer in writers:
        writer.add(record)
        writer.close()
    line = json.loads((tmp_path / "o.jsonl").read_text())
    assert line["schema_version"] == SCHEMA_VERSION
    crop = line["crops"][0]
    assert np.allclose(crop["joints_px"], record.crops[0].joints_px, atol=1e-3)
    assert [hand["side"] for hand in crop["seen"]] == crop["hands"] == ["right", "left"]
    assert all(0 <= hand["score"] <= 1 for hand in crop["seen"])
    rows = list(csv.DictReader((tmp_path / "o.csv").open()))
    assert [row["side"] for row in rows] == ["right", "left"]
    assert tuple(rows[0]) == CSV_COLUMNS
    wrist = record.crops[0].joints_px[20]
    assert float(rows[0]["wrist_x_px"]) == pytest.approx(wrist[0], abs=1e-3)
    arrays = np.load(tmp_path / "o.npz")
    joints = record.crops[0].joints_25d
    assert np.allclose(arrays["joints_25d"][0], joints, atol=1e-4)
    # A count of crops, which evaluation does not take for a data set's ids
    assert arrays["crop"].tolist() == [0]
    with pytest.raises(ValueError, match="no array image_id"):
        Predictions.load(tmp_path / "o.npz")


def test_found_crops_are_scored_as_documented(tiny_root, tmp_path, monkeypatch):
    """The example of docs/predict.md: true joints of other crops have no error."""
    # 1. True hands of two frames, as if found in boxes of their own
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine").symlink_to(tiny_root)
    monkeypatch.chdir(tmp_path)
    index = prepare_index("data/mine", "val")
    truth = read_ground_truth(index, "gt")
    true_25d = cells_from_camera(index, index["joints_cam_mm"])
    keys = index.keys()
    wrong_crop = true_25d + [9, -7, 0]
    np.savez(
        "found.npz",
        image=[f"data/mine/images/{key}" for key in keys],
        joints_px=index["joints_px"].astype(np.float32),
        joints_25d=wrong_crop.astype(np.float32),
        relative_root_depth=np.full(len(index), 30.0),
        hand_type=HAND_TYPE_FLAGS[index["hand_type"]],
    )

    # 2. The example
    page = (Path(__file__).parents[2] / "docs/predict.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})

    # 3. The same as if they had been predicted in the annotated crops
    made = Predictions.load_for("scored.npz", index)
    valid = truth.joint_valid.numpy()
    assert valid.any()
    np.testing.assert_allclose(made.joints_25d[valid], true_25d[valid], atol=1e-3)
    both = index["hand_type"] == 2
    assert set(made.relative_root_depth[both].tolist()) <= {30.0}


def test_contact_sheets_have_rows_of_tiles():
    tiles = [fit_into(picture(n), 40, 40) for n in range(5)]
    sheet = contact_sheet(tiles)
    assert sheet.shape == (80, 160, 3)
    assert (sheet[:40, 40:80] == tiles[1]).all() and not sheet[40:, 40:].any()
    tall = fit_into(np.full((100, 10, 3), 9, np.uint8), 40, 40)
    assert tall[:, 18:22].all() and not tall[:, :17].any()


def test_a_stage_stops_with_its_consumer_and_passes_errors_on():
    produced = []

    def endless():
        while True:
            produced.append(len(produced))
            yield produced[-1]

    stage = in_background(endless(), depth=2)
    assert [next(stage) for _ in range(3)] == [0, 1, 2]
    threads = threading.active_count()
    stage.close()
    assert threading.active_count() == threads - 1 and len(produced) < 10

    def failing():
        yield 1
        raise ValueError("no more")

    stage = in_background(failing(), depth=2)
    assert next(stage) == 1
    with pytest.raises(ValueError, match="no more"):
        next(stage)


def test_a_core_is_left_for_the_detector(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with core_for_the_detector():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 3
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        with core_for_the_detector():
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def command(checkpoint, *words) -> int:
    box = ",".join(f"{v:g}" for v in BOX)
    words = [str(word) for word in words]
    return main(["predict", *words, "--bbox", box, "--checkpoint", str(checkpoint)])


def test_the_command_writes_a_line_for_each_picture(checkpoint, tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        write_photo(folder / f"{number}.png", picture(number))
    (folder / "bad.png").write_bytes(b"bad")
    out, sheet = tmp_path / "o.jsonl", tmp_path / "sheet.png"
    assert command(checkpoint, folder, "--json", out, "--figure", sheet) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["image"][-5:] for line in lines] == ["0.png", "1.png", "2.png"]
    assert "bad.png" in capsys.readouterr().err and sheet.stat().st_size > 1000


def test_the_command_draws_a_video(checkpoint, tmp_path):
    write_video(tmp_path / "clip.mp4", [picture(0)] * 12)
    out = tmp_path / "drawn.mp4"
    assert command(checkpoint, tmp_path / "clip.mp4", "--figure", out) == 0
    with av.open(str(out)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) == 12 and frames[0].shape == (120, 160, 3)
    apart = np.abs(frames[0].astype(int) - picture(0)).mean()
    assert apart > 2  # hands and box are drawn


def test_the_command_fails_only_where_nothing_was_done(checkpoint, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"bad")
    assert command(checkpoint, tmp_path / "bad.png") == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("digit: ") and "bad.png" in said and "\n" not in said
    write_photo(tmp_path / "good.png", picture())
    assert command(checkpoint, tmp_path / "bad.png", tmp_path / "good.png") == 0


def test_an_interrupted_command_leaves_what_is_done(checkpoint, tmp_path, monkeypatch):
    for number in range(30):
        write_photo(tmp_path / f"{number:02d}.png", picture(number))
    out = tmp_path / "o.jsonl"
    add = JsonLinesWriter.add
    count = 0

    def interrupt(self, record):
        nonlocal count
        count += 1
        if count > 4:
            raise KeyboardInterrupt
        add(self, record)

    monkeypatch.setattr(JsonLinesWriter, "add", interrupt)
    threads = threading.active_count()
    arrays = tmp_path / "o.npz"
    assert command(checkpoint, tmp_path, "--json", out, "--npz", arrays) == 130
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 4 and len(np.load(arrays)["joints_25d"]) in (4, 5)
    assert threading.active_count() == threads


def test_options_that_do_not_go_together_are_refused(checkpoint, tmp_path, capsys):
    write_photo(tmp_path / "a.png", picture())
    write_photo(tmp_path / "b.png", picture())
    assert command(checkpoint, tmp_path, "--figure", tmp_path / "o.mp4") == 2
    assert "from one video only" in capsys.readouterr().err
    assert command(checkpoint, tmp_path, "--smoothing", "0,1") == 2
    assert "--smoothing 0,1" in capsys.readouterr().err
    assert command(checkpoint, tmp_path, "--method", "mediapipe") == 2
    assert "--method mediapipe" in capsys.readouterr().err


def test_predicting_imports_only_what_it_needs(checkpoint, tmp_path):
    """The command starts quickly because slow packages wait until they are asked for."""
    write_photo(tmp_path / "a.png", picture())
    box = ",".join(f"{v:g}" for v in BOX)
    words = ["predict", str(tmp_path / "a.png"), "--bbox", box]
    words += ["--checkpoint", str(checkpoint), "--json", str(tmp_path / "o.json")]
    slow = "timm torchvision torch._dynamo matplotlib pandas plotly trimesh roma numba"
    code = (
        "import sys\n"
        "from digit.cli import main\n"
        f"main({words!r})\n"
        f"print([name for name in {slow.split()!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
