"""Chapter "Ablation": do parts help? Runs with no, predicted and true parts, compared.

Notebook 10 calls it; its figures are in `digit.chapters.ablation_figures`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from digit.chapters.closing_table import expected_and_measured
from digit.data.parquet import read_table
from digit.evaluation.protocol import protocol
from digit.model.checkpoints import load_network
from digit.paths import runs_dir
from digit.training import runs
from digit.training.settings import Settings

VARIANTS = ("none", "unsupervised", "predicted", "true")
COSTS = ("million weights", "GMAC", "trained for min")
DRAWS = 2000
HIDDEN_EDGES = (-0.01, 0.02, 0.2, 0.4, 1.01)
HIDDEN_NAMES = ("hidden < 2 %", "hidden 2–20 %", "hidden 20–40 %", "hidden > 40 %")
CONFUSIONS = {
    "joints_swapped": "joints swapped",
    "handedness_correct": "hand type correct",
    "mrrpe": "MRRPE (mm)",
    "pa_mpjpe": "PA-MPJPE (mm)",
}
# What members of an ablation may differ in for the comparison to be fair.
MAY_DIFFER = {"parts", "weight_parts", "weight_part_iou", "seed"}


class Ablation(NamedTuple):
    """The members of an ablation with their errors on the test split."""

    about: pd.DataFrame  # a row per member: variant, settings, costs
    variants: list[str]
    base: str  # the variant that the others are compared with
    tables: dict[str, list[pd.DataFrame]]  # per variant, an error table per seed
    slices: dict[str, pd.Series]  # name → which test frames
    groups: pd.Series  # the sequence of each test frame; resampled as a whole


def find_members(members: Mapping[str, str] | None = None) -> dict[str, Path]:
    """The runs of an ablation by "<variant>-<seed>".

    Args:
        members: Runs by name; by default the newest finished run of each name.

    Raises:
        MissingRun: If there is none.
    """
    if members:
        return {name: Path(run) for name, run in members.items()}
    found = {}
    for path in sorted(runs_dir().glob("*/errors_test.npz")):
        name = "-".join(path.parent.name.split("-")[2:-1])
        is_finished = runs.state(path.parent) == "finished"
        if is_finished and name.rpartition("-")[0] in VARIANTS:
            found[name] = path.parent
    if not found:
        command = ["digit", "ablation", "--root", "data/demo"]
        raise runs.MissingRun(f"{runs_dir()}: no finished run of an ablation", command)
    return found


def load(members: Mapping[str, Path], against: str = "none") -> Ablation:
    """Read the records and error tables of an ablation's runs.

    Args:
        members: Runs by "<variant>-<seed>".
        against: The variant that the others are compared with, where there are runs of it.

    Returns:
        Everything that the chapter compares; frames without true parts are left out for
        all, since a network that is given true parts can only be asked where they are known.
    """
    # 1. What each member is, and its errors on the test split.
    about = pd.DataFrame(
        {name: _describe(name, run) for name, run in members.items()}
    ).T
    variants = [variant for variant in VARIANTS if variant in set(about["variant"])]
    tables = {
        variant: [
            _read_errors(members[name])
            for name in about.index[about["variant"] == variant]
        ]
        for variant in variants
    }

    # 2. Which frames are resampled together.
    first = tables[variants[0]][0]
    groups = first.groupby(["capture", "seq_name"]).ngroup()
    if groups.nunique() < 8:  # too few sequences to draw from: frames take their place
        groups = pd.Series(range(len(first)), first.index)

    # 3. The slices that have more than one sequence to draw from.
    slices = {
        name: rows
        for name, rows in _slices(first).items()
        if groups[rows].nunique() > 1
    }
    base = against if against in variants else variants[0]
    return Ablation(about, variants, base, tables, slices, groups)


def _describe(name: str, run_dir: Path) -> dict[str, object]:
    """Settings and costs of one member."""
    # 1. The record of the run.
    network = load_network(run_dir / "checkpoints/best.ckpt")
    _, settings = runs.parameters(run_dir)
    result = runs.result(run_dir)

    # 2. The arithmetic of one forward pass.
    size_px = network.image_size
    image = torch.zeros(1, 3, size_px, size_px)
    true_parts = torch.zeros(1, size_px // 2, size_px // 2).byte()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image, true_parts)

    # 3. Settings first, then what the run cost.
    row: dict[str, object] = dict(vars(settings))
    row["variant"] = name.rpartition("-")[0]
    row["steps done"] = result["steps"]
    row["million weights"] = sum(p.numel() for p in network.parameters()) / 1e6
    row["GMAC"] = counter.get_total_flops() / 2e9
    row["trained for min"] = result["seconds"] / 60
    return row


def _read_errors(run_dir: Path) -> pd.DataFrame:
    table = read_table(run_dir / "errors_test.parquet")
    return table[table["parts_valid"]].sort_values("image_id").set_index("image_id")


def _slices(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Test frames by hand type and, where it is known, by how much is hidden."""
    slices = {"all": table["mpjpe"].notna()}
    for hand_type in ("right", "left", "interacting"):
        slices[hand_type] = table["hand_type"] == hand_type
    if "right_hidden_by_other" in table:
        hidden = table[["right_hidden_by_other", "left_hidden_by_other"]].max(axis=1)
        hidden = hidden.where(slices["interacting"])
        bins = pd.cut(hidden, HIDDEN_EDGES, labels=HIDDEN_NAMES)
        for name in HIDDEN_NAMES:
            slices[name] = bins == name
    return slices


