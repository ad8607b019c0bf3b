"""Figures: right and left differ without colour, equal aspect, NaN is not drawn."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import plotly.io
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.backends.backend_agg import FigureCanvasAgg

from digit import skeleton
from digit.plots import charts, overlays
from digit.plots import hands as hand_plots
from digit.plots.style import LINE_COLORS


@pytest.fixture
def joints_mm() -> np.ndarray:
    """Two flat hands half a metre away, fingers towards the top of the image."""
    hand = np.zeros((21, 3))
    for finger, k in itertools.product(range(5), range(4)):
        hand[4 * finger + k] = 18 * (finger - 2), -(120 - 22 * k), 2 * finger
    right = hand + (-70, 0, 500)
    left = hand * (-1, 1, 1) + (70, 0, 520)
    return np.concatenate([right, left])


@pytest.fixture
def joints_px(joints_mm) -> np.ndarray:
    return joints_mm[:, :2] / joints_mm[:, 2:] * 500 + (128, 180)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)


def rendered(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


# Overlays


def test_part_colors_differ_and_the_left_hand_is_paler():
    colors = overlays.part_colors().astype(int)
    distances = [np.abs(a - b).sum() for a, b in itertools.combinations(colors, 2)]
    assert min(distances) >= 20

    luminance = colors @ (0.2126, 0.7152, 0.0722)
    assert (luminance[17:] > luminance[1:17] + 25).all()
    for finger in skeleton.FINGERS:  # lighter towards the tip
        labels = [1 + skeleton.PARTS.index(f"{finger}{k}") for k in (1, 2, 3)]
        assert (np.diff(luminance[labels]) > 10).all()


def test_parts_are_painted_on_a_copy_and_nowhere_else(image):
    labels = np.zeros((256, 256), np.uint8)
    labels[40:80, 40:80] = 9  # right palm
    labels[40:80, 120:160] = 25  # left palm
    before = image.copy()
    painted = overlays.paint_parts(image, labels, opacity=1.0)

    assert (image == before).all()
    outside = np.ones_like(labels, bool)
    outside[38:82, 38:162] = False
    assert (painted[outside] == image[outside]).all()
    assert (painted[50, 50] == overlays.part_colors()[9]).all()


def test_the_left_hand_is_hatched(image):
    labels = np.zeros((256, 256), np.uint8)
    labels[40:80, 40:80] = 9
    labels[40:80, 120:160] = 25
    painted = overlays.paint_parts(image, labels, opacity=1.0)
    right = painted[45:75, 45:75].reshape(-1, 3)
    left = painted[45:75, 125:155].reshape(-1, 3)
    assert len(np.unique(right, axis=0)) == 1
    assert len(np.unique(left, axis=0)) == 2


def test_a_heatmap_of_any_size_is_painted(image):
    heat = np.zeros((64, 64), np.float32)
    heat[16, 48] = 0.7
    painted = overlays.paint_heatmap(image, heat)
    assert painted.shape == image.shape
    assert painted.dtype == np.uint8

    grey = np.ptp(painted.astype(int), axis=-1) <= 1
    assert grey[:32].all()
    assert not grey[60:70, 188:198].all()
    empty = overlays.paint_heatmap(image, np.zeros((8, 8)))
    assert empty.shape == image.shape


def test_wrong_pixels_are_told_apart():
    image = np.full((8, 8, 3), 100, np.uint8)
    true = np.zeros((8, 8), np.uint8)
    labels = np.zeros((8, 8), np.uint8)
    true[0], labels[0] = 3, 3  # right
    true[1], labels[1] = 3, 19  # the other hand
    true[2], labels[2] = 3, 4  # another part
    true[3], labels[3] = 3, 0  # missed
    true[4], labels[4] = 0, 20  # invented
    painted = overlays.paint_wrong(image, labels, true)[:, 0].astype(int)

    assert (painted[0] == painted[7]).all()
    assert (painted[3] == painted[4]).all()
    assert len({tuple(color) for color in painted}) == 4
    assert painted[1].argmax() == 0  # vermilion
    assert painted[2].argmax() == 2  # blue


def test_a_layer_that_cannot_be_painted_says_what_is_missing(image):
    for layer in overlays.LAYERS:
        picture, caption = overlays.paint_layer(
            image, layer, true=None, output=None, part=1, joint=0
        )
        assert picture is image
        assert "not known" in caption or "needs a network" in caption


# Hands


def test_right_and_left_differ_by_line_and_mark(joints_px, image):
    [axes] = hand_plots.contact_sheet([image], ["a frame"], [joints_px]).axes
    assert [line.get_linestyle() for line in axes.lines] == ["-"] * 6 + ["--"] * 6
    for line in axes.lines[:6]:
        assert line.get_markerfacecolor() == line.get_color()
    for line in axes.lines[6:]:
        assert line.get_markerfacecolor() == "white"


def test_joints_outside_do_not_shrink_the_picture(joints_px, image):
    [axes] = hand_plots.contact_sheet([image], ["a frame"], [joints_px + 500]).axes
    assert axes.get_xlim() == (-0.5, 255.5)
    assert axes.get_title(loc="left") == "a frame"


def test_a_bone_that_ends_in_nan_is_not_drawn(joints_px, image):
    joints_px[:20] = np.nan
    joints_px[21:] = np.nan  # only the right wrist is left
    nothing = np.full((42, 2), np.nan)
    blank = rendered(hand_plots.contact_sheet([image * 0], [""], [nothing]))
    wrist = rendered(hand_plots.contact_sheet([image * 0], [""], [joints_px]))
    rows, columns = np.nonzero((blank != wrist).any(-1))
    assert 0 < np.ptp(rows) < 20
    assert 0 < np.ptp(columns) < 20


def test_space_has_equal_aspect_and_y_points_down(joints_mm):
    strokes = hand_plots.hand_strokes(joints_mm)
    figure = hand_plots.space({"true": strokes, "predicted": strokes})
    for axes in figure.axes:
        limits = np.array([axes.get_xlim(), axes.get_ylim(), axes.get_zlim()])
        assert limits[2, 0] > limits[2, 1]
        lengths = np.abs(np.diff(limits))[:, 0]
        box = np.array(axes.get_box_aspect())
        np.testing.assert_allclose(lengths / lengths[0], box / box[0], rtol=1e-6)
        assert "(mm)" in axes.get_xlabel()
        assert "y" in axes.get_zlabel()
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_the_rotatable_space_starts_from_the_same_view(joints_mm):
    scenes = {"one": hand_plots.hand_strokes(joints_mm), "two": []}
    figure = hand_plots.space_rotatable(scenes)
    scene = figure.layout.scene
    assert scene.aspectmode == "data"
    assert scene.camera.up.y == -1
    assert scene.camera.eye.z < 0
    assert scene.xaxis.title.text == "x (mm)"
    assert scene.xaxis.range == figure.layout.scene2.xaxis.range
    assert [trace.line.dash for trace in figure.data] == ["solid"] * 6 + ["dash"] * 6
    assert figure.layout.template.layout.paper_bgcolor == "white"  # on a dark page


def test_a_rotatable_figure_stays_here_and_has_a_static_picture(joints_mm, monkeypatch):
    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype")
    scenes = {"one": hand_plots.hand_strokes(joints_mm)}
    figure = hand_plots.space_rotatable(scenes)
    data, _ = DisplayFormatter().format(figure)
    assert data["image/png"]
    config = data["application/vnd.plotly.v1+json"]["config"]
    assert config["showSendToCloud"] is False
    assert config["plotlyServerURL"] == ""


def test_cameras_stand_at_their_position_and_look_forward():
    looks_along_x = np.array([[[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]])
    position_mm = np.array([[5.0, 6, 7]])
    [stroke] = hand_plots.camera_strokes(looks_along_x, position_mm, ["cam1"])
    np.testing.assert_allclose(stroke.points[0], (5, 6, 7))
    np.testing.assert_allclose(stroke.points[1:5, 0], 95)


def test_a_frame_figure_leaves_out_what_is_missing(image, joints_px, joints_mm):
    parts = np.zeros((256, 256), np.uint8)
    both = {"annotated": joints_px, "predicted": joints_px + 3}
    whole = hand_plots.frame_figure(
        image,
        both,
        {"annotated": parts, "predicted": parts},
        {"annotated": joints_mm},
    )
    assert len(whole.axes) == 5  # the prediction has no 3D
    assert len(hand_plots.frame_figure(image, {"predicted": joints_px}).axes) == 1


# Charts


def test_joint_errors_are_means_over_frames():
    errors = np.random.default_rng(0).gamma(3, 4, (200, 42))
    errors[:, 41] = np.nan
    containers = charts.joint_errors(errors).axes[0].containers
    bars = [c for c in containers if hasattr(c, "patches")]
    heights = [bar.get_height() for container in bars for bar in container.patches]
    np.testing.assert_allclose(heights[:41], errors.mean(0)[:41], rtol=1e-6)


def test_pck_curves_give_the_area_under_each_curve():
    errors = {"exact": np.zeros(9), "half": np.full(9, 25.0)}
    axes = charts.pck_curves(errors).axes[0]
    labels = [text.get_text() for text in axes.get_legend().texts]
    assert labels == ["exact (AUC 1.000)", "half (AUC 0.500)"]
    assert "(mm)" in axes.get_xlabel()


def test_error_against_has_a_mean_for_each_quantile(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"hidden": rng.uniform(size=200)}
    figure = charts.error_against(columns, rng.gamma(3, 4, 200), bins=5)
    means = figure.axes[0].containers[0].lines[0]
    assert len(means.get_xdata()) == 5
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 2000


def test_learning_curves_skip_nan():
    line = pd.Series([3.0, np.nan, 1.0], index=[0, 10, 20])
    axes = charts.learning_curves({"loss": {"train": line}}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0, 20])


def test_words_are_counted():
    types = np.array(["left", "right", "left"])
    counts = charts.distributions({"hand type": {"": types}})
    assert [bar.get_height() for bar in counts.axes[0].patches] == [2, 1]


def test_every_group_is_drawn():
    groups = {str(k): np.arange(4.0) for k in range(len(LINE_COLORS) + 2)}
    axes = charts.distributions({"share": groups}).axes[0]
    labels = [text.get_text() for text in axes.get_legend().texts]
    assert labels == list(groups)


def test_a_group_of_few_values_is_drawn_as_ticks():
    many = np.random.default_rng(0).random(500)
    groups = {"many": many, "few": np.array([0.2, np.nan, 0.7])}
    [axes] = charts.distributions({"share": groups}).axes
    [ticks] = axes.lines
    assert ticks.get_xdata().tolist() == [0.2, 0.7]
    assert ticks.get_label() == "few"


def test_ranges_show_their_limits():
    values = {"index1 bend": np.random.default_rng(0).random(99)}
    [axes] = charts.ranges(values, {"index1 bend": (-1.0, 2.0)}, "rad").axes
    assert axes.get_ylabel() == "rad"
    assert axes.get_ylim()[0] < -1
    assert axes.get_ylim()[1] > 2


def test_intervals_of_a_name_stand_in_one_row():
    one, two = charts.intervals(
        {"a (mm)": {"x": (1, 2, 4), "y": (3, 5, 6)}, "b (mm)": {"y": (7, 8, 9)}}
    ).axes
    assert [label.get_text() for label in one.get_yticklabels()] == ["x", "y"]
    bars = [line.get_xydata().tolist() for line in one.lines]
    assert bars == [[[1, 0], [4, 0]], [[2, 0]], [[3, 1], [6, 1]], [[5, 1]]]
    bar, middle = (line.get_xydata().tolist() for line in two.lines)
    assert bar == [[7, 1], [9, 1]]
    assert middle == [[8, 1]]


def test_shares_below_end_at_one():
    values = {"good": np.array([1.0, 2, 4, np.nan]), "none": NAN}
    [axes] = charts.shares_below(values, "residual (mm)", "share").axes
    [curve] = axes.lines
    assert curve.get_label() == "good"
    assert curve.get_xdata()[-1] == 4
    assert curve.get_ydata()[-1] == 1


def test_binned_shares_of_groups_stand_side_by_side():
    groups = {"a": [0.25, 0.75], "b": [0.5, 0.5]}
    [axes] = charts.binned_shares({"angle": (["0–30", "30–60"], groups)}).axes[:1]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [0.25, 0.75, 0.5, 0.5]
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches[:2]]
    assert ends == pytest.approx([axes.patches[2].get_x(), axes.patches[3].get_x()])


def test_figures_leave_the_style_of_the_caller_alone(image):
    before = dict(mpl.rcParams)
    pictures = [image, image[..., 0] / 255]
    figure = hand_plots.contact_sheet(pictures, ["rgb", "depth"], unit="mm")
    assert dict(mpl.rcParams) == before
    assert figure._repr_png_()[:4] == b"\x89PNG"
    assert (rendered(figure)[..., 3] == 255).all()
    assert not mpl._pylab_helpers.Gcf.figs  # pyplot knows nothing of it


NAN = np.full(3, np.nan)
EMPTY = {
    "sheet": lambda: hand_plots.contact_sheet([]),
    "histogram": lambda: charts.distributions(
        {"depth (mm)": {"right": NAN, "left": np.zeros(0)}}
    ),
    "pck": lambda: charts.pck_curves({"single": NAN, "interacting": np.array([3.0])}),
    "against": lambda: charts.error_against({"hidden": NAN}, NAN),
    "one frame": lambda: charts.error_against({"hidden": np.zeros(1)}, np.ones(1)),
    "joints": lambda: charts.joint_errors(np.full((2, 42), np.nan)),
    "curve": lambda: charts.learning_curves({"loss": {"train": pd.Series(NAN)}}),
    "space": lambda: hand_plots.space(
        {"none": hand_plots.hand_strokes(np.full((42, 3), np.nan))}
    ),
}


@pytest.mark.parametrize("case", EMPTY)
def test_nothing_to_show_is_an_empty_figure(case):
    assert EMPTY[case]()._repr_png_()
