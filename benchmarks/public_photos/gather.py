"""Gather the public photographs that weights were trained on, or that they are measured by.

    python benchmarks/public_photos/gather.py training|measurement --out PHOTOS
        [--clones FOLDER] [--from https://github.com/]

`sources.tsv` names the repositories, each at a commit; `pictures.tsv` names the pictures
of each source. No picture is part of this project: they are taken from clones, which this
script makes where FOLDER lacks them. Sources without a licence serve for measuring only.

    python benchmarks/public_photos/gather.py measurement --out data/unseen_photos
    digit label data/unseen_photos --out data/unseen --val-share 0.99 --longest 320
    digit prepare --root data/unseen
    digit evaluate --root data/unseen --split val --root-depth gt
        --checkpoint data/weights/small.ckpt
"""

import argparse
import subprocess
from pathlib import Path

import pandas as pd
from tqdm import tqdm

HERE = Path(__file__).parent


def clone_of(repository: str, clones: Path, host: str) -> Path:
    """The clone of a repository; made, without any file yet, where it is missing."""
    clone = clones / repository.replace("/", "+")
    if not clone.exists():
        command = ["git", "clone", "--quiet", "--bare", "--filter=blob:none"]
        subprocess.run([*command, f"{host}{repository}", str(clone)], check=True)
    return clone


def read_picture(clone: Path, commit: str, path: str) -> bytes:
    """A file's bytes at a commit."""
    command = ["git", "-C", str(clone), "cat-file", "blob", f"{commit}:{path}"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def main() -> None:
    """Write the pictures of one use, a folder for each source; what is there is kept."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("use", choices=("training", "measurement"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clones", type=Path, default=Path("data/clones"))
    parser.add_argument("--from", dest="host", default="https://github.com/")
    args = parser.parse_args()

    # 1. The sources of this use, and their pictures
    sources = pd.read_csv(HERE / "sources.tsv", sep="\t", dtype=str)
    sources = sources[sources["use"] == args.use].set_index("source")
    pictures = pd.read_csv(HERE / "pictures.tsv", sep="\t", dtype=str)
    pictures["source"] = pictures["picture"].str.split("/").str[0]
    pictures = pictures[pictures["source"].isin(sources.index)]

    # 2. Copy what is missing
    for picture in tqdm(pictures.itertuples(), "pictures", len(pictures)):
        target = args.out / picture.picture
        if target.exists():
            continue
        source = sources.loc[picture.source]
        clone = clone_of(source["repository"], args.clones, args.host)
        content = read_picture(clone, source["commit"], picture.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


if __name__ == "__main__":
    main()
