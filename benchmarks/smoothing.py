"""What smoothing does to a film whose true joints are known.

    python benchmarks/smoothing.py [--clips N] [--frames N] [--out figures/bench_smoothing.md]

Renders short films of single synthetic hands that move evenly before a camera that stands
still, predicts each with and without the One-Euro filter, and prints jitter (the mean
length of the second difference of the joints in the image) and error (mean distance to
the true joints), in shares of the hand's tight box.
"""

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from tqdm import tqdm

from digit.inference.assembly import PredictOptions
from digit.inference.networks import load_network
from digit.inference.pipeline import predict_files
from digit.inference.records import PictureRecord
from digit.model.network import optimized_for_inference
from digit.skeleton import JOINTS_PER_HAND
from digit.synth.appearance import dress
from digit.synth.backgrounds import backdrop
from digit.synth.body import FACE_FIGURE, build_body
from digit.synth.film import develop_webcam, draw_look
from digit.synth.held_motion import draw_held_motion, draw_name
from digit.synth.profiles import PROFILES
from digit.synth.scene import (
    build_scene,
    draw_betas,
    make_subject,
    pose_hands,
    take_picture,
)
from digit.synth.viewpoints import aim_camera, draw_lights, draw_viewpoint

FRAME_RATE = 30
FRAME_SIZE = (640, 480)
FIRST_SEED = 100


class Clip(NamedTuple):
    """A film of one hand."""

    pictures: list[UInt8[np.ndarray, "h w 3"]]
    joints_px: Float[np.ndarray, "t 21 2"]
    side: str


def render_clip(seed: int, frames: int) -> Clip:
    """Render a hand that moves from one pose to another."""
    rng = np.random.default_rng(seed)
    profile = PROFILES["webcam"]

    # 1. The person, the motion and the camera.
    betas = draw_betas(rng)
    body = dress(rng, build_body(rng, FACE_FIGURE))
    subject = make_subject(rng, betas, body)
    viewpoint = draw_viewpoint(rng, profile, subject.person)
    name = draw_name(rng, single=True)
    side = name.partition(":")[0]
    motion = draw_held_motion(
        rng, subject.rig, subject.person, [viewpoint], [name], frames, evenly=True
    )
    hands = pose_hands(subject, motion)
    lights = draw_lights(rng, viewpoint)
    look = draw_look(rng, profile)
    background = backdrop(rng, *FRAME_SIZE)
    own = slice(0, JOINTS_PER_HAND)
    if side == "left":
        own = slice(JOINTS_PER_HAND, 2 * JOINTS_PER_HAND)
    middle_mm = hands.joints_mm[frames // 2][own]
    camera = aim_camera(rng, viewpoint, middle_mm, "400000", FRAME_SIZE)

    # 2. Frame after frame.
    pictures = []
    joints_px = []
    for t in range(frames):
        scene = build_scene(subject, subject.body, hands, t, lights)
        view = take_picture(scene, hands, t, camera, background)
        pictures.append(develop_webcam(view.light, look, False, rng))
        joints_px.append(camera.project(hands.joints_mm[t][own])[0])
    return Clip(pictures, np.array(joints_px), side)


def write_video(pictures: list[UInt8[np.ndarray, "h w 3"]], path: Path) -> None:
    """Write the pictures as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height = FRAME_SIZE
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def predicted_joints(
    path: Path, network, options: PredictOptions, clip: Clip
) -> Float[np.ndarray, "t 21 2"]:
    """The joints of the predicted hand of the clip's side; NaN where none is."""
    joints_px = np.full_like(clip.joints_px, np.nan)
    for record in predict_files([path], network, options):
        assert isinstance(record, PictureRecord), record
        for hand in record.hands:
            if hand.side == clip.side:
                joints_px[record.frame] = hand.joints_px
    return joints_px


def measure(
    joints_px: Float[np.ndarray, "t 21 2"], clip: Clip
) -> tuple[Float[np.ndarray, "j"], Float[np.ndarray, "e"]]:
    """Lengths of second differences, and distances to the truth, in box sides."""
    extent = clip.joints_px.max(1) - clip.joints_px.min(1)
    side_px = extent.max(1)[:, None]
    second = np.diff(joints_px / side_px[..., None], n=2, axis=0)
    jitter = np.linalg.norm(second, axis=-1)
    error = np.linalg.norm(joints_px - clip.joints_px, axis=-1) / side_px
    return jitter[np.isfinite(jitter)], error[np.isfinite(error)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    network = optimized_for_inference(load_network())
    ways = {"each frame": PredictOptions(smoothing=None), "smoothed": PredictOptions()}
    rows = []
    for seed in tqdm(range(FIRST_SEED, FIRST_SEED + args.clips), "clips"):
        clip = render_clip(seed, args.frames)
        true_jitter, _ = measure(clip.joints_px, clip)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            write_video(clip.pictures, path)
            for way, options in ways.items():
                joints_px = predicted_joints(path, network, options, clip)
                jitter, error = measure(joints_px, clip)
                rows.append(
                    {
                        "clip": seed,
                        "way": way,
                        "frames found": int(np.isfinite(joints_px[:, 0, 0]).sum()),
                        "jitter (%)": 100 * jitter.mean() if len(jitter) else np.nan,
                        "of the truth (%)": 100 * true_jitter.mean(),
                        "error (%)": 100 * error.mean() if len(error) else np.nan,
                    }
                )

    # A row a clip, and their mean over clips in which the hand was found.
    table = pd.DataFrame(rows).set_index(["clip", "way"])
    means = table.groupby("way").mean()
    ratio = means.loc["smoothed"] / means.loc["each frame"]
    lines = [
        table.reset_index().round(2).to_markdown(index=False),
        "",
        means.round(2).to_markdown(),
        "",
        f"Smoothing: jitter × {ratio['jitter (%)']:.2f}, error × {ratio['error (%)']:.3f}.",
    ]
    text = "\n".join(lines)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
