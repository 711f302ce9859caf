"""Score runs with a second judge, which was not used to choose any setting.

    python tests/benchmarks/second_judge.py --judge judge.safetensors runs/a runs/b pretrained:best

What is tuned by one judge may please only that judge. This one has another architecture, seed and
augmentation than the judge of `mnistgan evaluate`. It is trained once, and `--judge` keeps it. The
distances of two judges have different scales, so compare them with those of real digits.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample, silu

from mnistgan.data import load_shipped, to_unit_range
from mnistgan.evaluation.metrics import frechet_distance, manifold_scores
from mnistgan.runs.folder import find_checkpoint
from mnistgan.samples import TrainedGenerator
from mnistgan.sampling import open_generator
from mnistgan.work import Work

SEED = 20261127
EPOCHS, BATCH, MAX_LR, WEIGHT_DECAY = 5, 100, 3e-3, 0.05
SAMPLES = 10_000
BLOCK = 500


class Residual(nn.Module):
    """x + two convolutions of x, normalized over groups of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(8, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        sums: Tensor = x + self.layers(x)
        return sums


class SecondJudge(nn.Module):
    """Pixels (B, 1, 28, 28) uint8 -> 14x14 -> 7x7 -> features (B, 64) -> logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 4, stride=2, padding=1),
            Residual(24),
            nn.Conv2d(24, 64, 4, stride=2, padding=1),
            Residual(64),
            Residual(64),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Features before the last activation, averaged over the positions, and logits."""
        maps = self.body(to_unit_range(pixels))
        return maps.mean(dim=(2, 3)), self.head(silu(maps).mean(dim=(2, 3)))


def distort(pixels: Tensor) -> Tensor:
    """Shear, stretch, make strokes thinner or thicker, and erase a square."""
    count = len(pixels)
    matrix = torch.eye(2) + torch.empty(count, 2, 2).uniform_(-0.15, 0.15)
    shift = torch.empty(count, 2, 1).uniform_(-0.12, 0.12)
    grid = affine_grid(torch.cat((matrix, shift), dim=2), list(pixels.shape), align_corners=False)
    ink = grid_sample(pixels / 255, grid, align_corners=False)
    ink = ink.clamp(min=0) ** torch.empty(count, 1, 1, 1).uniform_(0.6, 1.6)
    rows, columns = torch.randint(0, 28, (2, count, 1))
    apart = torch.arange(28)
    erased = ((apart - rows).abs() < 3)[:, :, None] & ((apart - columns).abs() < 3)[:, None, :]
    return 255 * ink.masked_fill(erased[:, None], 0)


def train() -> SecondJudge:
    data = load_shipped("mnist", "train")
    torch.manual_seed(SEED)
    judge = SecondJudge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=MAX_LR, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * (len(data.images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_LR, total_steps=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for indices in torch.randperm(len(data.images)).split(BATCH):
            _, logits = judge(distort(data.images[indices]))
            loss = cross_entropy(logits, data.labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: mean loss {total * EPOCHS / steps:.4f}", flush=True)
    return judge


@torch.no_grad()
def judged(judge: SecondJudge, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, 64) and classes (N,)."""
    blocks = [judge(block) for block in images.split(BLOCK)]
    features, logits = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    return features, logits.argmax(dim=1)


def samples_of(source: str, seed: int) -> tuple[Tensor, Tensor | None]:
    """The images of a generator that `mnistgan evaluate --seed SEED` scores, and their classes."""
    opened = open_generator(find_checkpoint(source, Path("runs")), "cpu")
    drawing = Work(TrainedGenerator(opened).draw(SAMPLES, seed))
    for _ in drawing:
        pass
    return drawing.result.images, drawing.result.labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="*", help="runs, checkpoints, pretrained:NAME")
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    judge = SecondJudge()
    if not options.judge.exists():
        save_file(train().state_dict(), options.judge)
    judge.load_state_dict(load_file(options.judge))
    judge.eval()
    train_split, test = load_shipped("mnist", "train"), load_shipped("mnist", "test")
    real, classes = judged(judge, test.images)
    accuracy = (classes == test.labels).double().mean()
    print(f"this judge classifies {accuracy:.2%} of the test digits correctly\n")
    print("| images | Fréchet | precision | recall | label accuracy |\n|---|---|---|---|---|")
    rows = {"real training digits": (train_split.images[:SAMPLES], train_split.labels[:SAMPLES])}
    for name in (*rows, *options.sources):
        images, labels = rows[name] if name in rows else samples_of(name, options.seed)
        features, seen = judged(judge, images)
        manifold = manifold_scores(real, features)
        agree = "" if labels is None else f"{(seen == labels).double().mean():.2%}"
        print(
            f"| {name} | {frechet_distance(real, features):.4f} | {manifold.precision:.3f} | "
            f"{manifold.recall:.3f} | {agree} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
