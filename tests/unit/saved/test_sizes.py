"""Published score files, and the sizes they get from a model that is at hand."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spectrum_tui.app.screens.result_notes import Ties
from spectrum_tui.cli.main import main
from spectrum_tui.core.checkpoint.headers import read_checkpoint
from spectrum_tui.core.errors import CheckpointError, HubError, ResultsError
from spectrum_tui.core.layer_types import layer_type
from spectrum_tui.core.model import places
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Generation, Result
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.saved.sizes import load_sized
from tests.checkpoints import Tensors, llama, save, save_in_hub_cache
from tests.commands import Capture, process, refused

NAME = "snr_results_org-tiny.json"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network to ask instead."""
    from huggingface_hub import constants

    def asked(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(places, "read_remote", asked)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "hub"


def layers_of(tensors: Tensors) -> list[str]:
    return [n.removesuffix(".weight") for n in tensors if n.endswith(".weight")]


def flat(folder: Path, names: list[str], *, snr: float | None = None, name: str = NAME) -> Path:
    """A score file as the reference writes it; norms are 1.0."""
    path = folder / name
    value = {
        n: 1.0 if "norm" in n else i % 5 + 0.5 if snr is None else snr for i, n in enumerate(names)
    }
    rows = {n: {"snr": value[n], "type": layer_type(n)} for n in names}
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "tiny", llama(4, bias=True))


def sized(result: Result, tensors: Tensors) -> bool:
    """Whether every row has the size of its weight and bias."""
    numel = [
        sum(tensors[name].numel() for name in names if name in tensors)
        for names in result.scores.parameters
    ]
    return bool(result.scores.numel.tolist() == numel and all(numel))


def test_rows_get_shapes_biases_head_and_parameters(model: Path, tmp_path: Path) -> None:
    tensors = llama(4, bias=True)
    path = flat(tmp_path, layers_of(tensors))
    result = load_sized(path, str(model))
    assert sized(result, tensors)
    assert {p.name: p.shape for p in result.parameters} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    assert not result.embeddings_are_guessed
    assert [h.numel for h in result.embeddings] == [64 * 32, 64 * 32]
    assert result.scores.parameters[
        result.scores.layers.index("model.layers.1.self_attn.q_proj")
    ] == ("model.layers.1.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.bias")
    assert result.total_parameters == sum(t.numel() for t in tensors.values())
    assert result.provenance.naming == "Qwen2ForCausalLM"
    assert result.provenance.notes == ("sizes of tiny",)
    assert result.provenance.version == ""  # still scores of another tool
    assert result.provenance.generation is Generation.CURRENT


def test_the_scores_stay_as_they_are(model: Path, tmp_path: Path) -> None:
    path = flat(tmp_path, layers_of(llama(4)))
    plain, result = load_sized(path), load_sized(path, str(model))
    assert plain.total_parameters == 0
    assert result.scores.layers == plain.scores.layers
    assert result.scores.values.tolist() == plain.scores.values.tolist()
    assert result.scores.type_names == plain.scores.type_names


def test_a_tied_head_is_the_embedding(tmp_path: Path) -> None:
    tensors = llama(2, head=False)
    folder = save(tmp_path / "tied", tensors, config={"tie_word_embeddings": True})
    path = flat(tmp_path, [*layers_of(tensors), "lm_head"])
    result = load_sized(path, str(folder))
    table = "model.embed_tokens.weight"
    assert [(h.name, h.tied) for h in result.embeddings] == [(table, ("lm_head.weight",))]
    assert result.scores.parameters[-1] == (table,)
    trained = Selection(result).totals(Policy(percent=100)).parameters
    assert trained == result.total_parameters
    result_names = {name for names in result.scores.parameters for name in names}
    assert result_names <= set(result.names)


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model.", ""])
def test_other_generations_call_the_outermost_modules_otherwise(
    prefix: str, model: Path, tmp_path: Path
) -> None:
    names = [n for n in layers_of(llama(4)) if n.startswith("model.layers.")]
    renamed = [n.replace("model.", prefix, 1) for n in names]
    result = load_sized(flat(tmp_path, renamed), str(model))
    assert result.scores.layers == renamed
    assert [names[0].removesuffix(".weight") for names in result.scores.parameters] == names


def test_scores_of_another_model_are_refused_in_a_line(model: Path, tmp_path: Path) -> None:
    longer = flat(tmp_path, layers_of(llama(6)))
    with pytest.raises(ResultsError, match="another model: 18 of 57 layers are not in tiny") as it:
        load_sized(longer, str(model))
    assert len(str(it.value).splitlines()) == 1
    shorter = flat(tmp_path, layers_of(llama(2)))
    with pytest.raises(ResultsError, match=r"tiny has 4 layers of .*, they have 2"):
        load_sized(shorter, str(model))


def test_a_type_that_was_not_scored_is_no_other_model(model: Path, tmp_path: Path) -> None:
    some = [n for n in layers_of(llama(4)) if "mlp" in n]
    assert load_sized(flat(tmp_path, some), str(model)).scores.has_shapes


