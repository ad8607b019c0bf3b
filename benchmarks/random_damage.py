"""Damage a data set at random, as often as one likes: `random_damage.py --number 5000`.

Each time one file of a small data set is changed, and the set is prepared and checked. The
script stops at the first damage that ends in anything but a named error or a report, and
prints its seed.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from damage import make_small_tree, survive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=5000, help="how many (5000)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first (0)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        template = make_small_tree(Path(folder) / "template")
        for seed in tqdm(
            range(options.first, options.first + options.number), mininterval=10
        ):
            survive(seed, template, Path(folder))
    print(f"{options.number} mutations: each a named error or a report")


if __name__ == "__main__":
    main()
