"""`python -m mnistgan.maintain`: makes the files that ship with the package."""

from pathlib import Path
from typing import Annotated

import typer

from mnistgan.cli.app import Group
from mnistgan.terminal import console

DatasetOption = Annotated[str, typer.Option(help="Name of the data set.")]
NameOption = Annotated[str, typer.Option(help="Name of the judge's files, without a suffix.")]
OutOption = Annotated[Path, typer.Option(help="Folder to write the files to.", file_okay=False)]

app = typer.Typer(cls=Group, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Make the files that ship with mnistgan. For maintainers."""


@app.command()
def train_judge(
    dataset: DatasetOption = "mnist",
    name: NameOption = "mnist-judge-v1",
    out: OutOption = Path("judges"),
) -> None:
    """Train the judge that `evaluate` uses, on the whole training split.

    python -m mnistgan.maintain train-judge --out judges
    """
    from mnistgan.files import check_output_file
    from mnistgan.maintain.train_judge import Trained
    from mnistgan.maintain.train_judge import train_judge as use_case

    check_output_file(out / f"{name}.safetensors", (".safetensors",))
    for event in use_case(dataset, name, out):
        if isinstance(event, Trained):
            console.note(f"accuracy on real test digits: {100 * event.reference.accuracy:.2f} %")
            console.note(f"SHA-256 of the weights: {event.reference.judge_sha256}")
            console.result(str(event.folder / f"{name}.safetensors"))
        else:
            console.note(f"epoch {event.epoch}/{event.epochs}  loss {event.loss:.4f}")


@app.command()
def ship_generators(
    names: Annotated[list[str], typer.Argument(help="Names of presets.")],
    runs: Annotated[Path, typer.Option(help="Folder of their runs.", file_okay=False)] = Path(
        "runs"
    ),
    out: Annotated[
        Path | None, typer.Option(help="Default: the folder in the package.", file_okay=False)
    ] = None,
) -> None:
    """Train presets, unless their runs are finished, and write the generators that ship.

    python -m mnistgan.maintain ship-generators best best-unconditional best-fashion
    """
    from mnistgan.maintain.ship_generators import ship, train_preset
    from mnistgan.pretrained import FOLDER
    from mnistgan.runs.events import EpochEnded

    for name in names:
        for event in train_preset(name, runs):
            if isinstance(event, EpochEnded):
                console.note(f"{name}: epoch {event.epoch}")
        facts = ship(name, runs, FOLDER if out is None else out)
        console.result(f"{name}: {facts['scores']}")


@app.command()
def write_documents(
    repository: Annotated[
        Path, typer.Option(help="Folder of the repository.", file_okay=False)
    ] = Path(),
) -> None:
    """Update the generated parts of the documentation and the results that ship."""
    from mnistgan.maintain.documents import documents

    for path, text in documents(repository):
        path.write_text(text, encoding="utf-8")
        console.result(str(path))


@app.command()
def measure_reference(
    dataset: DatasetOption = "mnist",
    name: NameOption = "mnist-judge-v1",
    judges: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the judge. Default: the folder in the package.", file_okay=False
        ),
    ] = None,
    out: OutOption = Path("judges"),
) -> None:
    """Measure the scores of real digits again without training the judge.

    python -m mnistgan.maintain measure-reference --out judges
    """
    from mnistgan.evaluation.reference import SHIPPED_FOLDER
    from mnistgan.files import check_output_file
    from mnistgan.maintain.measure_reference import remeasure

    check_output_file(out / f"{name}.safetensors", (".safetensors",))
    done = remeasure(dataset, name, SHIPPED_FOLDER if judges is None else judges, out)
    for difference in done.differences or []:
        console.note(f"differs: {difference}")
    if done.differences == []:
        console.note("the same as before")
    console.result(str(out / f"{name}-reference.safetensors"))


if __name__ == "__main__":
    app(prog_name="python -m mnistgan.maintain")
