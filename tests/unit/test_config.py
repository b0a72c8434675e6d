"""The user's config.toml: what it may say, how it is changed, and that nothing in it breaks."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum_tui.cli.main import main
from spectrum_tui.cli.options import Parser, add_options, settings_of
from spectrum_tui.core import config, disk
from spectrum_tui.core.errors import InputError, OutputError
from spectrum_tui.core.results.policy import policy_of
from spectrum_tui.core.saved.store import save_scores
from spectrum_tui.core.settings import DEFAULTS, OPTIONS, Settings
from tests import made
from tests.checkpoints import llama, save
from tests.commands import Capture

OTHER: dict[str, Any] = {
    "top_percent": 12.5,
    "metric": "calibrated",
    "rule": "global-rank",
    "way": "qlora gpus=2",
    "card": "24",
    "theme": "nord",
    "signals": ("bell", "title"),
    "cluster": "ray://head:10001",
    "output_dir": 'a "b" \\c é',
}
"""A value of every setting that is kept, which is not its default."""
LINES = [
    *("top-percent = 5", "# top-percent = 9", "[keys.app]", "x = [", "1,", "]", "y = '", ""),
    *('z = """', '"""', "'", 'rule = "global"  # r', "a.b = 1", "\t", "# c\r"),
]
"""Of files that may be files of TOML."""


@pytest.fixture
def path() -> Path:
    file = config.config_path()
    file.parent.mkdir(parents=True)
    return file


def settings(*typed: str) -> Settings:
    parser = Parser(prog="x")
    add_options(parser, *(name for name in OPTIONS if name != "model"))
    return settings_of(parser.parse_args(typed))


class TestReading:
    def test_no_file_says_nothing(self) -> None:
        found = config.read_config()
        assert (found.values, found.keys, found.unknown) == ({}, {}, ())
        assert found.path.parts[-2:] == ("spectrum-tui", "config.toml")
        assert settings() == DEFAULTS

    def test_the_command_line_goes_before_the_file_and_the_file_before_ours(
        self, path: Path
    ) -> None:
        path.write_text('top-percent = 30\nrule = "global-rank"\n')
        assert settings() == Settings(top_percent=30, rule="global-rank")
        assert settings("--top-percent", "7").top_percent == 7

    def test_a_recipe_is_chosen_by_exactly_whatever_the_file_says(
        self, path: Path, tmp_path: Path
    ) -> None:
        recipe = tmp_path / "r.yaml"
        recipe.write_text("# policy: --top-percent 10\nunfrozen_parameters:\n- ^a$\n")
        path.write_text('top-percent = 30\nrule = "global-rank"\noutput-dir = "there"\n')
        found = settings("--policy", str(recipe))
        assert (found.top_percent, found.rule, found.output_dir) == (10, "per-type", "there")

    def test_another_file_by_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbftop-percent = 12.5\r\nlater = 1\r\n")
        monkeypatch.setenv(config.CONFIG_VARIABLE, str(tmp_path / "mine.toml"))
        found = config.read_config()
        assert (found.values, found.unknown) == ({"top_percent": 12.5}, ("later",))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (b"top-percent = 101", "top-percent: The percentage '101' is not usable."),
            (b"top-percent = true", "top-percent is not a text or a number."),
            (b"top-percent = 0x" + b"f" * 9000, "The percentage '1.79769e+308' is not usable."),
            (b"top-percent = -inf", "The percentage '-inf' is not usable."),
            (b"metric = nan", "metric: There is no metric 'nan'."),
            (b"card = nan", "card: 'nan' is not a memory size."),
            (b"card = inf", "card: 'inf' is not a memory size."),
            (b"card = 1e20", "card: '1e+20' is not a memory size."),
            (b"card = 1979-05-27", "card is not a text or a number."),
            (b"output-dir = 5", "output-dir is not a text."),
            (b'output-dir = "a\\u0000b"', "output-dir is not a text."),
            (b'output-dir = "a\\u202eb"', "output-dir is not a text."),
            (b"rule = []", "rule is not a text or a number."),
            (b'rule = "best"', "rule: There is no rule 'best'."),
            (b"[top-percent]", "top-percent is not a text or a number."),
            (b"keys = 1", "keys is no table of keys."),
            (b'[keys]\nsave = "w"', "keys.save is no table of keys."),
            (b"[keys.results]\nsave = 1", "keys.results is no table of keys."),
            (b"top-percent = \n", "Invalid value (at line 1"),
            (b"a = 1\na = 2\n", "Cannot overwrite a value (at line 2"),
            (b"a = 2000-13-45", "cannot be used"),
            (b"\xff\xfe", "UTF-8"),
            (b"a = " + b"[" * 20_000, "nested too deeply"),
            (b"a = " + b"9" * 5000, "cannot be used"),
            (b"# " + b"x" * 2**20, "more than"),
        ],
    )
    def test_what_is_wrong_in_it_is_one_line(
        self, path: Path, text: bytes, said: str, capsys: Capture
    ) -> None:
        path.write_bytes(text)
        with pytest.raises(InputError, match=r"config\.toml") as caught:
            config.keep({"top_percent": 5})
        assert said in str(caught.value)
        for command in (["config"], ["yaml", "none.json"], ["compare", "a.json", "b.json"]):
            assert main(command) == 2
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1)
            assert said in err
        assert path.read_bytes() == text

    def test_a_folder_or_pipe_in_its_place(self, path: Path) -> None:
        path.mkdir()
        with pytest.raises(InputError, match="Is a directory"):
            config.read_config()
        path.rmdir()
        os.mkfifo(path)
        with pytest.raises(InputError, match="a pipe"):
            config.read_config()

    @pytest.mark.parametrize("closed", [False, True])
    def test_a_file_that_may_not_be_read(
        self, path: Path, closed: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(disk, "read_regular", refuse)
        monkeypatch.setattr(disk, "is_closed", lambda _: closed)
        if closed:  # the home of another user: what is in it is not ours to obey
            assert config.read_config().values == {}
        else:
            with pytest.raises(InputError, match="Permission denied"):
                config.read_config()


class TestKeeping:
    def test_every_kept_setting_is_here(self) -> None:
        assert [*config.KEPT.values()] == [name for name in OPTIONS if name in OTHER]
        assert not [name for name in OTHER if OPTIONS[name].default == OTHER[name]]

    def test_a_new_file_offers_everything_and_sets_what_was_kept(self) -> None:
        path = config.keep({"top_percent": 25})
        text = path.read_text()
        assert tomllib.loads(text) == {"top-percent": 25}
        assert all(f"# {key} = " in text for key in config.KEPT if key != "top-percent")
        uncommented = text.replace("# [", "[").replace("# save", "save")
        assert tomllib.loads(uncommented)["keys"] == {"results": {"save": "w,ctrl+s"}}

    def test_what_is_kept_reads_back(self) -> None:
        config.keep(OTHER)
        assert config.read_config().values == OTHER
        config.keep(OTHER | {"top_percent": 50, "output_dir": "."})
        assert config.read_config().values == OTHER | {"top_percent": 50, "output_dir": "."}

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("top-percent = 5", "top-percent = 25"),
            ("'top-percent'=5 # mine\n", "'top-percent'=25 # mine\n"),
            ('top-percent = "5#" # "\n', None),
            ('  "top-percent" = "5" # mine\r\n', '  "top-percent" = 25 # mine\r\n'),
            ("# top-percent = 9\r\nx = 1\r\n", "top-percent = 25\r\nx = 1\r\n"),
            ("x = 1", "x = 1\ntop-percent = 25\n"),
            ("x = 1\r\n", "x = 1\r\ntop-percent = 25\r\n"),
            ("# c\n\n[keys.app]\n", "# c\ntop-percent = 25\n\n[keys.app]\n"),
            ("[a]\ntop-percent = 1\n", "top-percent = 25\n[a]\ntop-percent = 1\n"),
            ('x = """\ntop-percent = 1\n"""\n', None),
            ("x = [\n[1],\n]\n", None),
        ],
    )
    def test_comments_and_the_rest_of_a_file_stay(
        self, path: Path, before: str, after: str | None
    ) -> None:
        path.write_bytes(before.encode())
        if after is None:
            with pytest.raises(InputError):
                config.keep({"top_percent": 25})
            assert path.read_bytes() == before.encode()
        else:
            config.keep({"top_percent": 25})
            assert path.read_bytes() == after.encode()

    @given(
        st.lists(
            st.sampled_from(LINES),
            max_size=8,
        ),
        st.sampled_from(["", "\n"]),
    )
    def test_a_file_is_changed_in_these_values_only_or_not_at_all(
        self, lines: list[str], end: str
    ) -> None:
        path = config.config_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(lines) + end
        path.write_bytes(text.encode())
        wanted = {"top_percent": 25, "output_dir": "out # 'x'"}
        try:
            config.keep(wanted)
        except InputError:
            assert path.read_bytes() == text.encode()
        else:
            data = tomllib.loads(path.read_bytes().decode())
            before = tomllib.loads(text) if text else {}
            assert data == before | {"top-percent": 25, "output-dir": "out # 'x'"}

    def test_names_that_cannot_be_seen_are_not_kept(self) -> None:
        with pytest.raises(InputError, match="invisible"):
            config.keep({"output_dir": "a\x1b[2J"})
        assert not config.config_path().exists()

    def test_a_file_that_cannot_be_written_is_as_it_was(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path.write_text("x = 1\n")

        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(disk, "replace", refuse)
        with pytest.raises(OutputError, match="No space left") as caught:
            config.keep({"top_percent": 25})
        assert "Nothing is kept" in caught.value.hint
        assert path.read_text() == "x = 1\n"

    def test_a_linked_file_stays_a_link(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "dotfiles.toml").write_text("# mine\n")
        path.symlink_to(tmp_path / "dotfiles.toml")
        config.keep({"theme": "nord"})
        assert path.is_symlink()
        assert (tmp_path / "dotfiles.toml").read_text() == '# mine\ntheme = "nord"\n'


class TestCommand:
    def test_values_and_where_they_come_from(self, path: Path, capsys: Capture) -> None:
        path.write_text('card = "24 GB"\nlater = 1\n[keys.results]\nsave = "f2"\n')
        assert main(["config"]) == 0
        out, err = capsys.readouterr()
        first, *rows = out.splitlines()
        assert first == str(path)
        found = {row.split("  ")[0]: row.split(maxsplit=1)[1].split() for row in rows}
        assert found["card"] == ["24", "GB", "config.toml"]
        assert found["top-percent"] == ["50", "built", "in"]
        assert found["theme"] == ["-", "built", "in"]
        assert found["keys.results.save"] == ["f2", "config.toml"]
        assert [*found][:-1] == [*config.KEPT]
        assert err == "spectrum-tui: note: 1 name is not used: later\n" or "later" in err

    def test_as_json(self, path: Path, capsys: Capture) -> None:
        path.write_text("top-percent = 25\n[keys.app]\nquit = 'f10'\n")
        assert main(["config", "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["values"]["top-percent"] == {"value": "25", "from": str(path)}
        assert data["values"]["rule"] == {"value": "per-type", "from": "built in"}
        assert (data["keys"], data["unknown"]) == ({"app": {"quit": "f10"}}, [])

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('theme = "nosuch"', "There is no theme 'nosuch'."),
            ('[keys.results]\nsavee = "f2"', "No key is called 'results.savee'."),
            ('[keys.nowhere]\nsave = "f2"', "There is no screen 'nowhere'"),
        ],
    )
    def test_what_the_app_refuses_is_refused_here(
        self, path: Path, capsys: Capture, text: str, said: str
    ) -> None:
        path.write_text(text)
        assert main(["config"]) == 2
        assert said in capsys.readouterr().err

    def test_a_way_that_there_is_not_is_refused_wherever_it_counts(
        self, path: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        path.write_text('way = "bogus"')
        scores = str(save_scores(made.with_parameters(made.result()), tmp_path / "a").scores)
        model = str(save(tmp_path / "m", llama(1)))
        for command in (["config"], ["yaml", scores], ["memory", scores], ["scan", model]):
            assert main(command) == 2
            out, err = capsys.readouterr()
            assert out == ""
            assert f"In {path}: way: There is no preset 'bogus'." in err
        assert main(["yaml", scores, "--way", "other"]) == 2
        assert str(path) not in capsys.readouterr().err

    def test_it_takes_nothing_else(self, capsys: Capture) -> None:
        assert main(["config", "x"]) == 2
        assert "unrecognized arguments: x" in capsys.readouterr().err.lower()


def test_no_way_of_the_file_is_part_of_a_policy_without_a_budget(path: Path) -> None:
    path.write_text('way = "qlora"\n')
    assert policy_of(settings()).way == ""
    assert policy_of(settings("--budget", "24GiB")).way == "qlora"


class TestMemory:
    @pytest.fixture
    def scores(self, tmp_path: Path) -> str:
        result = made.with_parameters(made.result(layers=4))
        return str(save_scores(result, tmp_path / "a").scores)

    def memory(self, capsys: Capture, *arguments: str) -> tuple[int, dict[str, Any]]:
        code = main(["memory", *arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    def test_the_card_answers_and_changes_nothing_else(
        self, path: Path, scores: str, capsys: Capture
    ) -> None:
        _, plain = self.memory(capsys, scores)
        path.write_text("card = 1\n")
        code, found = self.memory(capsys, scores)
        assert (code, found["fit"]["bytes"], found["fit"]["top_percent"]) == (0, 2**30, None)
        assert found | {"fit": None} == plain
        assert self.memory(capsys, scores, "--fit", "1")[0] == 1  # asked for, not to be had

    def test_the_way_to_train_is_what_other_options_start_from(
        self, path: Path, scores: str, capsys: Capture
    ) -> None:
        path.write_text('way = "qlora gpus=2 batch=4 checkpointing=no"\n')
        _, found = self.memory(capsys, scores, "--fit", "80", "--batch", "3")
        assert (found["gpus"], found["batch"], found["fit"]["preset"]) == (2, 3, "qlora")
        assert found["gradient_checkpointing"] is False
        _, found = self.memory(capsys, scores, "--fit", "80", "--way", "lora")
        assert (found["gpus"], found["fit"]["preset"]) == (1, "lora")


def test_an_error_of_the_app_names_the_file_that_it_is_of(path: Path) -> None:
    path.write_text('theme = "no"\n[keys.results]\nsave = "s"\n')
    found = config.read_config()
    wrong = InputError("There is no theme.", "Choose.", field="theme")
    keys = InputError("Not both.", field="keys")
    assert str(found.blamed(wrong, settings())) == f"In {path}: There is no theme. Choose."
    assert str(found.blamed(keys, settings())) == f"In {path}: Not both."
    assert found.blamed(wrong, settings("--theme", "other")) is wrong
