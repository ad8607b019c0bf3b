"""Many processes that train as one."""

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
        command += [
            f"--nnodes={settings.nodes}",
            f"--rdzv-id={run.name}",
            "--rdzv-backend=c10d",
        ]
        command += [f"--rdzv-endpoint={first}:{port}"]
        if "SLURM_JOB_ID" in os.environ:
            tasks = f"--ntasks={settings.nodes}"
            command = [
                "srun",
                "--ntasks-per-node=1",
                tasks,
                "--kill-on-bad-exit=1",
                *command,
            ]
        else:
            print(
                f"on each other node: MASTER_ADDR={first} MASTER_PORT={port} digit fit {run}"
            )
    return [*command, "-m", "digit", "fit", str(run)]
