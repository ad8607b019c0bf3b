"""Damage files of every kind at random, as long as one lets it: a table of what came of it.

    python benchmarks/random_damage.py                      # round after round, until Ctrl-C
    python benchmarks/random_damage.py --number 5000        # of each file
    python benchmarks/random_damage.py --only last.ckpt --first 41 --number 1   # one again
    python benchmarks/random_damage.py --number 5000 --state DONE.json  # stop, and go on

Each file of small data sets, runs, predictions and weights is changed, read as the workbench
reads it, and mended. Damage must end in a named error, in a finding, or in content that
stands as it is; whatever else comes of it is printed with the command that repeats it. Each
kind of file is done in a process of its own, one after the other, since damage may crash a
library: that is a fault as well.
"""

import argparse
import gc
import json
import logging
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from damage import FAULTS, OUTCOMES, Reading, Target, observed, strike
from damage_runs import smallest_network
from damage_targets import make_targets

from digit.files import write_json

IN_MEMORY = Path("/dev/shm")
SLICE = 2000  # mutations of a file at most before the next one's turn
SLICE_S = 60.0  # and seconds


class Batch(NamedTuple):
    """Some mutations of one file."""

    outcomes: Counter
    faults: list[str]  # in words, with the command that repeats each
    seconds: float  # of CPU time


Totals = dict[str, Batch]  # by kind of file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, help="of each file; default: no end")
    parser.add_argument("--first", type=int, default=0, help="seed of the first (0)")
    parser.add_argument("--only", nargs="+", metavar="FILE", help="kinds of files")
    parser.add_argument("--state", type=Path, metavar="DONE.json", help="to go on from")
    parser.add_argument("--out", type=Path, metavar="OUT.md", help="the table")
    options = parser.parse_args()
    logging.disable(logging.NOTSET)
    torch.set_num_threads(1)
    where = IN_MEMORY if IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder, smallest_network():
        targets = list(make_targets(Path(folder)))
        if options.only:
            targets = [target for target in targets if target.name in options.only]
        run_all(targets, options)


def run_all(targets: list[Target], options: argparse.Namespace) -> None:
    """Damage all targets in turn, and keep the table and the state up to date."""
    first, number = options.first, options.number
    totals = read_state(options.state)
    for target in targets:
        totals.setdefault(target.name, Batch(Counter(), [], 0.0))
    baselines = {target.name: observed(target.read) for target in targets}
    waiting = list(targets)
    try:
        while waiting:
            for target in waiting:
                before = totals[target.name]
                start = first + before.outcomes.total()
                left = SLICE if number is None else first + number - start
                if left <= 0:
                    continue
                batch = in_process(target, baselines[target.name], start, left)
                totals[target.name] = Batch(
                    before.outcomes + batch.outcomes,
                    before.faults + batch.faults,
                    before.seconds + batch.seconds,
                )
                for line in batch.faults:
                    print(line, flush=True)
                if options.state is not None:
                    write_json(options.state, totals)
                if options.out is not None:
                    options.out.write_text(table(totals))
            waiting = [
                target
                for target in waiting
                if number is None or totals[target.name].outcomes.total() < number
            ]
    except KeyboardInterrupt:
        pass
    print(table(totals))


def read_state(path: Path | None) -> Totals:
    """What an earlier call has done; {} without."""
    if path is None or not path.exists():
        return {}
    stored = json.loads(path.read_text())
    return {
        name: Batch(Counter(outcomes), faults, seconds)
        for name, (outcomes, faults, seconds) in stored.items()
    }


def in_process(target: Target, baseline: Reading, start: int, count: int) -> Batch:
    """Mutations for a slice of time in a forked process; a crash of it is a fault."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=strike_all, args=(target, baseline, start, count, receiver, sender)
    )
    process.start()
    sender.close()
    outcomes: Counter = Counter()
    faults = []
    before_s = children_s()
    seed = start
    while True:
        try:
            result = receiver.recv()
        except EOFError:
            break
        outcomes[result.outcome] += 1
        if result.outcome in FAULTS:
            faults.append(describe(target, seed, result.outcome, result.detail))
        seed += 1
    process.join()
    if process.exitcode:
        outcomes["traceback"] += 1
        how = f"the process ended with {process.exitcode}"
        faults.append(describe(target, seed, "traceback", how))
    return Batch(outcomes, faults, children_s() - before_s)


def children_s() -> float:
    """CPU time of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def strike_all(
    target: Target, baseline: Reading, start: int, count: int, receiver, sender
) -> None:
    """Strike for a slice of time, and send each result."""
    # Its copy of the other end would keep it waiting for a main process that was ended.
    receiver.close()
    torch.set_num_threads(1)
    # The libraries' own objects are no garbage: not to look at them again saves time.
    gc.freeze()
    end = time.monotonic() + SLICE_S
    for seed in range(start, start + min(count, SLICE)):
        sender.send(strike(target, baseline, seed))
        if time.monotonic() > end:
            return


def describe(target: Target, seed: int, outcome: str, detail: str) -> str:
    """A fault, and the command that repeats it."""
    command = f"--only '{target.name}' --first {seed} --number 1"
    return f"{target.name}: {outcome}: {detail}\n    {Path(__file__).name} {command}"


def table(totals: Totals) -> str:
    """The outcomes by file, in Markdown."""
    head = ["file", "mutations", *OUTCOMES, "a minute of CPU time"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name, batch in totals.items():
        count = sum(batch.outcomes.values())
        each = [f"{batch.outcomes[outcome]:,}" for outcome in OUTCOMES]
        rate = f"{60 * count / max(batch.seconds, 1e-9):,.0f}"
        lines.append(f"| {' | '.join([name, f'{count:,}', *each, rate])} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
