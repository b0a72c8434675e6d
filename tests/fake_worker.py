"""A worker without torch: speaks the protocol, and does exactly what a test tells it to.

It answers "inspect" and "suggest" by itself; for downloads and scans it waits for lines (see
`FakeWorker.obey`), so that a test decides when what happens. `python fake_worker.py CONTROL` takes
them from the file CONTROL, and appends every request that comes in to CONTROL.log.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from spectrum_tui.core import wire
from spectrum_tui.core.events import (
    LayerDone,
    LayerFailed,
    LayerStarted,
    ScanEnded,
    ScanNote,
    ScanStarted,
)
from spectrum_tui.core.files import slug_of_name
from spectrum_tui.core.layer_types import Group, TypeInfo
from spectrum_tui.core.proof.store import is_proof
from spectrum_tui.core.requests import (
    Downloaded,
    DownloadProgress,
    Failed,
    Inspected,
    ModelSummary,
    Notice,
    Ready,
    Refined,
    Request,
    ResultReady,
    RunFound,
    Sized,
    Suggestions,
)
from spectrum_tui.core.saved.steps import is_training_run
from spectrum_tui.core.settings import DEMO

LAYERS = 6
TYPES = (
    TypeInfo(
        name="mlp.down_proj",
        group=Group.MLP,
        layers=LAYERS,
        parameters=LAYERS * 64,
        cost=LAYERS * 10.0,
    ),
    TypeInfo(
        name="input_layernorm",
        group=Group.NORMS,
        layers=LAYERS,
        parameters=LAYERS * 8,
        cost=0.0,
        one_dimensional=True,
    ),
)
REMOTE = "org/remote"
MODELS = ("good", "second", "third", "fourth", DEMO, "a[/b][red]")
JUNK = ("not json\n", '{"kind": "Nonsense"}\n', "[1]\n", "\n", '{"kind": "Ready"}\n')


def summary(model: str, *, local: bool = True) -> ModelSummary:
    origin: Any = "demo" if model == DEMO else "cache" if local else "hub"
    return ModelSummary(
        model=model, origin=origin, folder="/models/x" if local else "", revision="c0ffee" * 6,
        architecture="LlamaForCausalLM", parameters=1000, tensors=12, shards=1, nbytes=2000,
        local_bytes=2000 if local else 0, dtypes={"BF16": 2000}, types=TYPES, name=model,
        naming="the checkpoint",
    )  # fmt: skip


class FakeWorker:
    """`write` takes the lines of its answers."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write = write
        self.number = 0
        self.model = ""
        self.fetching = False
        self.folder = Path()
        self.scores: dict[str, dict[str, object]] = {}
        self.send(Ready(("cpu", "fake:0"), {"cpu": 1.0}))

    def send(self, message: object) -> None:
        self.write(f"{wire.encode(message)}\n")

    def receive(self, request: Request) -> None:
        getattr(self, request.task)(request)

    def inspect(self, request: Request) -> None:
        number, model = request.number, request.settings.model
        if model in MODELS:
            self.send(Inspected(number, summary(model)))
        elif is_training_run(Path(model)) or is_proof(Path(model)):
            self.send(RunFound(number, model))
        elif model == REMOTE:
            self.send(Inspected(number, summary(model, local=False)))
        elif model == "no-such-revision":
            self.send(Failed(number, _error("There is no revision v9.", "Check it.", "revision")))
        elif model != "silent":
            self.send(Failed(number, _error(f"There is no model {model}.", "Check it.", "model")))

    check = inspect

    def recount(self, request: Request) -> None:
        scored = {TYPES[0].name: len(self.scores)} if self.scores else {}
        self.send(Refined(request.number, replace(summary(request.settings.model), scored=scored)))

    def suggest(self, request: Request) -> None:
        self.send(Suggestions(("good", REMOTE), ()))

    def sizes(self, request: Request) -> None:
        if request.settings.sizes_from != "silent":
            self.send(Sized(request.number, request.scores, ""))

    def download(self, request: Request) -> None:
        self.number, self.model = request.number, request.settings.model

    def scan(self, request: Request) -> None:
        self.number, self.folder = request.number, Path(request.settings.output_dir)
        if request.settings.model != self.model:
            self.model, self.scores = request.settings.model, {}
        self.fetching = request.settings.model == REMOTE
        if not self.fetching:
            self.start_scan()

    def start_scan(self) -> None:
        self.send(
            ScanStarted(
                layers=LAYERS,
                cost=LAYERS * 10.0,
                types={"mlp.down_proj": LAYERS},
                device="cpu",
                batch_size=2,
                names=tuple(_layer(str(number))[0] for number in range(LAYERS)),
            )
        )

    def stop(self, request: Request) -> None:
        if self.fetching:
            self.send(ScanEnded("stopped", 0, 0))
        else:
            self.end("stopped")

    def end(self, reason: Any, said: str = "") -> None:
        self.send(ScanEnded(reason, len(self.scores), 0))
        if said:
            self.send(ScanNote(said))
        if self.scores:
            path = (
                self.folder / "model_snr_results" / f"snr_results_{slug_of_name(self.model)}.json"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.scores), encoding="utf-8")
            self.send(ResultReady(str(path), reason == "finished"))

    def obey(self, line: str) -> None:
        """`progress DONE TOTAL`, `notice TEXT`, `downloaded`, `refuse TEXT`, `changed TEXT`,
        `work N`, `layer N`, `bad N`, `finish [TEXT]`, `junk`, `die SIGNAL`, `exit CODE`; N is the
        number of a layer."""
        match line.split():
            case ["progress", done, total]:
                self.send(
                    DownloadProgress(
                        request=self.number, done=int(done), total=int(total), speed=100.0
                    )
                )
            case ["notice", *text]:
                self.send(Notice(self.number, " ".join(text)))
            case ["downloaded"] if self.fetching:
                self.fetching = False
                self.send(Downloaded(self.number, summary(REMOTE)))
                self.send(Refined(self.number, summary(REMOTE)))
                self.start_scan()
            case ["downloaded"]:
                self.send(Downloaded(self.number, summary(self.model)))
            case ["refuse" | "changed" as how, *text]:
                error = _error(" ".join(text), "Mend it.", "output_dir")
                kind = "ModelChangedError" if how == "changed" else error["kind"]
                self.send(Failed(self.number, error | {"kind": kind}))
            case ["work", n]:
                self.send(LayerStarted(*_layer(n)))
            case ["layer", n]:
                name, kind, shape = _layer(n)
                self.scores[name] = {"snr": 0.5 + int(n), "type": kind}
                self.send(
                    LayerDone(
                        layer=name,
                        type=kind,
                        shape=shape,
                        metrics={"spectrum": 0.5 + int(n)},
                        cost=10.0,
                        bytes=128,
                        seconds=0.1,
                    )
                )
            case ["bad", n]:
                name, kind, shape = _layer(n)
                self.send(
                    LayerFailed(
                        layer=name, type=kind, shape=shape, reason="contains NaN", cost=10.0
                    )
                )
            case ["finish", *said]:
                self.end("finished", " ".join(said))
            case ["junk"]:
                list(map(self.write, JUNK))
            case ["die", number]:
                os.kill(os.getpid(), signal.Signals[number])
            case ["exit", code]:
                os._exit(int(code))


def _layer(n: str) -> tuple[str, str, tuple[int, int]]:
    return f"model.layers.{n}.mlp.down_proj", "mlp.down_proj", (8, 8)


def _error(message: str, hint: str, field: str) -> dict[str, str]:
    return {"kind": "SpectrumError", "message": message, "hint": hint, "field": field}


def watch(control: Path, obeyed: int, worker: FakeWorker) -> None:
    """Obey the lines that come to `control` after the first `obeyed`."""
    while True:
        lines = control.read_text(encoding="utf-8").splitlines()
        for line in lines[obeyed:]:
            worker.obey(line)
        obeyed = len(lines)
        time.sleep(0.005)


def main(control: Path) -> None:
    # Lines that are there already were for a process that died.
    obeyed = len(control.read_text(encoding="utf-8").splitlines())
    worker = FakeWorker(lambda text: os.write(1, text.encode()))
    threading.Thread(target=watch, args=(control, obeyed, worker), daemon=True).start()
    for line in sys.stdin:
        with control.with_suffix(".log").open("a", encoding="utf-8") as log:
            log.write(line)
        worker.receive(wire.decode(line))
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
