"""The commands: strings come in, a use case runs, a few lines go out.

The use cases are imported inside the functions, so that `--help` starts without torch.
"""

import sys
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mnistgan import __version__, console
from mnistgan.errors import ConfigError, MnistganError
from mnistgan.signals import StopRequest


class Group(TyperGroup):
    """The one place where what a user can cause becomes a message and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except ConfigError as error:
            for problem in str(error).split("\n"):
                console.error(problem)
        except MnistganError as error:
            console.error(str(error))
        except OSError as error:
            if error.strerror is None:
                raise
            place = f"{error.filename}: " if error.filename else ""
            console.error(f"{place}{error.strerror}")
        except (MemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
            console.error(
                "there is not enough memory; a smaller data.batch_size, model.width or --n may fit"
            )
        sys.exit(1)


def _lacks_memory(error: Exception) -> bool:
    """Whether Python, a device or the CPU ran out of memory; torch has no type for the last."""
    device_error = getattr(sys.modules.get("torch"), "OutOfMemoryError", ())
    return isinstance(error, (MemoryError, device_error)) or "DefaultCPUAllocator: " in str(error)


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, sample, draw and animate GANs on MNIST.",
)

RunsOption = Annotated[
    Path, typer.Option(help="Folder that holds the runs.", show_default=True, file_okay=False)
]
CheckpointOption = Annotated[
    str,
    typer.Option(help="A checkpoint, a run, or a file name such as latest.pt: the newest run's."),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
SEED_RANGE: dict[str, int] = {"min": 0, "max": 2**63 - 1}


def _version(wanted: bool) -> None:
    if wanted:
        console.result(f"mnistgan {__version__}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train, sample, draw and animate GANs on MNIST."""


@app.command()
def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as training.epochs=2."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="A YAML file, or the name of a preset. Default: fast.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the new run. Default: exp1, exp2, ...")
    ] = None,
    runs: RunsOption = Path("runs"),
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with this run instead.")
    ] = None,
    device: DeviceOption = "auto",
    seed: Annotated[
        int | None, typer.Option(help="Instead of the configuration's seed.", **SEED_RANGE)
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only.")] = False,
    no_preview: Annotated[
        bool, typer.Option("--no-preview", help="Show no digits beside the bars.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, check all, write nothing.")
    ] = False,
) -> None:
    """Train a GAN into a new run folder, or go on with a run.

    mnistgan train --config mlp training.epochs=5 data.batch_size=64
    """
    words = list(overrides or [])
    beside = {"--config": config, "--name": name, "--seed": seed}
    refused = [option for option, value in beside.items() if value is not None]
    if resume is not None and refused:
        raise MnistganError(f"--resume takes all from the run; leave out {', '.join(refused)}")

    from mnistgan.commands import train as use_case

    if resume is None:
        words += [] if seed is None else [f"training.seed={seed}"]
        plan = use_case.plan_new(
            "fast" if config is None else config,
            words,
            runs=runs,
            name=name,
            device=device,
            offline=offline,
            dry_run=dry_run,
            announce=console.note,
        )
    else:
        plan = use_case.plan_resume(
            resume,
            words,
            runs=runs,
            device=device,
            offline=offline,
            dry_run=dry_run,
            announce=console.note,
        )
    if dry_run:
        console.result(f"run     {plan.folder}")
        console.results.print(console.plan_table(plan))
    elif not quiet:
        console.messages.print(console.plan_table(plan))
    for text in plan.notes:
        console.warning(text)
    if dry_run:
        return
    if plan.is_finished:
        console.result(
            f"{plan.folder} is finished at step {plan.trainer.step:,}; to go on: "
            f"mnistgan train --resume {quote(str(plan.folder))} {plan.binding_key}=..."
        )
        return

    with StopRequest() as stop:
        with console.training_progress(plan, quiet, preview=not no_preview) as progress:
            events = use_case.run_plan(plan, stop, preview=progress.wants_previews)
            for event in progress.follow(events):
                finished = event
        assert isinstance(finished, use_case.Finished)
    console.training_summary(finished, progress.elapsed_seconds, quiet)
    if stop.signal is not None and not finished.complete:
        raise typer.Exit(128 + stop.signal)


@app.command()
def sample(
    ckpt: CheckpointOption = "latest.pt",
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            "-n",
            min=1,
            max=1_000_000,
            help="How many: digits (64), of each of a range (10), lines of text (1).",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Picture i of a seed is always the same.", **SEED_RANGE)
    ] = 0,
    digit: Annotated[
        str | None,
        typer.Option(help="Only this one, or such as 0-9 in rows, by a conditional model."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Such as 2024-11: a line of digits in one handwriting.")
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(min=0.01, max=100, help="Redraw components of z beyond this: less varied."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="NAME.png: a grid; NAME.npz: an array; NAME/: a folder of PNG files."),
    ] = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
) -> None:
    """Draw digits from a trained generator.

    mnistgan sample --ckpt latest.pt --n 64
    """
    from mnistgan.commands.sample import sample as use_case

    done = use_case(
        ckpt,
        runs=runs,
        count=n,
        seed=seed,
        digit=digit,
        text=text,
        truncation=truncation,
        out=out,
        device=device,
    )
    console.note(f"{done.count:,} digits from {done.checkpoint}")
    console.result(str(done.out))


