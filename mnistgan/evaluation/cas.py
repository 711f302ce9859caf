"""Classification accuracy score: what a classifier learns about real digits from generated ones."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mnistgan.data import to_unit_range

STEPS = 800
BATCH_SIZE = 128
SEEDS = (0, 1, 2)
LR = 2e-3


def classification_accuracy(
    images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor, seed: int
) -> float:
    """The accuracy (0..1) on real test digits of a small classifier trained on `images`.

    The classification accuracy score of Ravuri and Vinyals 2019. The initial weights, the number of
    steps and the order of the images are the same for all training sets of the same size.
    images: (N, C, 28, 28) uint8, labels: (N,) int64.
    """
    rng = torch.Generator().manual_seed(seed)
    classes = 1 + max(int(labels.max()), int(test_labels.max()))
    classifier = _classifier(rng, classes, images.shape[1])
    optimizer = torch.optim.Adam(classifier.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=STEPS)
    for _ in range(STEPS):
        picked = torch.randint(len(images), (BATCH_SIZE,), generator=rng)
        # Shift the whole batch by up to two pixels, as augmentation of a small training set.
        shift = torch.randint(-2, 3, (2,), generator=rng).tolist()
        batch = images[picked].roll(shift, dims=(2, 3))
        loss = cross_entropy(classifier(to_unit_range(batch)), labels[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    classifier.eval()
    with torch.no_grad():
        answers = [
            classifier(to_unit_range(block)).argmax(dim=1) for block in test_images.split(500)
        ]
    return float((torch.cat(answers) == test_labels).double().mean())


def _classifier(rng: torch.Generator, classes: int, channels: int) -> nn.Module:
    """28x28 -> 14x14 -> 7x7 -> logits; its weights are drawn from `rng`."""
    classifier = nn.Sequential(
        nn.Conv2d(channels, 32, 5, stride=2, padding=2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 5, stride=2, padding=2), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 7 * 7, classes),
    )  # fmt: skip
    for module in classifier:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=rng)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return classifier
