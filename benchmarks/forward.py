"""Forward passes on the CPU: plain, and by `optimized_for_inference`, by turns.

python benchmarks/forward.py [TURNS]; prints a table of medians, ms an image.
"""

import statistics
import sys
import time

import torch

from digit.model.network import NETWORKS, build_network, optimized_for_inference


def measure(name: str, turns: int) -> dict[str, float]:
    """Median milliseconds of each way, after one unmeasured turn."""
    plain = build_network(name, pretrained=False).eval()
    ways = {"plain": plain, "optimized": optimized_for_inference(plain)}
    image = torch.rand(1, 3, plain.image_size, plain.image_size)
    times = {way: [] for way in ways}
    with torch.inference_mode():
        for _ in range(turns + 1):
            for way, network in ways.items():
                start = time.perf_counter()
                network(image)
                times[way].append(1000 * (time.perf_counter() - start))
    return {way: statistics.median(taken[1:]) for way, taken in times.items()}


def main() -> None:
    """Print the table."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    print(
        f"| network, batch 1, {torch.get_num_threads()} threads | plain | optimized | ratio |"
    )
    print("| --- | --- | --- | --- |")
    for name in NETWORKS:
        ms = measure(name, turns)
        ratio = ms["plain"] / ms["optimized"]
        print(
            f"| {name} | {ms['plain']:.1f} ms | {ms['optimized']:.1f} ms | {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
