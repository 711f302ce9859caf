"""The judge: a small classifier. Most scores are computed from its features and probabilities.

It is trained once, on the training split of a data set. The judge of MNIST ships with the package,
so that everybody uses the same one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from mnistgan.data import to_unit_range

RECIPE = "judge-v2"
"""Version of the network, its training and its preprocessing; a change to any of them requires a
new name"""
FEATURES = 64
CLASSES = 10
"""Number of classes of the judge of MNIST"""
JUDGE_BATCH = 250
EPOCHS = 8
LEAST_STEPS = 400
"""A judge of few images is trained for more epochs, until it has taken so many steps"""
BATCH_SIZE = 128
MAX_LR = 4e-3
WEIGHT_DECAY = 0.02


class Judge(nn.Module):
    """Pixels (B, C, 28, 28) uint8 -> 14x14 -> 7x7 -> 4x4 -> features (B, 64) -> logits (B, K)."""

    def __init__(self, classes: int = CLASSES, channels: int = 1) -> None:
        super().__init__()
        self.classes = classes
        self.channels = channels
        self.body = nn.Sequential(
            *_convolution(channels, 32, size=5, stride=2),
            *_convolution(32, 64, size=3, stride=1),
            *_convolution(64, 96, size=3, stride=2),
            *_convolution(96, 64, size=3, stride=2),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, FEATURES, bias=False),
            nn.BatchNorm1d(FEATURES),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, classes))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels: 0..255. Returns features (B, 64), before the last ReLU, and logits (B, K)."""
        features: Tensor = self.body(to_unit_range(pixels))
        return features, self.head(features)


@dataclass(frozen=True)
class Judged:
    """Features and probabilities of N images, on the CPU."""

    features: Tensor
    """(N, 64) float32"""
    probabilities: Tensor
    """(N, K) float32, for K classes"""

    @property
    def labels(self) -> Tensor:
        """(N,) int64, the most probable class of each image."""
        return self.probabilities.argmax(dim=1)

    def first(self, count: int) -> "Judged":
        return Judged(self.features[:count], self.probabilities[:count])


def judged_parts(judge: Judge, images: Tensor) -> tuple[Tensor, ...]:
    """The parts of images (N, C, 28, 28) that the judge can read.

    These are the images themselves or, for a judge with one channel, each of their channels.
    """
    return (images,) if images.shape[1] == judge.channels else images.split(1, dim=1)


@torch.no_grad()
def judge_images(judge: Judge, images: Tensor) -> Judged:
    """Apply the judge to images (N, C, 28, 28) uint8 in eval mode, in blocks."""
    judge.eval()
    device = next(judge.parameters()).device
    features, probabilities = [], []
    for block in images.split(JUDGE_BATCH):
        block_features, logits = judge(block.to(device))
        features.append(block_features.cpu())
        probabilities.append(logits.softmax(dim=1).cpu())
    return Judged(torch.cat(features), torch.cat(probabilities))


@dataclass(frozen=True)
class JudgeEpoch:
    """One epoch of the training of a judge."""

    epoch: int
    epochs: int
    loss: float
    judge: Judge
    """The judge with its current weights; the same object in each epoch"""


def train_judge(images: Tensor, labels: Tensor, seed: int = 0) -> Iterator[JudgeEpoch]:
    """Train a judge on images (N, C, 28, 28) uint8 and their classes (N,). Yields each epoch.

    Each image of a batch is shifted, rotated and scaled at random.
    """
    with torch.random.fork_rng(devices=[]):  # keep the random state of a GAN being trained
        torch.manual_seed(seed)
        yield from _train(images, labels)


def _train(images: Tensor, labels: Tensor) -> Iterator[JudgeEpoch]:
    judge = Judge(int(labels.max()) + 1, images.shape[1])
    optimizer = torch.optim.AdamW(judge.parameters(), lr=MAX_LR, weight_decay=WEIGHT_DECAY)
    steps = len(images) // BATCH_SIZE
    epochs = max(EPOCHS, math.ceil(LEAST_STEPS / steps))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_LR, total_steps=epochs * steps)
    for epoch in range(1, epochs + 1):
        total = 0.0
        judge.train()
        for indices in torch.randperm(len(images))[: steps * BATCH_SIZE].split(BATCH_SIZE):
            _, logits = judge(_distort(images[indices]))
            loss = cross_entropy(logits, labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        yield JudgeEpoch(epoch, epochs, total / steps, judge)


def _convolution(inputs: int, outputs: int, size: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _distort(images: Tensor) -> Tensor:
    """Rotate by up to 12 degrees, scale by up to 12 %, shift by up to 2.5 pixels; bilinear."""
    count = len(images)
    angle = torch.empty(count).uniform_(-0.21, 0.21)
    scale = torch.empty(count, 2).uniform_(0.88, 1.12)
    shift = torch.empty(count, 2).uniform_(-2.5 / 14, 2.5 / 14)
    cosine, sine = angle.cos(), angle.sin()
    rows = torch.stack(
        [cosine * scale[:, 0], -sine * scale[:, 0], shift[:, 0],
         sine * scale[:, 1], cosine * scale[:, 1], shift[:, 1]], dim=1
    )  # fmt: skip
    grid = affine_grid(rows.view(count, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images.float(), grid, align_corners=False)
