"""`spectrum-tui prove`: train a model in several ways on people's own data, and compare."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from spectrum_tui.cli.options import Parser, add_options, settings_of
from spectrum_tui.cli.output import aligned
from spectrum_tui.cli.scores import load_scores
from spectrum_tui.cli.status_line import StatusLine
from spectrum_tui.core import numbers
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.files import output_folder, slug
from spectrum_tui.core.memory.presets import is_half, parse_batch, parse_gpus, parse_sequence
from spectrum_tui.core.numbers import counted, duration
from spectrum_tui.core.option import whole_number
from spectrum_tui.core.proof.methods import DEFAULT_METHODS, EXAMPLES, parse_methods
from spectrum_tui.core.proof.plan import (
    ASK_ABOVE,
    DTYPES,
    MOST_SEEDS,
    MOST_STEPS,
    parse_device,
    parse_price,
)
from spectrum_tui.core.proof.proof import Proof, proof_text
from spectrum_tui.core.proof.rates import parse_rates
from spectrum_tui.core.proof.rows import Conditions, Outcome, Progress, Row
from spectrum_tui.core.proof.store import PLOT, PROOF, TABLE
from spectrum_tui.core.proof.summary import ended
from spectrum_tui.core.proof.table import cells
from spectrum_tui.core.results.results import Result
from spectrum_tui.core.text import safe
from spectrum_tui.proving.preparing import NO_KEPT, Asked, Prepared, conditions_of, prepare
from spectrum_tui.proving.runner import Runner
from spectrum_tui.stdio.streams import PROGRAM, draw, put, put_lines, say
from spectrum_tui.stdio.terminal_signals import TerminalSignals

_DEFAULT = Conditions(model="", train="", held_out="")


def run(arguments: Sequence[str]) -> int:
    """Train the rows and write the proof; returns the exit code, raises SpectrumError."""
    options = make_parser().parse_args(arguments)
    prepared = _prepared(options)
    _introduce(prepared)
    with TerminalSignals(draw, settings_of(options).signals) as signals:
        talk = _Talk(signals, agreed=options.yes, sweeps=bool(prepared.plan.swept))
        runner = Runner(prepared, talk, again=options.again)
        try:
            proof = runner.run()
        except KeyboardInterrupt:
            talk.clear()
            say("interrupted: every finished row is kept; the same command goes on from there")
            return 130
        finally:
            talk.clear()
        signals.over(f"{proof.model}: {proof.verdict.lines[0] if proof.verdict.lines else ''}")
    return _tell(proof, prepared.asked.folder, options)


# -- what is asked for -----------------------------------------------------------------------------


def prepared_by(arguments: Sequence[str]) -> Prepared:
    """Return what arguments of this command ask for, before its first row; raises SpectrumError."""
    return _prepared(make_parser().parse_args(arguments))


def _prepared(options: argparse.Namespace) -> Prepared:
    settings = settings_of(options)
    result = load_scores(options, settings).with_metric(settings.metric)
    return prepare(_asked(options, result))


def _asked(options: argparse.Namespace, result: Result) -> Asked:
    methods = parse_methods(options.methods)
    conditions = _conditions(options, conditions_of(result, options.model))
    name = f"proof_{slug(result.provenance.model or conditions.model)}"
    return Asked(
        result=result,
        scores=options.results,
        folder=output_folder(options.output or name),
        data=tuple(options.data),
        held_out=tuple(options.eval or ()),
        kept=tuple(options.keep or ()),
        methods=methods,
        rates=parse_rates(options.lr, methods) if options.lr is not None else {},
        steps=_whole(options.steps, MOST_STEPS, "steps"),
        seeds=_whole(options.seeds, MOST_SEEDS, "seeds"),
        embeddings=not options.no_embeddings,
        conditions=conditions,
        price=parse_price(options.price),
    )


def _conditions(options: argparse.Namespace, known: Conditions) -> Conditions:
    return replace(
        known,
        batch=parse_batch(options.batch),
        sequence=parse_sequence(options.sequence),
        processes=parse_gpus(options.gpus),
        device=parse_device(options.device),
        dtype=options.dtype,
        checkpointing=options.checkpointing,
        judged=_whole(options.judged, MOST_STEPS, "judged"),
    )


def _whole(text: str, most: int, name: str) -> int:
    return whole_number(text, 1, most, name, f"--{name}", f"1 to {most:,}")


def _introduce(prepared: Prepared) -> None:
    """Say what is compared, on what, and what it takes in memory."""
    asked, conditions = prepared.asked, prepared.conditions
    methods = ", ".join(method.text for method in asked.methods)
    say(f"{safe(asked.model)}: {methods}; {counted(asked.seeds, 'seed')} each")
    for note in prepared.notes:
        say(note)
    if prepared.warning:
        say(f"note: {prepared.warning}")
    tokens = conditions.batch * conditions.sequence
    say(
        f"{counted(asked.steps, 'step')} of {conditions.batch} × {conditions.sequence:,} tokens: "
        f"up to {numbers.count(asked.steps * tokens)} tokens a row"
    )
    half = is_half(conditions.device, conditions.dtype)
    needs = prepared.memory(half=half)
    if needs:
        each = (f"{method} {numbers.size(needs[method].total)}" for method in needs)
        say(f"memory, an estimate in {'bfloat16' if half else 'float32'}: {', '.join(each)}")


# -- while it runs ---------------------------------------------------------------------------------


class _Talk:
    """Progress on stderr: a line for each row, and below it what the row does."""

    def __init__(self, signals: TerminalSignals, *, agreed: bool, sweeps: bool) -> None:
        self._signals = signals
        self._sweeps = sweeps
        self._agreed = agreed
        self._line = StatusLine()
        self._count = ""
        self._share = 0.0

    def clear(self) -> None:
        """Take the line away that is redrawn."""
        self._line.clear()

    def on_row(self, row: Row, number: int, expected: int) -> None:
        """Remember which row it is."""
        about = "about " if self._sweeps and not row.seed else ""
        self._count = f"row {number} of {about}{expected}: {_named(row)}"
        self._share = (number - 1) / expected

    def on_progress(self, row: Row, progress: Progress) -> None:
        """Show what it does."""
        self._signals.work(self._share, "proof")
        if not self._line.is_due():
            return
        text = f"{self._count}: {progress.doing}"
        if progress.doing == "training":
            text += f", step {progress.step} of {progress.steps}, loss {progress.loss:.3f}"
        self._line.show(safe(text))

    def on_outcome(self, row: Row, outcome: Outcome, *, kept: bool) -> None:
        """Say in a line what came of it."""
        self.clear()
        say(f"{_named(row)}: {_came_to(outcome)}{' (kept)' if kept else ''}")

    def on_estimate(self, seconds: float) -> None:
        """Say how long it takes; above an hour, ask: raises InputError where nobody agrees."""
        self.clear()
        say(f"all rows take about {duration(seconds)}")
        if seconds <= ASK_ABOVE or self._agreed:
            return
        if not (self._line.on_terminal and sys.stdin.isatty()):
            raise InputError(
                f"The rows take about {duration(seconds)}, and nobody is there to be asked.",
                "Agree with --yes, or take fewer --steps, --seeds or --methods.",
                field="yes",
            )
        draw("go on? [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise InputError("Not agreed.", "Take fewer --steps, --seeds or --methods.")

    def on_note(self, text: str) -> None:
        """Say it."""
        self.clear()
        say(f"note: {text}")


def _named(row: Row) -> str:
    rate = f"rate {row.rate:g}"
    return f"{safe(row.method)}, {rate}" + ("" if row.trial else f", seed {row.seed}")


def _came_to(outcome: Outcome) -> str:
    if outcome.error or outcome.before is None or outcome.after is None:
        return safe(f"failed: {outcome.error} {outcome.hint}".strip())
    kept = ""
    if outcome.before.kept is not None and outcome.after.kept is not None:
        kept = f", kept text {outcome.before.kept:.3f} → {outcome.after.kept:.3f}"
    losses = f"{outcome.before.held_out:.3f} → {outcome.after.held_out:.3f}"
    text = "trial's" if outcome.trial else "held-out"
    return f"{text} loss {losses}{kept}, {duration(outcome.seconds)}"


# -- what it came to -------------------------------------------------------------------------------


def _tell(proof: Proof, folder: Path, options: argparse.Namespace) -> int:
    failed = sum(not ended(outcome) for outcome in proof.outcomes if not outcome.trial)
    if options.json:
        put(proof_text(proof))
    else:
        put_lines(_lines(proof))
        say(f"wrote {folder / PROOF}, {TABLE} and {PLOT}")
    untrained = len(proof.methods) - len({one.method for one in proof.outcomes if ended(one)})
    if failed or untrained:
        say(f"{counted(failed or untrained, 'row')} failed: --again runs them again")
    return 1 if failed or untrained else 0


def _lines(proof: Proof) -> Iterator[str]:
    yield from aligned(cells(proof, wide=False))
    yield ""
    yield from proof.verdict.lines


def make_parser() -> Parser:
    """Return the options of this command."""
    parser = Parser(
        prog=f"{PROGRAM} prove",
        description="Train a model in several ways on your own data, each row in a process of its "
        "own, and say what the losses allow to be said. What is finished is kept: the same command "
        "goes on.",
        epilog=f"methods: {', '.join(EXAMPLES)}",
    )
    add = parser.add_argument
    add("results", metavar="SCORES.json", help="a saved score file")
    add("--data", nargs="+", metavar="FILE", required=True, help="texts to train on: JSONL, JSON, "
        "CSV, Parquet, text, folders of those, builtin:pydoc, builtin:stdlib")  # fmt: skip
    add("--eval", nargs="+", metavar="FILE", help="texts to judge by (a tenth of the data)")
    add("--keep", nargs="+", metavar="FILE", help="texts that must not be forgotten "
        f"(builtin:pydoc); {NO_KEPT} for none")  # fmt: skip
    _add_rows(parser)
    _add_training(parser)
    add("--yes", action="store_true", help="do not ask where it takes more than an hour")
    add("--again", action="store_true", help="run rows again that failed")
    add("--json", action="store_true", help="print proof.json")
    add("-o", "--output", metavar="FOLDER", help="where all of it goes (proof_MODEL)")
    add_options(parser, "metric", "sizes_from", "signals")
    return parser


def _add_rows(parser: Parser) -> None:
    add = parser.add_argument_group("rows").add_argument
    add("--methods", default=DEFAULT_METHODS, metavar="LIST",
        help=f"ways to train, with commas ({DEFAULT_METHODS})")  # fmt: skip
    add("--lr", metavar="RATES", help="rate for all, or full=2e-5,lora=2e-4 (a short sweep finds "
        "that of each method)")  # fmt: skip
    add("--steps", default="200", metavar="N", help="training steps of a row (200)")
    add("--seeds", default="3", metavar="N", help="rows of each method (3)")
    add("--judged", default=str(_DEFAULT.judged), metavar="N", help="most sequences of each text "
        "that losses are measured on (64)")  # fmt: skip
    add("--no-embeddings", action="store_true", help="keep embeddings and heads frozen")
    add("--price", default="0", metavar="P", help="price of an hour, for a column of costs")


def _add_training(parser: Parser) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--model", default="", metavar="MODEL", help="where the model is (as it was scanned)")
    add("--batch", default=str(_DEFAULT.batch), metavar="N", help="sequences of a step (2)")
    add("--sequence", default=str(_DEFAULT.sequence), metavar="N", help="their tokens (512)")
    add("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps (auto)")
    add("--gpus", default="1", metavar="N", help="processes that share each batch (1)")
    add("--dtype", default="auto", choices=DTYPES, help="type of the weights (auto: bfloat16 on a "
        "GPU, as TRL and axolotl train; float32 elsewhere)")  # fmt: skip
    add("--checkpointing", action=argparse.BooleanOptionalAction, default=False,
        help="less memory, more time")  # fmt: skip
