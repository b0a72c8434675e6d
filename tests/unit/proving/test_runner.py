"""The rows of a proof one after the other: what is kept, what is run again, how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.checkpoint.identity import take_as
from spectrum_tui.core.dataset.kept_examples import read_examples
from spectrum_tui.core.errors import (
    CheckpointError,
    DataError,
    InputError,
    OutputError,
    ResultsError,
)
from spectrum_tui.core.proof.methods import parse_methods
from spectrum_tui.core.proof.proof import Proof
from spectrum_tui.core.proof.rows import KILLED, Job, Outcome, Progress, Row
from spectrum_tui.core.proof.store import read_proof
from spectrum_tui.core.results.results import Result
from spectrum_tui.proving import model_files
from spectrum_tui.proving.ends import ended
from spectrum_tui.proving.preparing import Prepared, conditions_of, prepare
from spectrum_tui.proving.process import RowProcess
from spectrum_tui.proving.runner import Runner, StoppedError
from tests import checkpoints, made
from tests.unit.proving.fake_row import fake_outcome
from tests.unit.proving.proofs import FAKE, Heard, Processes, asked
from tests.unit.proving.texts import document

ROWS = ["top:50/0", "random:50/0", "top:50/1", "random:50/1"]


class FakeProcess(RowProcess):
    """A row that is over at once, as `wanted` says; one that is to sleep waits for its end."""

    def __init__(self, wanted: dict[str, str], started: list[str]) -> None:
        super().__init__()
        self._wanted = wanted
        self._started_rows = started
        self._ended = threading.Event()

    def run(self, job: Job, tell: Callable[[Progress], None]) -> tuple[Outcome | None, bool]:
        row = job.row
        name = f"{row.method}/{row.seed}"
        self._started_rows.append(name + ("/trial" if row.trial else ""))
        tell(Progress(doing="judging", steps=row.steps))
        for step in range(1, row.steps + 1):
            tell(Progress(doing="training", step=step, steps=row.steps, loss=2.0))
        how = self._wanted.get(name, "done")
        if how == "sleep":
            assert self._ended.wait(20)
            return None, False
        failed = ended(row, "It would not.", "Do it otherwise.")
        return (failed if how == "failed" else fake_outcome(job)), True

    def end(self) -> None:
        self._ended.set()


class Table:
    """A proof that is run again and again, by rows that train nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wanted: dict[str, str] = {}
        self.started: list[str] = []

    def runner(self, heard: Heard, *, again: bool = False, **how: str) -> Runner:
        prepared = prepare(asked(self.folder, **how))
        return Runner(
            prepared, heard, again=again, start=lambda: FakeProcess(self.wanted, self.started)
        )

    def run(self, *, again: bool = False, **how: str) -> tuple[Proof, Heard]:
        heard = Heard()
        return self.runner(heard, again=again, **how).run(), heard


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    monkeypatch.setenv("PYTHONPATH", str(FAKE.parents[3]))
    return Processes(tmp_path)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


# -- a whole run ----------------------------------------------------------------------------------


def test_all_rows_run_and_what_they_came_to_is_written(table: Table) -> None:
    proof, heard = table.run()
    assert table.started == ROWS == [name for name, _ in heard.outcomes]
    assert heard.rows == [f"{n}/4 {name}" for n, name in enumerate(ROWS, 1)]
    assert len(heard.estimates) == 1
    folder = table.folder / "proof"
    assert read_proof(folder) == proof
    names = {path.name for path in folder.iterdir()}
    assert names >= {"proof.json", "proof.md", "proof.svg"} and "prove.lock" not in names
    assert [f"{one.method}/{one.seed}" for one in proof.outcomes] == ROWS
    assert proof.texts["train"].documents + proof.texts["held_out"].documents == 20
    assert proof.texts["train"].tokens > 100 and proof.verdict.lines


def test_the_same_command_runs_nothing_twice(table: Table) -> None:
    first, _ = table.run()
    second, heard = table.run()
    assert len(table.started) == 4
    assert heard.outcomes == [(name, True) for name in ROWS]
    assert heard.estimates == []
    assert replace(second, written=first.written) == first


def test_other_data_are_other_rows(table: Table) -> None:
    table.run()
    (table.folder / "texts" / "more.txt").write_text(document(99))
    table.run()
    assert table.started == 2 * ROWS


