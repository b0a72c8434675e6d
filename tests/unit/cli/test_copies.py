"""Which of several copies of one command scans."""

from __future__ import annotations

import pytest

from spectrum_tui.cli.copies import Copy, copy_of


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"RANK": "3"},
        *({"WORLD_SIZE": odd, "RANK": "1"} for odd in ("", "two", "-2", "2.0", "²", "9" * 30)),
    ],
)
def test_alone(environ: dict[str, str]) -> None:
    assert copy_of(environ) == Copy(first=True, said="")


@pytest.mark.parametrize(
    ("count", "number"),
    [
        ("SLURM_NTASKS", "SLURM_PROCID"),
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        ("WORLD_SIZE", "RANK"),
    ],
)
def test_of_several_one_scans_and_each_says_so(count: str, number: str) -> None:
    copies = [copy_of({count: "3", number: str(i)}) for i in range(3)]
    assert [copy.first for copy in copies] == [True, False, False]
    assert all(copy.said.startswith(f"{count} is 3: ") for copy in copies)


@pytest.mark.parametrize("number", ["", "first", "-1"])
def test_without_a_number_it_scans(number: str) -> None:
    assert copy_of({"SLURM_NTASKS": "4", "SLURM_PROCID": number}).first


def test_a_job_of_several_tasks_that_starts_one_process_with_torchrun() -> None:
    """srun counts one, torchrun four: the second launcher decides."""
    environ = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "WORLD_SIZE": "4", "RANK": "2"}
    assert not copy_of(environ).first
