"""How fast `digit predict` is, and where the time goes.

    python benchmarks/predict_speed.py PHOTOS [--count N]

From a folder of photographs of hands it makes a folder of 800×600 pictures and a 720p
clip in which they move, predicts both from end to end, and prints a table. CPU time is
that of all threads together; on a machine with other load it says more than the clock.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from digit.inference.assembly import PredictOptions
from digit.inference.background import core_for_the_detector
from digit.inference.command import open_network
from digit.inference.crops import cut_crop, estimate
from digit.inference.detection import HandDetector, crops_of, next_box
from digit.inference.outputs import fit_into
from digit.inference.photo import read_photo
from digit.inference.pipeline import predict_files
from digit.inference.records import PictureRecord
from digit.inference.sources import expand_inputs
from digit.paths import DETECTOR_DIR

PHOTO_SIZE = (800, 600)
CLIP_SIZE = (1280, 720)
FRAMES_A_PHOTO = 45
MOTION_PX = 60  # of a photo in the clip, back and forth
REPEATS = 20
BATCH = 8


def make_photos(photos: list[Path], folder: Path) -> None:
    """The photographs as JPEG files of 800×600."""
    for number, path in enumerate(photos):
        image = fit_into(read_photo(path)[0], *PHOTO_SIZE)
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), image[..., ::-1])


def make_clip(photos: list[Path], path: Path) -> None:
    """A clip in which each photograph moves from side to side."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height = CLIP_SIZE
        stream.pix_fmt = "yuv420p"
        for photo in photos:
            image = fit_into(read_photo(photo)[0], *CLIP_SIZE)
            for number in range(FRAMES_A_PHOTO):
                shift = MOTION_PX * np.sin(2 * np.pi * number / FRAMES_A_PHOTO)
                move = np.array([[1, 0, shift], [0, 1, 0]])
                moved = cv2.warpAffine(image, move, CLIP_SIZE)
                frame = av.VideoFrame.from_ndarray(moved, format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def end_to_end(path: Path, network) -> tuple[int, int, float, float]:
    """Pictures, crops, seconds and CPU seconds of the whole way."""
    start = time.perf_counter()
    start_cpu = time.process_time()
    pictures = 0
    crops = 0
    for result in predict_files([path], network):
        if isinstance(result, PictureRecord):
            pictures += 1
            crops += len(result.crops)
    wall = time.perf_counter() - start
    return pictures, crops, wall, time.process_time() - start_cpu


def cpu_ms(work: Callable[[], object]) -> float:
    """Median CPU milliseconds of a piece of work, all threads together."""
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - start))
    return float(np.median(taken))


def stages(photo: Path, clip: Path, network) -> dict[str, float]:
    """CPU milliseconds of each stage, each alone."""
    detector = HandDetector(DETECTOR_DIR)
    image, _ = read_photo(photo)
    hands = detector.find(image)
    if not hands:
        raise ValueError(f"{photo}: no hand is found; give photographs of hands")
    box = next_box(hands[0].joints_px)
    found = crops_of(hands)[0]
    crop = cut_crop(image, found.bbox_xywh, network.image_size)
    with av.open(str(clip)) as container:
        frames = container.decode(video=0)
        decode = cpu_ms(lambda: next(frames).to_ndarray(format="rgb24"))
    return {
        "decode a photo of 800×600": cpu_ms(lambda: read_photo(photo)),
        "decode a frame of 720p": decode,
        "palm detector": cpu_ms(lambda: detector.palms(image)),
        "landmark model, a hand": cpu_ms(lambda: detector.landmarks(image, box)),
        "cut a crop": cpu_ms(
            lambda: cut_crop(image, found.bbox_xywh, network.image_size)
        ),
        f"network, a crop in a batch of {BATCH}": cpu_ms(
            lambda: estimate(network, [crop] * BATCH)
        )
        / BATCH,
    }


def start_up(photo: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of the command with one photo, the best of three."""
    best = (np.inf, np.inf)
    for _ in range(3):
        words = [sys.executable, "-m", "digit", "predict", str(photo)]
        start = time.perf_counter()
        done = subprocess.Popen([*words, "--json", "/dev/null"])
        _, _, usage = _wait(done)
        wall = time.perf_counter() - start
        best = min(best, (wall, usage.ru_utime + usage.ru_stime))
    return best


def _wait(process: subprocess.Popen):
    import os

    return os.wait4(process.pid, 0)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    sources, _ = expand_inputs([args.photos])
    photos = [source.path for source in sources]
    step = max(1, len(photos) // args.count)
    photos = photos[::step][: args.count]
    network = open_network(
        PredictOptions(), checkpoint=None, flip_test=False, turn_test=False
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        clip = Path(name) / "clip.mp4"
        make_photos(photos, folder)
        make_clip(photos[: max(1, args.count // 10)], clip)
        threads = torch.get_num_threads()
        print(
            f"{network.image_size} px, {threads} threads of torch, "
            "one fewer beside the detector\n"
        )
        print("| end to end | pictures | crops | per second | CPU ms a picture |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for title, path in (("photos of 800×600", folder), ("clip of 720p", clip)):
            with core_for_the_detector():
                pictures, crops, wall, cpu = end_to_end(path, network)
            rate = pictures / wall
            each = 1000 * cpu / pictures
            print(f"| {title} | {pictures} | {crops} | {rate:.1f} | {each:.0f} |")
        print("\n| stage | CPU ms |\n| --- | ---: |")
        for title, ms in stages(folder / "0000.jpg", clip, network).items():
            print(f"| {title} | {ms:.1f} |")
        wall, cpu = start_up(folder / "0000.jpg")
        print(f"\nstart to the first result: {wall:.1f} s, {cpu:.1f} s of CPU time")


if __name__ == "__main__":
    main()