def test_rates_are_looked_for_and_the_trials_kept(table: Table) -> None:
    proof, _ = table.run(methods="top:50", lr="")
    assert proof.rates == {"top:50": 2e-4} and proof.found == ("top:50",)
    documents = {name: one.documents for name, one in proof.texts.items()}
    assert sum(documents.values()) - documents["kept"] == 20 and documents["tuning"] >= 1
    assert table.started == 3 * ["top:50/0/trial"] + ["top:50/0", "top:50/1"]
    assert [one.trial for one in proof.outcomes] == [True] * 3 + [False] * 2
    _, heard = table.run(methods="top:50", lr="")
    assert all(kept for _, kept in heard.outcomes)


def test_a_rate_is_looked_for_directly_before_the_first_row_of_its_method(table: Table) -> None:
    proof, heard = table.run(methods="full,top:50", lr="")
    full, top = 4 * ["full/0/trial"], 3 * ["top:50/0/trial"]
    assert table.started == [*full, "full/0", *top, "top:50/0", "full/1", "top:50/1"]
    # Three trials each are expected; the best of the first ones is the highest, and one beyond it.
    counts = [line.split()[0] for line in heard.rows]
    assert counts == ["1/10", "2/10", "3/10", *(f"{number}/11" for number in range(4, 12))]
    assert sorted(proof.rates) == ["full", "top:50"] == sorted(proof.found)


def test_a_sweep_without_a_rate_leaves_out_the_rows_of_its_method_alone(table: Table) -> None:
    table.wanted["full/0"] = "failed"
    proof, heard = table.run(methods="full,top:50", lr="")
    assert table.started == ["full/0/trial", *3 * ["top:50/0/trial"], "top:50/0", "top:50/1"]
    assert [line.split()[0] for line in heard.rows] == ["1/10", *(f"{n}/6" for n in range(2, 7))]
    assert list(proof.rates) == ["top:50"]
    assert "Not finished" not in (table.folder / "proof" / "proof.md").read_text()


def test_stopped_in_a_later_sweep_it_goes_on_there_and_is_not_finished(table: Table) -> None:
    class Stopping(Heard):
        def on_row(self, row: Row, number: int, expected: int) -> None:
            if row.method == "random:50":
                raise InputError("Enough.")

    runner = table.runner(Stopping(), methods="top:50,random:50", lr="")
    with pytest.raises(InputError):
        runner.run()
    first = [*3 * ["top:50/0/trial"], "top:50/0"]
    assert table.started == first
    words = "Not finished: 1 of 4 rows has run. The same command goes on."
    assert words in (table.folder / "proof" / "proof.md").read_text()
    table.run(methods="top:50,random:50", lr="")
    rest = [*3 * ["random:50/0/trial"], "random:50/0", "top:50/1", "random:50/1"]
    assert table.started == [*first, *rest]


# -- rows that fail -------------------------------------------------------------------------------


def test_a_row_that_failed_is_run_again_only_when_asked(table: Table) -> None:
    table.wanted["top:50/1"] = "failed"
    proof, _ = table.run()
    assert [one.error for one in proof.outcomes] == ["", "", "It would not.", ""]
    table.wanted.clear()
    proof, _ = table.run()
    assert len(table.started) == 4 and proof.outcomes[2].hint == "Do it otherwise."
    proof, _ = table.run(again=True)
    assert table.started[4:] == ["top:50/1"]
    assert [one.error for one in proof.outcomes] == [""] * 4


def test_a_row_that_the_system_killed_says_so_and_is_tried_again(processes: Processes) -> None:
    processes.want("random:50/0 killed")
    proof, _ = processes.run()
    first, killed = proof.outcomes
    assert killed.error == KILLED and first.error == ""
    assert killed.hint.startswith("Less is needed with --batch 1, ")
    processes.want("")
    again, _ = processes.run()
    assert processes.started == ["top:50/0", "random:50/0", "random:50/0"]
    assert [one.error for one in again.outcomes] == ["", ""]


def test_a_process_that_says_nothing_is_an_error(processes: Processes) -> None:
    processes.want("top:50/0 broken")
    proof, _ = processes.run()
    assert proof.outcomes[0].error == "The process of the row ended with exit code 3."
    assert "row-" in proof.outcomes[0].hint


def test_what_a_process_says_is_heard(processes: Processes) -> None:
    processes.want("")
    proof, heard = processes.run()
    assert [one.doing for one in heard.said] == 2 * (["loading", "judging"] + 8 * ["training"])
    assert proof.outcomes[0].tokens == 64 * 8 and proof.outcomes[0].error == ""


def test_a_damaged_row_is_run_again(table: Table) -> None:
    table.run()
    path = sorted((table.folder / "proof" / "rows").iterdir())[0]
    path.write_text(path.read_text()[:-20])
    _, heard = table.run()
    assert len(table.started) == 5
    assert len(heard.notes) == 1 and "counts as not run" in heard.notes[0]