@app.command()
def interpolate(
    ckpt: CheckpointOption = "latest.pt",
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=1_000, help="How many walks.")] = 9,
    steps: Annotated[
        int | None,
        typer.Option(min=2, max=10_000, help="Columns, or frames. Default: enough to look smooth."),
    ] = None,
    from_seed: Annotated[
        int, typer.Option(help="Walk i begins at its picture i.", **SEED_RANGE)
    ] = 0,
    to_seed: Annotated[
        int | None,
        typer.Option(help="And ends at the z of this one's. Default: the next.", **SEED_RANGE),
    ] = None,
    classes: Annotated[
        bool,
        typer.Option("--classes", help="Through all digits in one style, by a conditional model."),
    ] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.1, max=50, help="Frames a second. Default: 20.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="NAME.png: walks in rows; NAME.gif, NAME.webp: an animation that loops."),
    ] = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
) -> None:
    """Walk from digit to digit through the latent space.

    mnistgan interpolate --ckpt latest.pt --out walk.gif
    """
    from mnistgan.commands.interpolate import interpolate as use_case

    done = use_case(
        ckpt,
        runs=runs,
        count=n,
        steps=steps,
        from_seed=from_seed,
        to_seed=to_seed,
        classes=classes,
        fps=fps,
        out=out,
        device=device,
    )
    console.note(f"{n:,} walks by {done.checkpoint}")
    console.result(str(done.out))


@app.command()
def plot_losses(
    run: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run folders, or their names.")
    ],
    out: Annotated[str | None, typer.Option(help="A .png or .svg file.")] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Draw the losses and D's outputs of one run, or of several in one picture.

    mnistgan plot-losses runs/exp1
    """
    from mnistgan.commands.plot_losses import plot_losses as use_case

    done = use_case(run, runs=runs, out=out)
    console.note(f"losses of {', '.join(str(path) for path in done.runs)}")
    console.result(str(done.out))


@app.command()
def make_gif(
    run: Annotated[str, typer.Argument(help="A run folder, or its name.")],
    fps: Annotated[float, typer.Option(min=0.1, max=50, help="Pictures a second.")] = 5.0,
    out: Annotated[str | None, typer.Option(help="A .gif or .webp file.")] = None,
    runs: RunsOption = Path("runs"),
) -> None:
    """Animate the pictures of a run: watch it learn.

    mnistgan make-gif runs/exp1
    """
    from mnistgan.commands.make_gif import make_gif as use_case

    done = use_case(run, runs=runs, fps=fps, out=out)
    console.note(f"{done.frames} pictures of {done.run}")
    console.result(str(done.out))


@app.command()
def evaluate(
    target: Annotated[
        str, typer.Argument(help="A run, a checkpoint, an .npz, .npy or IDX file, a PNG folder.")
    ],
    n: Annotated[
        int | None,
        typer.Option(
            "--n", min=100, max=100_000, help="How many digits. Default: 10,000; stacked: 26,000."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the samples of a generator.", **SEED_RANGE)] = 0,
    dataset: Annotated[
        str | None,
        typer.Option(help="The real digits. Default: the run's data set, or mnist."),
    ] = None,
    cas: Annotated[
        bool, typer.Option("--cas", help="Also train classifiers on the samples, test on real.")
    ] = False,
    panel: Annotated[
        str | None,
        typer.Option(help="A .png of samples beside the nearest training digits."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of a table.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(help="Also write the JSON object into this .json file."),
    ] = None,
    runs: RunsOption = Path("runs"),
    device: DeviceOption = "auto",
) -> None:
    """Score digits: how real, how varied, how readable, and whether they are copies.

    mnistgan evaluate runs/exp1
    """
    from mnistgan.commands import evaluate as use_case

    record_at = None if out is None else use_case.check_record(out)
    work = use_case.evaluate(
        target, runs=runs, count=n, seed=seed, dataset=dataset, device=device, panel=panel, cas=cas
    )
    done = console.follow_work(work)
    if record_at is not None:
        use_case.write_record(record_at, done.record)
    for text in done.notes:
        console.warning(text)
    console.show_evaluation(done.record, as_json=as_json)
    for path in (panel, out, done.written):
        if path:
            console.note(f"written: {path}")


@app.command(rich_help_panel="For maintainers")
def train_judge(
    dataset: Annotated[str, typer.Option(help="A data set by name.")] = "mnist",
    name: Annotated[str, typer.Option(help="Name of the files.")] = "mnist-judge-v1",
    out: Annotated[Path, typer.Option(help="Folder to write them into.", file_okay=False)] = Path(
        "judges"
    ),
) -> None:
    """Train the judge that `evaluate` scores with, from the whole data set.

    mnistgan train-judge --out judges
    """
    from mnistgan.commands.train_judge import Trained
    from mnistgan.commands.train_judge import train_judge as use_case
    from mnistgan.files import check_output

    check_output(out / f"{name}.safetensors", (".safetensors",))
    for event in use_case(dataset, name, out):
        if isinstance(event, Trained):
            console.note(f"accuracy on real test digits: {100 * event.reference.accuracy:.2f} %")
            console.note(f"SHA-256 of the weights: {event.reference.judge_sha256}")
            console.result(str(event.folder / f"{name}.safetensors"))
        else:
            console.note(f"epoch {event.epoch}/{event.epochs}  loss {event.loss:.4f}")