def costs(ablation: Ablation) -> pd.DataFrame:
    """Size, arithmetic of a forward pass and training time, mean over the seeds."""
    means = ablation.about.groupby("variant")[list(COSTS)].mean()
    return means.loc[ablation.variants].astype(float).round(2)


def varied_settings(ablation: Ablation) -> list[str]:
    """The settings in which members differ."""
    return [name for name in vars(Settings()) if ablation.about[name].nunique() > 1]


def slice_sizes(ablation: Ablation) -> pd.DataFrame:
    """How many frames each slice has."""
    sizes = {name: int(rows.sum()) for name, rows in ablation.slices.items()}
    return pd.DataFrame(sizes, index=["frames"])


def resample(ablation: Ablation, rows: pd.Series, column: str) -> pd.DataFrame:
    """Means of a column under resampled sequences and seeds; a column per variant.

    Each draw takes sequences with replacement, the same ones for all variants, and of
    each variant as many seeds, with replacement, as it has.
    """
    # 1. How often each sequence is drawn; the same for all variants.
    groups = ablation.groups[rows]
    n = groups.nunique()
    rng = np.random.default_rng(0)
    times = rng.multinomial(n, np.full(n, 1 / n), DRAWS)  # (draws, groups)

    # 2. Per variant, the mean over drawn sequences, then over drawn seeds.
    drawn = {}
    for variant in ablation.variants:
        errors = pd.DataFrame(
            {
                seed: table.loc[rows, column]
                for seed, table in enumerate(ablation.tables[variant])
            }
        ).groupby(groups)
        of_seeds = (times @ errors.sum() / (times @ errors.count())).to_numpy()
        picks = rng.integers(of_seeds.shape[1], size=of_seeds.shape)
        drawn[variant] = np.take_along_axis(of_seeds, picks, axis=1).mean(1)
    return pd.DataFrame(drawn)


def summarise(ablation: Ablation, rows: pd.Series, column: str) -> pd.DataFrame:
    """Each variant's value of a column, and its change against the base variant.

    Args:
        ablation: The runs.
        rows: Which test frames.
        column: A column of the error table.

    Returns:
        Indexed by ("error" or "change", variant): one value per seed, their mean, and the
        ends of the 95 % interval over seeds and sequences.
    """
    # 1. One value per seed, and the resampled means.
    drawn = resample(ablation, rows, column)
    seeds = {
        variant: np.array([table.loc[rows, column].mean() for table in tables])
        for variant, tables in ablation.tables.items()
    }

    # 2. Intervals of each variant, and of its difference within each draw.
    base = ablation.base
    found = {}
    for variant in ablation.variants:
        low, high = drawn[variant].quantile([0.025, 0.975])
        found["error", variant] = (seeds[variant], low, high)
        low, high = (drawn[variant] - drawn[base]).quantile([0.025, 0.975])
        found["change", variant] = (seeds[variant] - seeds[base].mean(), low, high)
    table = pd.DataFrame(found, index=["seeds", "low", "high"]).T
    return table.assign(mean=table["seeds"].map(np.mean))


def compare(ablation: Ablation) -> pd.DataFrame:
    """MPJPE of every slice; indexed by slice, "error" or "change", and variant."""
    return pd.concat(
        {
            name: summarise(ablation, rows, "mpjpe")
            for name, rows in ablation.slices.items()
        }
    )


def confusions(ablation: Ablation) -> pd.DataFrame:
    """The mistakes that DIGIT was made against, on interacting frames, per variant."""
    rows = ablation.slices.get("interacting", ablation.slices["all"])
    found = pd.concat(
        {name: summarise(ablation, rows, column) for column, name in CONFUSIONS.items()}
    )
    numbers = found[["mean", "low", "high"]].astype(float).round(3)
    table = numbers.xs("error", level=1).unstack().swaplevel(axis=1)
    return table[ablation.variants]


def answers(ablation: Ablation, result: pd.DataFrame) -> list[str]:
    """A sentence per variant: better, worse, or cannot tell."""
    asked = [name for name in ("all", "interacting") if name in ablation.slices]
    return [
        _answer(ablation, result, name, variant)
        for variant in ablation.variants
        if variant != ablation.base
        for name in asked
    ]


