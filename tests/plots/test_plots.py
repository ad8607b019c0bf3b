"""Pictures hold what they promise: right from left without hue, units, equal aspect, no NaN."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from digit import skeleton
from digit.plots import charts, overlays
from digit.plots import hands as hand_plots


@pytest.fixture
def joints_mm() -> np.ndarray:
    """Two flat hands half a metre away, fingers towards the top of the image."""
    hand = np.zeros((21, 3))
    for finger, k in itertools.product(range(5), range(4)):
        hand[4 * finger + k] = 18 * (finger - 2), -(120 - 22 * k), 2 * finger
    return np.concatenate([hand + (-70, 0, 500), hand * (-1, 1, 1) + (70, 0, 520)])


@pytest.fixture
def joints_px(joints_mm) -> np.ndarray:
    return joints_mm[:, :2] / joints_mm[:, 2:] * 500 + (128, 180)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)


def as_picture(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_every_part_has_its_own_colour_and_the_left_hand_is_paler():
    colors = overlays.part_colors().astype(int)
    distances = [np.abs(a - b).sum() for a, b in itertools.combinations(colors, 2)]
    assert min(distances) >= 20
    luminance = colors @ (0.2126, 0.7152, 0.0722)
    assert (
        luminance[17:] > luminance[1:17] + 25
    ).all()  # the same part of the other hand
    for finger in skeleton.FINGERS:  # lighter towards the tip
        labels = [1 + skeleton.PARTS.index(f"{finger}{k}") for k in (1, 2, 3)]
        assert (np.diff(luminance[labels]) > 10).all()


def test_parts_are_painted_over_the_picture_and_only_there(image):
    labels = np.zeros((256, 256), np.uint8)
    labels[40:80, 40:80], labels[40:80, 120:160] = 9, 25  # both palms
    before = image.copy()
    painted = overlays.paint_parts(image, labels, opacity=1.0)
    assert (image == before).all()
    far = np.ones_like(labels, bool)
    far[38:82, 38:162] = False
    assert (painted[far] == image[far]).all()
    assert (
        len(np.unique(painted[45:75, 45:75].reshape(-1, 3), axis=0)) == 1
    )  # right: plain
    assert (
        len(np.unique(painted[45:75, 125:155].reshape(-1, 3), axis=0)) == 2
    )  # left: hatched
    assert (painted[50, 50] == overlays.part_colors()[9]).all()


def test_a_heat_map_of_any_size_lies_over_the_picture(image):
    heat = np.zeros((64, 64), np.float32)
    heat[16, 48] = 0.7
    painted = overlays.paint_heatmap(image, heat)
    assert painted.shape == image.shape and painted.dtype == np.uint8
    grey = np.ptp(painted.astype(int), axis=-1) <= 1
    assert grey[:32].all() and not grey[60:70, 188:198].all()
    assert overlays.paint_heatmap(image, np.zeros((8, 8))).shape == image.shape


def test_right_and_left_differ_by_line_and_mark(joints_px, image):
    figure = hand_plots.contact_sheet([image], ["a frame"], [joints_px])
    lines = figure.axes[0].lines
    assert [line.get_linestyle() for line in lines] == ["-"] * 6 + ["--"] * 6
    assert all(line.get_markerfacecolor() == line.get_color() for line in lines[:6])
    assert all(line.get_markerfacecolor() == "white" for line in lines[6:])
    assert figure.axes[0].get_xlim() == (
        -0.5,
        255.5,
    )  # joints outside never shrink the picture
    assert figure.axes[0].get_title(loc="left") == "a frame"


def test_a_bone_that_ends_in_nan_is_not_drawn(joints_px, image):
    joints_px[:20] = np.nan
    joints_px[21:] = np.nan  # only the right wrist is left
    blank, wrist = (
        as_picture(hand_plots.contact_sheet([image * 0], [""], [joints]))
        for joints in (np.full((42, 2), np.nan), joints_px)
    )
    rows, columns = np.nonzero((blank != wrist).any(-1))
    assert 0 < np.ptp(rows) < 20 and 0 < np.ptp(columns) < 20


def test_space_is_equal_in_aspect_and_y_points_down(joints_mm):
    scenes = {
        name: hand_plots.hand_strokes(joints_mm) for name in ("true", "predicted")
    }
    figure = hand_plots.space(scenes)
    for axes in figure.axes:
        limits = np.array([axes.get_xlim(), axes.get_ylim(), axes.get_zlim()])
        assert limits[2, 0] > limits[2, 1]
        lengths = np.abs(np.diff(limits))[:, 0]
        box = axes.get_box_aspect()
        np.testing.assert_allclose(
            lengths / lengths[0], np.array(box) / box[0], rtol=1e-6
        )
        assert "(mm)" in axes.get_xlabel() and "y" in axes.get_zlabel()
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_the_rotatable_space_starts_from_the_same_view(joints_mm):
    figure = hand_plots.space_rotatable(
        {"one": hand_plots.hand_strokes(joints_mm), "two": []}
    )
    scene = figure.layout.scene
    assert scene.aspectmode == "data" and scene.camera.up.y == -1
    assert scene.camera.eye.z < 0 and scene.xaxis.title.text == "x (mm)"
    assert scene.xaxis.range == figure.layout.scene2.xaxis.range
    assert [trace.line.dash for trace in figure.data] == ["solid"] * 6 + ["dash"] * 6
    assert (
        figure.layout.template.layout.paper_bgcolor == "white"
    )  # opaque on a dark page


def test_cameras_stand_at_their_place_and_look_forward():
    rotation = np.array([[[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]])  # looks along world +x
    (stroke,) = hand_plots.camera_strokes(rotation, np.array([[5.0, 6, 7]]), ["cam1"])
    np.testing.assert_allclose(stroke.points[0], (5, 6, 7))
    np.testing.assert_allclose(stroke.points[1:5, 0], 95)


def test_a_frame_figure_has_a_row_an_account_and_leaves_out_what_is_missing(
    image, joints_px, joints_mm
):
    parts = np.zeros((256, 256), np.uint8)
    both = {"annotated": joints_px, "predicted": joints_px + 3}
    whole = hand_plots.frame_figure(
        image, both, dict.fromkeys(both, parts), {"annotated": joints_mm}
    )
    assert len(whole.axes) == 5  # the prediction has no 3D
    assert len(hand_plots.frame_figure(image, {"predicted": joints_px}).axes) == 1


def test_curves_of_errors(tmp_path):
    rng = np.random.default_rng(0)
    errors = rng.gamma(3, 4, (200, 42))
    errors[:, 41] = np.nan
    bars = charts.joint_errors(errors).axes[0].containers
    heights = [
        bar.get_height() for c in bars if hasattr(c, "patches") for bar in c.patches
    ]
    np.testing.assert_allclose(heights[:41], errors.mean(0)[:41], rtol=1e-6)
    pck = charts.pck_curves({"exact": np.zeros(9), "half": np.full(9, 25.0)}).axes[0]
    labels = [text.get_text() for text in pck.get_legend().texts]
    assert (
        labels == ["exact (AUC 1.000)", "half (AUC 0.500)"]
        and "(mm)" in pck.get_xlabel()
    )
    figure = charts.error_against(
        {"hidden": rng.uniform(size=200)}, errors[:, 0], bins=5
    )
    assert len(figure.axes[0].containers[0].lines[0].get_xdata()) == 5
    figure.savefig(tmp_path / "f.png")
    assert (tmp_path / "f.png").stat().st_size > 2000


def test_curves_over_steps_skip_nan_and_words_are_counted():
    line = pd.Series([3.0, np.nan, 1.0], index=[0, 10, 20])
    axes = charts.learning_curves({"loss": {"train": line}}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0, 20])
    counts = charts.distributions(
        {"hand type": {"": np.array(["left", "right", "left"])}}
    )
    assert [bar.get_height() for bar in counts.axes[0].patches] == [2, 1]
    panels = {"depth (mm)": {"a": np.array([1.0, np.nan]), "b": np.array([2.0])}}
    assert charts.distributions(panels).axes[0].get_legend() is not None


def test_figures_stand_alone(joints_px, image):
    """Shown without pyplot, opaque, and the caller's style is not touched."""
    before = dict(mpl.rcParams)
    figure = hand_plots.contact_sheet(
        [image, image[..., 0] / 255], ["rgb", "depth"], unit="mm"
    )
    assert dict(mpl.rcParams) == before
    assert figure._repr_png_()[:4] == b"\x89PNG"
    assert (as_picture(figure)[..., 3] == 255).all()
    assert not mpl._pylab_helpers.Gcf.figs


NOTHING = np.full(3, np.nan)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: hand_plots.contact_sheet([]),
        lambda: charts.distributions(
            {"depth (mm)": {"right": NOTHING, "left": np.zeros(0)}}
        ),
        lambda: charts.pck_curves({"single": NOTHING, "interacting": np.array([3.0])}),
        lambda: charts.error_against({"hidden": NOTHING}, NOTHING),
        lambda: charts.error_against({"hidden": np.zeros(1)}, np.ones(1)),
        lambda: charts.joint_errors(np.full((2, 42), np.nan)),
        lambda: charts.learning_curves({"loss": {"train": pd.Series(NOTHING)}}),
        lambda: hand_plots.space(
            {"none": hand_plots.hand_strokes(np.full((42, 3), np.nan))}
        ),
    ],
)
def test_nothing_to_show_is_an_empty_figure(draw):
    assert draw()._repr_png_()