def test_the_hub_is_asked_for_headers_of_a_named_model_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = flat(tmp_path, layers_of(llama(4, bias=True)))
    assert not load_sized(path).scores.has_shapes  # of no name, so that nobody is asked
    asked = []

    def remote(name: str, *_: object) -> Any:
        asked.append(name)
        files = SimpleNamespace(commit="c" * 40, cached_bytes=lambda: 0)
        return SimpleNamespace(checkpoint=read_checkpoint(model), files=files)

    monkeypatch.setattr(places, "read_remote", remote)
    result = load_sized(path, "org/elsewhere")
    assert asked == ["org/elsewhere"]
    assert result.scores.numel.tolist() == load_sized(path, str(model)).scores.numel.tolist()


def test_config_json_alone_has_every_size(model: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8"}  # of the weights, which are not here
    (alone / "config.json").write_text(json.dumps(config))
    path = flat(tmp_path, layers_of(llama(4, bias=True)))
    sized, whole = load_sized(path, str(alone)), load_sized(path, str(model))
    assert sized.scores.numel.tolist() == whole.scores.numel.tolist()
    assert sized.total_parameters == whole.total_parameters
    assert [(p.name, p.shape, p.module) for p in sized.parameters] == [
        (p.name, p.shape, p.module) for p in whole.parameters
    ]
    assert sized.embeddings == whole.embeddings


@pytest.mark.parametrize("config", ["{}", '{"model_type": "no_such"}', "[]", "{", '{"a": NaN}'])
def test_a_config_of_no_class_is_refused_in_a_line(config: str, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "config.json").write_text(config)
    with pytest.raises(CheckpointError) as caught:
        load_sized(flat(tmp_path, ["model.layers.0.mlp.up_proj"]), str(alone))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["./missing", "/missing", "a b", "x" * 400, "\0"])
def test_a_model_that_is_none_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    with pytest.raises((CheckpointError, HubError)) as caught:
        load_sized(flat(tmp_path, ["model.layers.0.mlp.up_proj"]), name)
    assert len(str(caught.value).splitlines()) == 1


def test_the_cached_model_of_that_name_is_found(cache: Path, tmp_path: Path) -> None:
    save_in_hub_cache(cache, "other/tiny", llama(4))
    save_in_hub_cache(cache, "org/tiny", llama(4))
    result = load_sized(flat(tmp_path, layers_of(llama(4))))
    assert result.provenance.notes == ("sizes of org/tiny",)
    assert result.scores.has_shapes


def test_a_cached_model_that_does_not_fit_changes_nothing(cache: Path, tmp_path: Path) -> None:
    save_in_hub_cache(cache, "org/tiny", llama(2))
    result = load_sized(flat(tmp_path, layers_of(llama(4))))
    assert not result.scores.has_shapes
    assert result.provenance.notes == ()


@pytest.mark.parametrize("form", ["flat", "sorted", "bom", "crlf"])
def test_every_form_of_file_gets_sizes(form: str, model: Path, tmp_path: Path) -> None:
    names = layers_of(llama(4))
    path = flat(tmp_path, names)
    rows: dict[str, Any] = json.loads(path.read_text())
    if form == "sorted":
        types: dict[str, dict[str, float]] = {}
        for name, row in rows.items():
            types.setdefault(row["type"], {})[name] = row["snr"]
        path.write_text(json.dumps(types))
    elif form != "flat":
        text = json.dumps(rows, indent=4)
        text = f"\ufeff{text}" if form == "bom" else text.replace("\n", "\r\n")
        path.write_bytes(text.encode())
    result = load_sized(path, str(model))
    assert set(result.scores.layers) == set(names)
    assert result.scores.numel.all()


def test_infinity_dead_experts_and_no_score_keep_their_meaning(model: Path, tmp_path: Path) -> None:
    names = [n for n in layers_of(llama(4)) if n.endswith("v_proj")]
    path = tmp_path / NAME
    values = ("Infinity", "Infinity", "1e25", "NaN")
    rows = (f'"{n}": {{"snr": {v}, "type": "v"}}' for n, v in zip(names, values, strict=True))
    path.write_text("{" + ", ".join(rows) + "}")
    result = load_sized(path, str(model))
    snr = result.scores.values.tolist()
    assert snr[:3] == [math.inf, math.inf, 1e25]
    assert math.isnan(snr[3])
    selection = Selection(result)
    assert [int(rank) for rank in selection.rank] == [1, 2, 3, 0]
    assert "2 layers tie at ∞" in Ties(selection).text(Policy(percent=25))


@pytest.mark.parametrize(
    ("norm", "generation"), [("Infinity", Generation.BEFORE_2025_04), ("1.0", Generation.CURRENT)]
)
def test_the_generation_stays_with_the_scores(
    norm: str, generation: Generation, model: Path, tmp_path: Path
) -> None:
    names = [n for n in layers_of(llama(4)) if n.endswith("input_layernorm")]
    path = tmp_path / NAME
    rows = (f'"{n}": {{"snr": {norm}, "type": "input_layernorm"}}' for n in names)
    path.write_text("{" + ", ".join(rows) + "}")
    assert load_sized(path, str(model)).provenance.generation is generation


