"""A training in one or many processes: who starts them, how they share a batch, why they end.

Each process reads its share of every batch; norms, gradients and logged losses are over all shares,
so that many processes compute what one would, up to the order of additions.
"""

import os
import re
import socket
import sys
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .network import Digit  # first: it makes torchvision load beside CPU torch

# isort: split
from timm.layers import convert_sync_batchnorm

from .settings import Settings

FAULTS = (  # what an error says → what it means, which setting to change in the resumed run
    ("not finite", "the loss is not finite", "learning_rate"),
    ("out of memory|allocate memory|bad_alloc", "out of memory", "accumulate"),
    (r"worker \(pid.* (exited|killed)", "a loader worker died, often out of memory", "workers"),
    ("No space|File too large|quota|failed writ|unexpected pos", "the disk is full: make room", ""),
    ("gloo|nccl|TCPStore|closed by peer", "another process of the run is lost: see its log", ""),
)


class StreamSampler:
    """The batches of one process, from an optimiser step onward, as lists of stream positions."""

    def __init__(self, n: int, settings: Settings, steps: int, start: int, rank: int, world: int):
        assert n > 0, "an empty data set has no stream"
        self.n, self.seed, self.rank, self.world = n, settings.seed, rank, world
        self.batch = settings.batch_size // settings.accumulate
        self.batches = range(start * settings.accumulate, steps * settings.accumulate)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        order, current = np.empty(0, np.int64), -1
        for k in self.batches:
            positions = []
            for p in range(k * self.batch + self.rank, (k + 1) * self.batch, self.world):
                epoch, i = divmod(p, self.n)
                if epoch != current:
                    rng = np.random.default_rng([self.seed, epoch])
                    order, current = rng.permutation(self.n), epoch
                positions.append(epoch * self.n + int(order[i]))
            yield positions


class AllReduce(torch.autograd.Function):
    """The sum over all processes, of values and of their gradients."""

    @staticmethod
    def forward(_context, values: Tensor) -> Tensor:
        torch.distributed.all_reduce(values := values.clone())
        return values

    @staticmethod
    def backward(_context, gradient: Tensor) -> Tensor:
        torch.distributed.all_reduce(gradient := gradient.clone())
        return gradient


class SharedNorm(torch.nn.BatchNorm2d):
    """Batch norm over the batches of all processes; torch's own does that on GPUs alone."""

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        if not self.training:
            y = super().forward(x)
        else:
            total, world = AllReduce.apply, torch.distributed.get_world_size()
            mean = total(x.float().mean((0, 2, 3))) / world
            centred = x.float() - mean[:, None, None]
            variance = total(centred.square().mean((0, 2, 3))) / world
            n = world * x[:, 0].numel()
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * n / (n - 1), self.momentum)
                self.num_batches_tracked += 1
            scale = self.weight * (variance + self.eps).rsqrt()
            y = (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
        return self.act(y) if hasattr(self, "act") else y  # timm's norms have one


def share_norms(network: Digit, cuda: bool) -> Digit:
    """The network with norms over all processes; timm's conversion keeps their activations."""
    if cuda:
        return convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedNorm
    return network


def mean_over_processes(values: Float[Tensor, "n"], world: int) -> Float[Tensor, "n"]:
    """The mean of each number over all processes."""
    if world > 1:
        torch.distributed.all_reduce(values)
    return values / world


def launch_command(run: Path, settings: Settings) -> list[str] | None:
    """What `digit fit` gives way to for several processes: torchrun, and srun before it on SLURM.

    On further nodes without SLURM the same `digit fit` joins the first, named by MASTER_ADDR.
    """
    if settings.devices * settings.nodes == 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        return None
    command = [sys.executable, "-m", "torch.distributed.run"]
    command += [f"--nproc-per-node={settings.devices}"]
    if settings.nodes == 1:
        command.append("--standalone")
    else:
        first = os.environ.get("MASTER_ADDR", socket.gethostname())
        port = os.environ.get("MASTER_PORT", "29400")
        command += [f"--nnodes={settings.nodes}", f"--rdzv-id={run.name}", "--rdzv-backend=c10d"]
        command += [f"--rdzv-endpoint={first}:{port}"]
        if "SLURM_JOB_ID" in os.environ:
            tasks = f"--ntasks={settings.nodes}"
            command = ["srun", "--ntasks-per-node=1", tasks, "--kill-on-bad-exit=1", *command]
        else:
            print(f"on each other node: MASTER_ADDR={first} MASTER_PORT={port} digit fit {run}")
    return [*command, "-m", "digit", "fit", str(run)]


def explained(error: Exception, settings: Settings) -> tuple[str, str]:
    """What an error means, "" if that is not known, and the `--set` that helps a resumed run."""
    new = {
        "learning_rate": f"{settings.learning_rate / 3:.1g}", "workers": settings.workers // 2,
        "accumulate": settings.accumulate * 2, "": "",
    }  # fmt: skip
    for pattern, meaning, key in FAULTS:
        if re.search(pattern, str(error), re.IGNORECASE):
            return meaning, f" --set {key}={new[key]}" if key else ""
    return "", ""
