"""Several processes, on one machine or many, that train as one.

The loop shares batch-norm statistics by `share_norms` and averages logged losses by
`mean_over_processes`; `digit fit` starts the processes by `launch_command`.
"""

import os
import socket
import sys
from pathlib import Path

import torch
from jaxtyping import Float
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from digit.model.network import Digit
from digit.training.settings import Settings


class AllReduce(torch.autograd.Function):
    """The sum over all processes, of values and of their gradients."""

    @staticmethod
    def forward(_context, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        torch.distributed.all_reduce(total)
        return total


class SharedNorm(torch.nn.BatchNorm2d):
    """Batch norm over the batches of all processes, on the CPU.

    torch's own SyncBatchNorm works on GPUs only.
    """

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        y = self._normalise(x) if self.training else super().forward(x)
        # timm's batch norms contain the activation that follows them.
        return self.act(y) if hasattr(self, "act") else y

    def _normalise(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Normalise by the statistics of all processes, as in training."""
        # 1. Mean and variance over all processes' pixels.
        processes = torch.distributed.get_world_size()
        mean = AllReduce.apply(x.float().mean((0, 2, 3))) / processes
        centred = x.float() - mean[:, None, None]
        variance = AllReduce.apply(centred.square().mean((0, 2, 3))) / processes

        # 2. The running statistics; torch keeps the unbiased variance there.
        pixels = processes * x[:, 0].numel()
        unbiased = variance * pixels / (pixels - 1)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked += 1

        # 3. Normalise.
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def share_norms(network: Digit, cuda: bool) -> Digit:
    """Replace the batch norms of a network by ones over all processes.

    On GPUs timm's conversion is used, since it keeps the activations in timm's norms.
    """
    if cuda:
        return convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SharedNorm
    return network


def mean_over_processes(
    values: Float[Tensor, "n"], world_size: int
) -> Float[Tensor, "n"]:
    """The mean of each number over all processes."""
    if world_size > 1:
        torch.distributed.all_reduce(values)
    return values / world_size


def is_first_process() -> bool:
    """Whether this is the first of the processes that train a run, by their environment.

    torchrun sets these variables, under SLURM as well; a process on its own is the first.
    """
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"):
        if int(os.environ.get(name, 0)):
            return False
    return True


def launch_command(run: Path, settings: Settings) -> list[str] | None:
    """The command that `digit fit` gives way to where several processes train.

    torchrun, and srun before it on SLURM. On further machines without SLURM the same
    `digit fit` joins the first, which MASTER_ADDR names.

    Returns:
        The command; None where this process trains by itself.
    """
    one_process = settings.devices * settings.nodes == 1
    already_launched = "TORCHELASTIC_RUN_ID" in os.environ
    if one_process or already_launched:
        return None
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    torchrun.append(f"--nproc-per-node={settings.devices}")
    fit = ["-m", "digit", "fit", str(run)]

    # 1. One machine.
    if settings.nodes == 1:
        return [*torchrun, "--standalone", *fit]

    # 2. Several: they meet at the first one's address.
    address = os.environ.get("MASTER_ADDR", socket.gethostname())
    port = os.environ.get("MASTER_PORT", "29400")
    torchrun.append(f"--nnodes={settings.nodes}")
    torchrun.append(f"--rdzv-id={run.name}")
    torchrun.append("--rdzv-backend=c10d")
    torchrun.append(f"--rdzv-endpoint={address}:{port}")
    if "SLURM_JOB_ID" in os.environ:
        srun = ["srun", "--ntasks-per-node=1", f"--ntasks={settings.nodes}"]
        return [*srun, "--kill-on-bad-exit=1", *torchrun, *fit]
    variables = f"MASTER_ADDR={address} MASTER_PORT={port}"
    print(f"on each other node: {variables} digit fit {run}")
    return [*torchrun, *fit]