class TestCommands:
    def test_sizes_are_for_saved_scores(self, model: Path, capsys: Capture) -> None:
        assert "saved scores" in refused(capsys, str(model), "--sizes-from", str(model))

    def test_yaml_writes_the_true_names(self, tmp_path: Path, capsys: Capture) -> None:
        tensors = llama(2, head=False)
        folder = save(tmp_path / "tied", tensors, config={"tie_word_embeddings": True})
        path = flat(tmp_path, layers_of(tensors))
        assert main(["yaml", str(path), "--sizes-from", str(folder)]) == 0
        said = capsys.readouterr()
        assert "- model.embed_tokens.weight\n" in said.out
        assert "lm_head" not in said.out
        assert said.err == "note: sizes of tied\n"

    def test_memory_in_words_and_as_data(
        self, model: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        path = flat(tmp_path, layers_of(llama(4)))
        command = ["memory", str(path), "--sizes-from", str(model), "--top-percent", "25"]
        assert main(command) == 0
        text = capsys.readouterr().out
        for word in ("weights", "optimizer", "activations", "an estimate", "qlora"):
            assert word in text
        assert "gradients reach 4 of 4 blocks" in text
        assert main([*command, "--blocks", "2-"]) == 0
        assert "frozen (--no-embeddings; e in the app), gradients reach" in capsys.readouterr().out
        assert main([*command, "--json", "--gpus", "2", "--sharding", "zero2"]) == 0
        data = json.loads(capsys.readouterr().out)
        total, trained = data["total_parameters"], data["trained_parameters"]
        assert total == sum(t.numel() for t in llama(4, bias=True).values())
        found = data["bytes_on_each_gpu"]["bf16"]
        assert found["weights"] == 2 * total
        assert found["optimizer"] == 4 * trained / 2
        assert (data["blocks"], found["blocks_reached_without_checkpointing"]) == (4, 4)
        step = (1 + 1 + 1 + trained / total) / 4  # forward again, and back through all
        assert found["step_of_training_everything"] == round(step, 4)
        assert data["fit"] is None

    def test_fit_chooses_the_percentage(self, model: Path, tmp_path: Path, capsys: Capture) -> None:
        path = flat(tmp_path, layers_of(llama(4)))
        command = ["memory", str(path), "--sizes-from", str(model), "--sequence", "8", "--json"]
        assert main([*command, "--fit", "1"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["fit"]["top_percent"] == data["top_percent"] == 100
        assert data["fit"]["needs"] == data["bytes_on_each_gpu"]["bf16"]["sum"] <= 1e9
        assert main([*command, "--fit", "0.0001"]) == 1
        assert json.loads(capsys.readouterr().out)["fit"]["top_percent"] is None

    def test_scores_without_sizes_say_so_instead_of_a_number(
        self, tmp_path: Path, capsys: Capture
    ) -> None:
        path = flat(tmp_path, layers_of(llama(4)))
        line = refused(capsys, "memory", str(path))
        assert "no sizes" in line
        assert "--sizes-from" in line

    @pytest.mark.parametrize(
        "options",
        [
            ("--gpus", "0"),
            ("--batch", "x"),
            ("--sequence", "-1"),
            ("--fit", "much"),
            ("--fit", ""),
            ("--preset", "sgd"),
            ("--sharding", "zero9"),
            ("--top-percent", "0"),
            ("--sizes-from", "/nowhere"),
            ("--metric", "best"),
        ],
        ids=" ".join,
    )
    def test_bad_options_are_one_line(
        self, options: tuple[str, str], model: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        path = flat(tmp_path, layers_of(llama(4)))
        refused(capsys, "memory", str(path), "--sizes-from", str(model), *options)

    def test_known_architectures_need_no_torch(self, model: Path, tmp_path: Path) -> None:
        path = flat(tmp_path, layers_of(llama(4)))
        code = (
            "import sys\nfrom spectrum_tui.cli.main import main\ncode = main(sys.argv[1:])\n"
            "print(code, sorted({'torch', 'transformers', 'textual'} & set(sys.modules)),"
            " file=sys.stderr)"
        )
        done = process("memory", str(path), "--sizes-from", str(model), code=code)
        assert done.stderr.splitlines()[-1] == "0 []", sys.version


def test_sizes_that_were_found_once_are_there_the_next_time(tmp_path: Path) -> None:
    tensors = llama(4, bias=True)
    model = save(tmp_path / "model", tensors)
    scores = flat(tmp_path, layers_of(tensors))
    assert not load_sized(scores).scores.has_shapes
    sized = load_sized(scores, str(model))
    again = load_sized(scores)
    assert again.scores.has_shapes
    assert again.provenance == sized.provenance
    assert load_sized(scores, str(model)).provenance.notes == sized.provenance.notes