# -- stopped --------------------------------------------------------------------------------------


def test_stopping_ends_the_row_and_keeps_those_before(table: Table) -> None:
    table.wanted["top:50/1"] = "sleep"
    heard = Heard()
    runner = table.runner(heard)
    ends: list[BaseException] = []

    def run() -> None:
        try:
            runner.run()
        except StoppedError as exc:
            ends.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: len(table.started) == 3)
    runner.stop()
    thread.join(20)
    assert len(ends) == 1
    kept = [f"{one.method}/{one.seed}" for one in read_proof(table.folder / "proof").outcomes]
    assert kept == ROWS[:2] == [f"{one.method}/{one.seed}" for one in runner.proof.outcomes]
    table.wanted.clear()
    proof, _ = table.run()
    assert table.started == [*ROWS[:3], *ROWS[2:]] and len(proof.outcomes) == 4


def test_a_listener_that_does_not_agree_ends_the_run(processes: Processes) -> None:
    class Refusing(Heard):
        def on_estimate(self, seconds: float) -> None:
            raise InputError("Not agreed.")

    processes.want("* sleep")
    command = [sys.executable, "-P", str(FAKE), str(processes.control)]
    prepared = prepare(asked(processes.folder))
    with pytest.raises(InputError):
        Runner(prepared, Refusing(), start=lambda: RowProcess(command)).run()
    (pid,) = processes.pids
    assert not is_alive(pid)
    assert not (processes.folder / "proof" / "proof.json").exists()


def test_a_row_ends_with_its_parent_and_the_same_command_goes_on(processes: Processes) -> None:
    processes.want("random:50/0 sleep")
    code = (
        "import sys; from pathlib import Path; "
        "from tests.unit.proving.proofs import Processes; Processes(Path(sys.argv[1])).run()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(processes.folder)])
    wait_for(lambda: len(processes.started) == 2)
    with pytest.raises(OutputError, match="Another run works in"):
        processes.run()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not is_alive(processes.pids[1]))
    processes.want("")
    proof, heard = processes.run()
    assert heard.outcomes == [("top:50/0", True), ("random:50/0", False)]
    assert processes.started == ["top:50/0", "random:50/0", "random:50/0"]
    assert [one.error for one in proof.outcomes] == ["", ""]


# -- before a run ---------------------------------------------------------------------------------


def test_what_cannot_be_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        prepare(replace(asked(tmp_path), data=(str(tmp_path / "nothing"),)))
    with pytest.raises(ResultsError):
        prepare(replace(asked(tmp_path), methods=parse_methods("metric:stable_rank:25")))
    assert not (tmp_path / "proof").exists()


def test_rates_are_found_by_a_text_of_their_own(tmp_path: Path) -> None:
    prepared = prepare(asked(tmp_path, "top:50", lr=""))
    prepared.write_texts()
    plan, known = prepared.plan, prepared.conditions
    trial = prepared.job(plan.trial(plan.methods[0], 1e-4)).conditions
    row = prepared.job(plan.row(plan.methods[0], 0, 1e-4)).conditions
    assert row == known and len(known.digests) == 3 and not trial.kept
    sides = [
        {one.text for one in read_examples(Path(file), digest)}
        for file, digest in (
            (known.train, known.digests[0]),
            (known.held_out, known.digests[1]),
            (trial.held_out, trial.digests[1]),
        )
    ]
    assert trial.train == known.train and all(sides)
    assert sum(map(len, sides)) == len(set[str]().union(*sides)) == 20
    assert set(prepare(asked(tmp_path, "top:50")).texts) == {"train", "held_out", "kept"}


def of_folder(tmp_path: Path, result: Result, model: Path) -> Prepared:
    return prepare(
        replace(asked(tmp_path), result=result, conditions=conditions_of(result, str(model)))
    )


def test_another_model_in_the_same_folder_is_other_rows(tmp_path: Path) -> None:
    model = checkpoints.save(tmp_path / "model", checkpoints.llama())
    (model / "tokenizer.json").write_text("{}")
    result = made.with_parameters(made.result())
    scored = replace(result, checkpoint=read_checkpoint(model).fingerprint)
    first = of_folder(tmp_path, scored, model)
    assert first.conditions.files and first.warning == ""
    assert of_folder(tmp_path, scored, model).conditions == first.conditions
    os.utime(model / "model.safetensors", (1, 1))
    again = of_folder(tmp_path, scored, model)
    assert (again.conditions, again.warning) == (first.conditions, "")
    keys = {first.conditions.files}
    (model / "tokenizer.json").write_text("{ }")
    keys.add(of_folder(tmp_path, scored, model).conditions.files)
    checkpoints.save(tmp_path / "model", checkpoints.llama(hidden=16))
    changed = of_folder(tmp_path, scored, model)
    assert len(keys | {changed.conditions.files}) == 3
    assert changed.warning.startswith("the files of the model are not those that were scored")
    assert of_folder(tmp_path, result, model).warning == ""


