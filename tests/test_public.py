"""The public face: what `import digit` offers, how fast, and the README's five lines."""

import subprocess
import sys

import pytest

import digit


def run_python(code: str, **options) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, **options
    )


def test_import_loads_nothing_heavy():
    code = "import sys, digit; digit.__all__; dir(digit); print(*sys.modules)"
    loaded = set(run_python(code).stdout.split())
    heavy = {"torch", "numpy", "pandas", "matplotlib", "cv2", "ipywidgets"}
    assert "digit" in loaded
    assert not heavy & loaded


@pytest.mark.parametrize("name", digit.__all__)
def test_public_names_are_documented(name):
    text = getattr(digit, name).__doc__
    assert "Args:" in text
    assert "Example:" in text
    # What is made by a class, or changes only the disk, returns nothing.
    if name[0].islower() and name != "prepare":
        assert "Returns:" in text or "Yields:" in text


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'predictor'"):
        _ = digit.predictor
    assert set(digit.__all__) <= set(dir(digit))


def test_five_lines_predict_and_draw_a_photo(tiny_root, tmp_path, monkeypatch):
    photo = min((tiny_root / "images" / "test").rglob("*.jpg"))
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)

    network = digit.load_network()
    hands = digit.predict(network, "photo.jpg", bbox_xywh=[60, 60, 200, 200])
    digit.draw_hands(hands).savefig("hands.png")

    assert hands.joints_px.shape == (42, 2)
    assert (tmp_path / "hands.png").stat().st_size > 10_000
