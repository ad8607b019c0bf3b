"""Settings: presets, conversion, and the rules that they must keep."""

import dataclasses
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digit.model.losses import LOSS_TERMS
from digit.training.data import check_shared_memory
from digit.training.settings import (
    FIXED,
    PRESETS,
    SettingError,
    Settings,
    changed,
    make_settings,
    settings_of_record,
    table,
)


def test_paper_preset_is_the_papers_recipe():
    paper = PRESETS["paper"]
    assert (paper.learning_rate, paper.epochs, paper.drop_at) == (1e-4, 50, 40 / 50)
    assert (paper.batch_size, paper.accumulate, paper.precision) == (64, 2, "16-mixed")
    assert (paper.evaluate_every, paper.seed, paper.network) == (2, 1, "full")
    weights = paper.loss_weights()
    assert weights["parts"] == 10 and weights["bones"] == 0.1 and weights["joints"] == 1


def test_presets_keep_the_rules():
    for name in PRESETS:
        assert make_settings(name) == PRESETS[name]


def test_every_setting_has_a_help():
    rows = table()
    assert list(rows.index) == [field.name for field in dataclasses.fields(Settings)]
    assert (rows["what"].str.len() > 0).all()


def test_every_loss_term_has_a_weight():
    assert set(Settings().loss_weights()) == set(LOSS_TERMS)


@pytest.mark.parametrize(
    ("preset", "key", "value", "message"),
    [
        ("huge", "seed", "1", "preset 'huge' is unknown; choose one of paper"),
        ("quick", "learningrate", "1", "^learningrate: unknown key"),
        ("quick", "epochs", "many", "^epochs=many: needs a value of type float"),
        ("quick", "batch_size", "8.5", "^batch_size=8.5: needs a value of type int"),
        ("quick", "batch_size", "0", "must be above 0"),
        ("quick", "precision", "8", "choose one of 32-true"),
        ("quick", "image_size", "100", "^image_size=100: must be a multiple of 32"),
        (
            "quick",
            "image_size",
            "-32",
            "^image_size=-32: must be finite and not negative",
        ),
        ("quick", "epochs", "-3", "^epochs=-3.0: must be finite and not negative"),
        ("quick", "learning_rate", "nan", "^learning_rate=nan: must be finite"),
        ("quick", "checkpoint_every", "0", "^checkpoint_every=0: must be above 0"),
        ("quick", "steps", "inf", "^steps=inf: needs a value of type int"),
        ("quick", "steps", "1e30", "^steps=1000000.*: must be at most"),
        ("quick", "seed", "5000000000", "^seed=5000000000: must be at most 4294967295"),
        ("quick", "flip", "1.5", "^flip=1.5: must be from 0 to 1"),
        ("quick", "weights", "nowhere.ckpt", "nowhere.ckpt: no such checkpoint"),
        ("paper", "batch_size", "33", "must be a multiple"),
        ("quick", "augment", "maybe", "needs a value of type bool"),
    ],
)
def test_invalid_setting_is_named(preset, key, value, message):
    with pytest.raises(ValueError, match=message):
        make_settings(preset, {key: value})


def test_loss_without_terms_is_refused():
    names = [
        f.name for f in dataclasses.fields(Settings) if f.name.startswith("weight_")
    ]
    names.remove("weight_decay")
    with pytest.raises(SettingError, match="the weights of all loss terms are 0"):
        make_settings("quick", dict.fromkeys(names, 0))


def test_text_is_converted():
    text = {
        "augment": "false",
        "steps": "600",
        "learning_rate": "3e-4",
        "seed": "4294967295",
    }
    settings = make_settings("quick", text)
    assert settings.augment is False
    assert settings.steps == 600
    assert settings.learning_rate == 3e-4
    assert settings.seed == 2**32 - 1


def test_fixed_setting_keeps_its_value():
    settings = make_settings("quick")
    assert changed(settings, {"seed": "1"}, FIXED) == settings
    with pytest.raises(SettingError, match=r"^seed: fixed once a run has begun"):
        changed(settings, {"seed": "2"}, FIXED)


def test_further_data_sets_given_again_are_no_change(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = make_settings("quick", {"also": "photos:0.4;"})
    assert settings.also == f"{tmp_path}/photos:0.4"
    assert changed(settings, {"also": "photos:0.4"}, FIXED) == settings
    with pytest.raises(SettingError, match=r"^also: fixed"):
        changed(settings, {"also": "photos:0.3"}, FIXED)


FIELDS = [field.name for field in dataclasses.fields(Settings)]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@given(st.sampled_from([*FIELDS, "surprise"]), VALUES)
def test_any_value_is_taken_or_named(key, value):
    """Never a traceback: settings that keep the rules, or an error that names the key."""
    for make in (make_settings_of, settings_of_record):
        try:
            settings = make({key: value})
        except SettingError as error:
            named = (key, "batch_size", "weight_joints", "widest_crop")
            assert str(error).startswith(named)
        else:
            assert type(getattr(settings, key)) is type(getattr(Settings(), key))


def make_settings_of(overrides):
    return make_settings("quick", overrides)


@pytest.mark.parametrize(("free_bytes", "fits"), [(400_000, False), (64_000_000, True)])
def test_small_shared_memory_is_named(free_bytes, fits, monkeypatch, tmp_path):
    """`quick` needs some 3 MB of it for its loader workers."""
    space = SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096)
    monkeypatch.setattr("digit.training.data.SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("digit.training.data.os.statvfs", lambda _: space)
    check_shared_memory(make_settings("quick", {"workers": 0}))
    if fits:
        check_shared_memory(make_settings("quick"))
    else:
        with pytest.raises(
            SettingError, match=r"^workers=2: .*shared memory; set workers=0"
        ):
            check_shared_memory(make_settings("quick"))
