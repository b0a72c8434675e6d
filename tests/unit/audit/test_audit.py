"""Every defect that recipes are known to have, each in a small file made for it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from spectrum_tui.core.audit.audit import Audit, audit
from spectrum_tui.core.audit.entries import open_recipe
from spectrum_tui.core.audit.findings import Severity
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.recipes.choice import Choice
from spectrum_tui.core.recipes.spectrum import SpectrumYaml
from spectrum_tui.core.requests import ModelNames
from spectrum_tui.core.results.policy import Policy
from spectrum_tui.core.results.results import Parameter
from spectrum_tui.core.results.selection import Selection
from spectrum_tui.core.trainers.reports import report
from spectrum_tui.core.trainers.trainers import TRAINERS
from tests import made

UP = "model.layers.1.mlp.up_proj"
LINES = {
    "escaped-dot": rf"- ^{UP}.weight$".replace(".", r"\."),
    "anchored": f"- ^{UP}.weight$",
    "wildcard": "- .*layers.1.mlp.up_proj.weight",
    "class-as-rows": "- model.layers.1.mlp.up_proj.weight[01]",
    "turned-rows": "- model.layers.1.mlp.experts.down_proj[5:2]",
    "regex": "- model.layers.(1|2).mlp.up_proj.weight",
    "invalid-regex": "- model.layers.(1",
    "endless-regex": "- (model.+)+weight$",
    "wrapped": f"- base_model.model.{UP}.weight",
    "module": f"- {UP}",
    "indented": f"  - {UP}.weight",
    "quoted": f"- '{UP}.weight'",
    "comment": f"- {UP}.weight  # snr 1.2",
    "trailing-space": f"- {UP}.weight ",
    "extra-space": f"-  {UP}.weight",
    "second-list": f"- {UP}.weight\nmore:\n- lm_head.weight",
    "empty": "",
    "renamed": "- model.layers.1.block_sparse_moe.experts.3.w1.weight",
    "head": "- ^model.embed_tokens.weight$\n- transformer.h.1.attn.c_attn.weight",
    "adapter": f"- {UP}.weight\nadapter: qlora",
    "mxfp4": f"- {UP}.weight\nmxfp4: true",
    "plugin": f"- {UP}.weight\nplugins: [axolotl.integrations.spectrum.SpectrumPlugin]",
    "reentrant": f"- {UP}.weight\ngradient_checkpointing_kwargs: {{use_reentrant: true}}",
    "fsdp": f"- {UP}.weight\nfsdp: [full_shard]\nfsdp_config: {{fsdp_version: 1}}",
}
FILES = {code: f"unfrozen_parameters:\n{lines}\n" for code, lines in LINES.items()}
FILES["flow-list"] = f"unfrozen_parameters: [{UP}.weight]\n"
FILES["nested"] = f"training:\n  unfrozen_parameters:\n  - {UP}.weight\n"


def codes(found: Audit) -> set[str]:
    return {finding.code for finding in found.findings if finding.is_defect}


@pytest.mark.parametrize("code", FILES)
def test_each_defect_is_found_by_the_text_alone(code: str) -> None:
    found = audit(FILES[code])
    finding = next(one for one in found.findings if one.code == code)
    assert finding.is_defect
    for text in (finding.message, finding.hint):
        assert "\n" not in text
        assert len(text) < 250
    lines = FILES[code].splitlines()
    assert 0 <= finding.line <= len(lines)
    alone = code not in ("regex", "class-as-rows", "invalid-regex", "turned-rows", "nested")
    if alone and code not in ("wildcard", "endless-regex", "wrapped", "head", "escaped-dot"):
        assert codes(found) - {"module"} <= {code}


def test_a_plain_file_has_no_defect() -> None:
    text = f"# made by hand\nunfrozen_parameters:\n# up\n- {UP}.weight\n- lm_head.weight\n"
    assert audit(text).findings == ()
    assert audit(text.replace("\n", "\r\n")).findings == ()


def test_harmless_things_are_notes() -> None:
    text = f"unfrozen_parameters:\n- {UP}.weight\n- {UP}.weight\n"
    assert [(one.code, one.severity) for one in audit(text).findings] == [
        ("duplicate", Severity.NOTE)
    ]
    rows = "unfrozen_parameters:\n- model.layers.1.mlp.experts.down_proj[2:5]\n"
    assert [(one.code, one.severity) for one in audit(rows).findings] == [("rows", Severity.NOTE)]


def test_an_axolotl_configuration_is_no_list_read_by_lines() -> None:
    text = (
        "base_model: x\ndatasets:\n  - path: a\n    type: b\nplugins:\n- path: c\n"
        "unfrozen_parameters:\n  - ^model.language_model.*\n"
    )
    found = {one.code: one.severity for one in audit(text).findings}
    assert found == {"indented": Severity.WARNING, "regex": Severity.WARNING}


# -- rankings that were none -------------------------------------------------------------------

KINDS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.gate_proj")


def ranked(order: Callable[[int], list[int]], count: int) -> str:
    lines = [
        f"- model.layers.{layer}.{kind}.weight"
        for number, kind in enumerate(KINDS)
        for layer in order(number)[:count]
    ]
    return "\n".join(["unfrozen_parameters:", *lines, ""])


def sorted_with_nan(number: int) -> list[int]:
    """What a descending sort makes of 28 scores that are NaN from layer 4 on."""
    rng = random.Random(number)
    scores = [rng.random() if layer < 4 else float("nan") for layer in range(28)]
    return sorted(range(28), key=scores.__getitem__, reverse=True)


def test_a_scan_that_was_all_nan_shows_in_the_order() -> None:
    assert "file-order" in codes(audit(ranked(lambda number: list(range(28)), 14)))
    assert "file-order" in codes(audit(ranked(sorted_with_nan, 10)))


def test_an_order_that_may_be_chance_is_not_told() -> None:
    def shuffled(number: int) -> list[int]:
        return random.Random(number).sample(range(28), 28)

    assert codes(audit(ranked(shuffled, 14))) == set()
    assert codes(audit(ranked(shuffled, 28))) == set()
    assert codes(audit(ranked(lambda number: [0, 1, 2], 2))) == set()


def test_the_first_layers_in_any_order_show_where_the_model_is_known() -> None:
    def first_ten(number: int) -> list[int]:
        return random.Random(number).sample(range(10), 10)

    names = [f"model.layers.{i}.{kind}.weight" for i in range(28) for kind in KINDS]
    text = ranked(first_ten, 10)
    assert "file-order" not in codes(audit(text))
    assert "file-order" in codes(audit(text, model(names)))
    everything = [f"model.layers.{i}.{kind}.weight" for i in range(10) for kind in KINDS]
    assert "file-order" not in codes(audit(text, model([*everything, "lm_head.weight"])))


# -- with a model ------------------------------------------------------------------------------

BLOCK = ("mlp.gate.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.up_proj.bias",
         "mlp.experts.gate_up_proj")  # fmt: skip
NAMES = [
    "model.embed_tokens.weight",
    *(f"model.layers.{layer}.{name}" for layer in range(12) for name in BLOCK),
]


def model(
    names: list[str],
    tied: tuple[tuple[str, str], ...] = (),
    stored: tuple[tuple[str, str], ...] = (),
) -> ModelNames:
    sizes = tuple(100 for _ in names)
    return ModelNames(
        model="made/model",
        naming="transformers",
        names=tuple(names),
        sizes=sizes,
        rows=sizes,
        tied=tied,
        stored=stored,
    )


def in_model(*lines: str) -> Audit:
    text = "unfrozen_parameters:\n" + "".join(f"- {line}\n" for line in lines)
    old = "model.layers.1.block_sparse_moe.experts.3.w1.weight"
    stored = ((old, "model.layers.1.mlp.experts.gate_up_proj"),)
    return audit(text, model(NAMES, (("lm_head.weight", NAMES[0]),), stored))


@pytest.mark.parametrize(
    ("code", "line", "fixed"),
    [
        ("dead", "model.layers.44.mlp.up_proj.weight", []),
        ("head", "^lm_head.weights$", []),
        ("tied", "^lm_head.weight$", [NAMES[0]]),
        ("renamed", "model.layers.1.block_sparse_moe.experts.3.w1",
         ["model.layers.1.mlp.experts.gate_up_proj"]),
        ("renamed", "model.layers.2.mlp.experts.7.gate_proj.weight",
         ["model.layers.2.mlp.experts.gate_up_proj"]),
        ("over-match", "model.layers.1.mlp.gate", ["model.layers.1.mlp.gate.weight"]),
        ("untried", "(model.+)+weight$", []),
        ("dead", "language_model.model.layers.14", []),
    ],
)  # fmt: skip
def test_each_defect_in_a_model(code: str, line: str, fixed: list[str]) -> None:
    found = in_model(line)
    wanted = "dead" if line == "^lm_head.weights$" else code
    assert wanted in codes(found)
    listed = yaml.safe_load(found.fixed)["unfrozen_parameters"] if found.fixed else []
    assert listed == fixed


def test_the_corrected_file_trains_what_the_lines_mean_in_every_trainer() -> None:
    found = in_model(
        r"^model\.layers\.1\.mlp\.up_proj\.weight$",
        "model.layers.1.mlp.gate",
        "model.layers.1[01].mlp.up_proj.weight",
        "^lm_head.weight$",
    )
    wanted = {
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.1.mlp.gate.weight",
        "model.layers.10.mlp.up_proj.weight",
        "model.layers.11.mlp.up_proj.weight",
        NAMES[0],
    }
    assert found.meant == len(wanted)
    assert found.share == len(wanted) / len(NAMES)
    parameters = [Parameter(name, (100,)) for name in NAMES]
    assert all(one.exact for one in report(found.fixed, wanted, parameters))
    assert {one.code for one in audit(found.fixed, model(NAMES)).findings} == {"llama-factory"}
    assert audit(found.fixed).findings == ()
    exact = {one.trainer.name for one in found.reports if one.exact}
    assert exact == set()


def test_rows_that_are_left_out_are_said() -> None:
    experts = "model.layers.1.mlp.experts.gate_up_proj"
    fixed = in_model(f"^{experts}$[2:5]").fixed
    assert "# whole parameters: only axolotl reads rows" in fixed.splitlines()
    assert f"- {experts}" in fixed.splitlines()


def test_a_module_stands_for_its_bias_too() -> None:
    found = in_model("model.layers.1.mlp.up_proj")
    assert codes(found) == set()
    assert [one.exact for one in found.reports] == [True] * len(TRAINERS)
    names = yaml.safe_load(found.fixed)["unfrozen_parameters"]
    assert names == [f"{UP}.weight", f"{UP}.bias"]


def test_one_line_of_another_model_says_nothing_of_the_embeddings() -> None:
    usual = "".join(f"- model.layers.{i}.mlp.up_proj.weight\n" for i in range(2))
    lines = f"- model.embed_tokens.weight\n- transformer.h.1.attn.c_attn.weight\n{usual}"
    assert "head" not in codes(audit(f"unfrozen_parameters:\n{lines}"))


def test_nothing_and_everything_are_said() -> None:
    assert {"nothing", "dead"} <= codes(in_model("transformer.h.1.attn"))
    assert "everything" in codes(in_model("model"))
    empty = audit("unfrozen_parameters:\n", model(NAMES))
    assert {"empty", "nothing", "everything"} <= codes(empty)
    assert any("whole model would train with axolotl" in one.message for one in empty.findings)


# -- what we write -----------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [10, 50, 100])
@pytest.mark.parametrize("head", [True, False])
def test_what_is_written_here_has_no_defect(percent: int, head: bool) -> None:
    result = made.with_parameters(made.result(layers=12, bias=True))
    choice = Choice(selection=Selection(result), policy=Policy(percent=percent, embeddings=head))
    text = SpectrumYaml(choice.selection).text(Policy(percent=percent, embeddings=head))
    names = [p.name for p in result.parameters]
    for found in (audit(text), audit(text, model(names))):
        assert codes(found) == set()
    again = audit(text, model(names))
    assert all(one.exact for one in again.reports)
    listed = yaml.safe_load(text)["unfrozen_parameters"]
    assert sorted(yaml.safe_load(again.fixed)["unfrozen_parameters"]) == sorted(listed)


def test_fifty_thousand_lines_of_the_same_kind_are_one_finding() -> None:
    numbers = random.Random(0).sample(range(50_001), 50_001)
    lines = [f"- ^model.layers.{n}.mlp.up_proj.weight$" for n in numbers]
    found = audit("\n".join(["unfrozen_parameters:", *lines, ""]))
    assert [(one.code, one.count) for one in found.findings] == [("anchored", 50_001)]


def test_fifty_thousand_regular_expressions_are_not_all_judged() -> None:
    lines = [f"- model.layers.{n}.(mlp|attn).gate{n % 7}" for n in range(50_000)]
    found = audit("\n".join(["unfrozen_parameters:", "- (a+)+$", *lines, ""]))
    counts = {one.code: one.count for one in found.findings}
    assert counts["endless-regex"] == 1
    assert counts["many-regexes"] == 50_001 - 2000
    assert len(found.findings) < 6


# -- files that are no recipe ------------------------------------------------------------------

UNUSABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \n", "is empty"),
    "binary": (b"\x00\x01\xff\xfe", "is not a text file"),
    "json": (b'{"model.layers.0.mlp": {"snr": 1.0}}', "is JSON"),
    "not yaml": (b"a: [b\n- c: d: e\n", "not YAML"),
    "a list": (b"- a\n- b\n", "not a mapping"),
    "another file": (b"base_model: x\n", "has no unfrozen_parameters"),
    "one text": (b"unfrozen_parameters: lm_head\n", "not a list"),
    "numbers": (b"unfrozen_parameters:\n- 1\n", "not text|not a list"),
    "nested": (b"a: " + b"[" * 1200, "not YAML|nested too deeply"),
    "a tag": (b"a: !!python/object:os.system x\n", "not YAML"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_file_that_is_no_recipe_is_one_line(name: str, tmp_path: Path) -> None:
    data, words = UNUSABLE[name]
    path = tmp_path / "file.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        audit(open_recipe(path))
    assert caught.value.field == "recipe"


def test_a_file_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(InputError, match="holds 100 MB"):
        open_recipe(path)
    with pytest.raises(InputError, match="is a folder"):
        open_recipe(tmp_path)
    with pytest.raises(InputError, match="There is no file"):
        open_recipe(tmp_path / "none.yaml")


def test_a_model_tells_what_llama_factory_would_train_besides() -> None:
    """It freezes whole blocks: for block 10 of 12, the last two."""
    wanted = "model.layers.10.mlp.up_proj.weight"
    (finding,) = [one for one in in_model(wanted).findings if one.code == "llama-factory"]
    assert finding.severity is Severity.NOTE
    others = [name for name in NAMES if re.search(r"\.1[01]\.mlp", name) and name != wanted]
    assert len(others) == 9
    assert "trains 9 others too, 1.00 K elements instead of 100." in finding.message
    assert finding.hint.endswith("freeze_trainable_layers: 2, freeze_trainable_modules: mlp.")
    both = in_model(wanted, *others)
    (exact,) = [one for one in both.findings if one.code == "llama-factory"]
    assert "trains nothing else" in exact.message