def _answer(ablation: Ablation, result: pd.DataFrame, name: str, variant: str) -> str:
    # 1. The interval decides the verdict.
    change = result.loc[(name, "change", variant)]
    verdict = "cannot tell"
    if change["high"] < 0:
        verdict = "better"
    elif change["low"] > 0:
        verdict = "worse"

    # 2. How often a seed of the one beats a seed of the other.
    ours = result.loc[(name, "error", variant), "seeds"]
    others = result.loc[(name, "error", ablation.base), "seeds"]
    wins = sum(bool(a < b) for a in ours for b in others)
    pairs = len(ours) * len(others)
    numbers = (
        f"{change['mean']:+.2f} mm, 95 % {change['low']:+.2f} … {change['high']:+.2f}, "
        f"lower in {wins} of {pairs} pairs of seeds"
    )
    sentence = (
        f"*{variant}* against *{ablation.base}*, {name}: **{verdict}** ({numbers})"
    )
    return sentence.replace("-", "−")


def report(ablation: Ablation, result: pd.DataFrame) -> str:
    """The outcome as Markdown: what was run, the answers, the table, the protocol."""
    one = ablation.about.iloc[0]
    first = ablation.tables[ablation.variants[0]][0]
    sizes = [
        f"{variant} {row['million weights']:.2f} M, {row['GMAC']:.2f}"
        for variant, row in costs(ablation).iterrows()
    ]
    about = protocol(first.reset_index(), intervals=False)["protocol"]
    paragraphs = [
        f"Network `{one['network']}`, {one['steps done']:,} steps of {one['batch_size']} "
        f"frames, {ablation.about['seed'].nunique()} seed(s) per variant; {len(first):,} "
        f"test frames of {first['capture'].nunique()} unseen subject(s). MPJPE in mm, mean "
        "over frames, and its 95 % interval over seeds and sequences; hidden: how much of "
        "the more hidden hand the other covers.",
        "\n".join(f"- {answer}" for answer in answers(ablation, result)),
        _markdown_table(ablation, result),
        f"Weights and multiply-adds (10⁹) of an image: {'; '.join(sizes)}. *true* is given "
        f"the true masks in testing, too. Protocol: {about}.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _markdown_table(ablation: Ablation, result: pd.DataFrame) -> str:
    """A row per slice: each variant's error, then each change against the base."""
    # 1. The head.
    columns = [("error", variant) for variant in ablation.variants]
    columns += [("change", v) for v in ablation.variants if v != ablation.base]
    heads = [
        variant if what == "error" else f"{variant} − {ablation.base}"
        for what, variant in columns
    ]

    # 2. A line per slice.
    lines = [["test frames", "number", *heads], ["---"] * (len(heads) + 2)]
    for name, rows in ablation.slices.items():
        cells = []
        for what, variant in columns:
            found = result.loc[(name, what, variant)]
            text = f"{found['mean']:.2f} ({found['low']:.2f} … {found['high']:.2f})"
            cells.append(text.replace("-", "−"))
        lines.append([name, f"{rows.sum():,}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def save(
    ablation: Ablation, result: pd.DataFrame, figure: Figure, out_dir: Path
) -> str:
    """Write `ablation.md` and `ablation.png`.

    Returns:
        The Markdown text.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_dir / "ablation.png")
    text = report(ablation, result)
    (out_dir / "ablation.md").write_text(text)
    return text


def interval(
    result: pd.DataFrame, variant: str, name: str = "all"
) -> Float[np.ndarray, "3"]:
    """Mean change of a variant in one slice, and the ends of its interval, mm."""
    change = result.loc[(name, "change", variant)]
    return np.array([change["mean"], change["low"], change["high"]], float)


def checks(ablation: Ablation, result: pd.DataFrame) -> pd.DataFrame:
    """Expected and measured: is the comparison fair, and what came out."""
    about = ablation.about
    varied = varied_settings(ablation)
    seeds_of = about.groupby("variant")["seed"].agg(lambda seeds: tuple(sorted(seeds)))
    steps = set(about["steps done"])
    rows = [
        (
            "members differ in",
            "parts, seed",
            ", ".join(varied),
            set(varied) <= MAY_DIFFER,
        ),
        ("steps that each has seen", "the same", str(steps), len(steps) == 1),
        (
            "each variant has the seeds",
            "the same",
            str(set(seeds_of)),
            seeds_of.nunique() == 1,
        ),
    ]
    claims = {
        "predicted": "predicted parts change MPJPE by (mm)",
        "true": "true parts, a bound, by (mm)",
    }
    for variant, claim in claims.items():
        if variant in ablation.variants and variant != ablation.base:
            mean = interval(result, variant)[0]
            rows.append((claim, "< 0", f"{mean:+.2f}", mean < 0))
    return expected_and_measured(rows)
