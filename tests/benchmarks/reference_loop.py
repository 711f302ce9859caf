"""A plain training loop, as in a good tutorial: torchvision, a DataLoader, Adam, `.item()`.

    python tests/benchmarks/reference_loop.py FOLDER mlp 32 600 cpu

FOLDER has MNIST as torchvision stores it after a download. Prints the images per second, measured
after a warm-up. The networks are those of mnistgan, but made of torch's own layers.
"""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from mnistgan.config import load_config
from mnistgan.models import build_discriminator, build_generator

WARM_UP_STEPS = 50


def main(folder: str, preset: str, batch_size: int, steps: int, device: str) -> None:
    config = load_config(preset)
    to_unit_range = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
    data = datasets.MNIST(folder, train=True, transform=to_unit_range)
    loader = DataLoader(data, batch_size=batch_size, shuffle=True, drop_last=True)
    generator = with_plain_layers(build_generator(config.model, 1)).to(device)
    discriminator = with_plain_layers(build_discriminator(config.model, 1)).to(device)
    lr, betas = config.optimizer.lr, config.optimizer.betas
    g_optimizer = torch.optim.Adam(generator.parameters(), lr, betas)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), lr, betas)
    criterion = nn.BCEWithLogitsLoss()
    ones = torch.ones(batch_size, device=device)
    zeros = torch.zeros(batch_size, device=device)

    d_losses: list[float] = []
    g_losses: list[float] = []
    started_at = time.perf_counter()
    while len(g_losses) < steps:
        for real, _ in loader:
            real = real.to(device)
            d_optimizer.zero_grad()
            fake = generator(torch.randn(batch_size, config.model.z_dim, device=device))
            d_loss = criterion(discriminator(real), ones)
            d_loss = d_loss + criterion(discriminator(fake.detach()), zeros)
            d_loss.backward()
            d_optimizer.step()

            g_optimizer.zero_grad()
            fake = generator(torch.randn(batch_size, config.model.z_dim, device=device))
            g_loss = criterion(discriminator(fake), ones)
            g_loss.backward()
            g_optimizer.step()

            d_losses.append(d_loss.item())
            g_losses.append(g_loss.item())
            if len(g_losses) == WARM_UP_STEPS:
                started_at = time.perf_counter()
            if len(g_losses) == steps:
                break
    seconds = time.perf_counter() - started_at
    print(max(0, steps - WARM_UP_STEPS) * batch_size / seconds)


def with_plain_layers(network: nn.Module) -> nn.Module:
    """Replace the layers that only differ from torch's in how fast they are."""
    for module in network.modules():
        for plain in (nn.Conv2d, nn.ConvTranspose2d, nn.Dropout):
            if isinstance(module, plain):
                module.__class__ = plain
    return network


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