def test_rows_by_a_former_name_of_the_weights_are_found_again(tmp_path: Path) -> None:
    """Scores that were taken under it have the rows that they had."""
    model = checkpoints.save(tmp_path / "model", checkpoints.llama())
    (model / "tokenizer.json").write_text("{}")
    result = made.with_parameters(made.result())
    former = read_checkpoint(model).identity.by_system
    scored = of_folder(tmp_path, replace(result, checkpoint=former), model)
    assert scored.warning == ""
    take_as(former, read_checkpoint(model).fingerprint)
    os.utime(model / "model.safetensors", (1, 1))
    again = of_folder(tmp_path, replace(result, checkpoint=former), model)
    assert (again.conditions, again.warning) == (scored.conditions, "")
    other = of_folder(tmp_path, replace(result, checkpoint="0" * 64), model)
    assert other.warning and other.conditions.files != scored.conditions.files


def test_another_commit_with_the_weights_that_were_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints.save(tmp_path / "m", checkpoints.llama())
    monkeypatch.setattr(model_files, "find_local", lambda name, commit="": (folder, "b" * 40))
    plain = made.with_parameters(made.result())
    origin = replace(plain.provenance, revision="a" * 40)
    scored = replace(plain, provenance=origin, checkpoint=read_checkpoint(folder).fingerprint)
    usual = asked(tmp_path)
    there = replace(conditions_of(scored), revision="b" * 40)
    assert prepare(replace(usual, result=scored, conditions=there)).warning == ""
    other = replace(scored, checkpoint="0" * 64)
    assert prepare(replace(usual, result=other, conditions=there)).warning


def test_a_model_of_the_hub_is_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "find_local", lambda name: (tmp_path, f"commit of {name}"))
    result = made.with_parameters(made.result())
    usual = asked(tmp_path)
    assert prepare(usual).conditions.revision == result.provenance.revision
    other = prepare(replace(usual, conditions=conditions_of(result, "org/other")))
    assert other.conditions.revision == "commit of org/other" and not other.conditions.files
    assert other.warning.startswith("the model is not the one that was scored")


def test_a_folder_without_a_tokenizer_is_refused_before_any_row(tmp_path: Path) -> None:
    model = checkpoints.save(tmp_path / "model", checkpoints.llama())
    with pytest.raises(
        CheckpointError, match="has no tokenizer, and only models of text are trained"
    ):
        of_folder(tmp_path, made.with_parameters(made.result()), model)
    assert not (tmp_path / "proof").exists()


def test_a_general_text_is_kept_unless_it_is_trained_on(tmp_path: Path) -> None:
    usual = asked(tmp_path)
    assert set(prepare(usual).texts) == {"train", "held_out", "kept"}
    assert set(prepare(replace(usual, kept=("none",))).texts) == {"train", "held_out"}
    trained = prepare(replace(usual, data=("builtin:pydoc",), folder=tmp_path / "other"))
    assert set(trained.texts) == {"train", "held_out"}
    assert trained.conditions.kept == "" and len(trained.conditions.digests) == 2


def test_a_text_to_keep_that_is_trained_on_is_noted(tmp_path: Path) -> None:
    usual = asked(tmp_path)
    prepared = prepare(replace(usual, kept=usual.data))
    both = prepared.texts["train"].documents
    said = f"{both} of 20 examples to be kept are trained on: not forgetting them says little."
    assert said in prepared.notes
    assert not any("are trained on" in note for note in prepare(usual).notes)


def test_a_model_is_where_it_is_said_to_be_or_in_the_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = made.result(model="mine")
    folder = replace(result, provenance=replace(result.provenance, revision=""))
    hub = replace(result, provenance=replace(result.provenance, model="org/it", revision="abc"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="are of a folder mine, which is not here"):
        conditions_of(folder)
    assert conditions_of(hub).revision == "abc"
    assert (conditions_of(hub, "org/other").model, conditions_of(hub, "x").revision) == (
        "org/other",
        "",
    )
    (tmp_path / "mine").mkdir()
    assert conditions_of(folder).model == str(tmp_path / "mine")


def test_what_each_method_takes_in_memory_is_known_before(tmp_path: Path) -> None:
    needs = prepare(asked(tmp_path, "full,top:50")).memory(half=False)
    assert needs["full"].static > needs["top:50"].static > 0
