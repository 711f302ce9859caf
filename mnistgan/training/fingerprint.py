"""One number for all weights of a training, to compare two trainings with."""

import hashlib
from collections.abc import Mapping

import torch
from torch import nn


def weights_sha256(networks: Mapping[str, nn.Module]) -> str:
    """SHA-256 of the weights and buffers of named networks, as 64 hexadecimal digits.

    Hashed are, for each network in the order of `networks` and for each tensor of its state_dict in
    the order of the names: one line of text, such as `generator.layers.0.weight torch.float32
    [100, 256]`, and then the values in C order, as this machine stores them (little-endian on all
    common ones). Optimizers, random states and the step are not hashed.
    """
    digest = hashlib.sha256()
    for owner, network in networks.items():
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(f"{owner}.{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            # A tensor without dimensions has no view as bytes, so flatten it.
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
