"""Trainers' readers and matchers against PyYAML, `re` and `in`, and against hostile recipes."""

from __future__ import annotations

import random
import re

import pytest
import yaml

from spectrum_tui.core.results.results import Parameter
from spectrum_tui.core.trainers.matching import hits
from spectrum_tui.core.trainers.names import Names
from spectrum_tui.core.trainers.patterns import anywhere, at_start, axolotl_rows
from spectrum_tui.core.trainers.recipe_text import RecipeText, StopsError, with_pyyaml
from spectrum_tui.core.trainers.reports import TrainerReport, report
from spectrum_tui.core.trainers.safety import HazardError, worst_steps
from spectrum_tui.core.trainers.trainers import TRAINERS, Trainer, trainer_named
from tests.architectures.trainers import ORACLES

LAYER = "model.layers.1.mlp.down_proj"
NAMES = [
    "model.embed_tokens.weight",
    *(
        f"model.layers.{layer}.{name}"
        for layer in range(12)
        for name in (
            "mlp.gate.weight",
            "mlp.gate_proj.weight",
            "mlp.down_proj.weight",
            "mlp.down_proj.bias",
            "mlp.experts.down_proj",
            "mlp.experts.down_proj_bias",
        )
    ),
    "model.norm.weight",
    "lm_head.weight",
]
PARAMETERS = [Parameter(name, (8, 4)) for name in NAMES]


def by_name(text: str, wanted: list[str]) -> dict[str, TrainerReport]:
    return {one.trainer.name: one for one in report(text, wanted, PARAMETERS)}


def recipe(*lines: str) -> str:
    return "unfrozen_parameters:\n" + "".join(f"- {line}\n" for line in lines)


FORMS = [
    LAYER,
    f"{LAYER}.",
    f"{LAYER}.weight",
    f"{LAYER}.weight$",
    f"^{LAYER}.weight$",
    "^" + re.escape(f"{LAYER}.weight") + "$",
    "^model[.]layers[.]1[.]mlp[.]down_proj[.]weight$",
    ".*layers.1.mlp.down_proj.weight",
    ".+layers.1.mlp.down_proj.weight",
    "(?:.+[.])?model.layers.1.mlp.down_proj.weight$",
    "model.layers.1.mlp.gate",
    "model.layers.*.mlp.gate.weight",
    "model.layers.[0-9]+.mlp.gate.weight",
    "model.layers.(1|2|11).mlp.gate.weight",
    "model.layers.1[01].mlp.gate.weight",
    "model.layers.[01]",
    "model.layers.1.mlp.experts.down_proj[2:3]",
    "model.layers.1.mlp.experts.down_proj[2]",
    "norm",
    "norm.weight",
    "orm.w",
    ".norm.weight",
    "^lm_head|norm.weight$",
    "lm_heads?",
    "lm_head.weight|",
    "^$",
    "l",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("trainer", TRAINERS, ids=lambda trainer: trainer.name)
def test_each_form_matches_what_the_trainer_matches(trainer: Trainer, form: str) -> None:
    text = recipe(form)
    read, matches = ORACLES[trainer.name]
    trains = {n for n in NAMES if any(matches(pattern, n) for pattern in read(text))}
    found = report(text, [f"{LAYER}.weight"], PARAMETERS, [trainer])[0]
    assert found.problem == ""
    assert found.trains == trains
    assert found.exact == (trains == {f"{LAYER}.weight"})
    assert set(found.unintended) == trains - {f"{LAYER}.weight"}


def test_only_the_plain_full_name_is_right_in_every_trainer() -> None:
    wanted = [f"{LAYER}.weight"]
    exact = {
        form: {name for name, one in by_name(recipe(form), wanted).items() if one.exact}
        for form in FORMS
    }
    assert [form for form in FORMS if len(exact[form]) == len(TRAINERS)] == [f"{LAYER}.weight"]
    assert "axolotl" not in exact["^" + re.escape(f"{LAYER}.weight") + "$"]


def random_name(rng: random.Random) -> str:
    parts = ["a", "ab", "b", "norm", "q_norm", "w", "weight", "1", "11", "proj_bias", "-x", "aXb"]
    return rng.choice("._/").join(rng.choices(parts, k=rng.randint(1, 5)))


def random_pattern(rng: random.Random, names: list[str]) -> str:
    name = rng.choice(names)
    first = rng.randint(0, min(2, len(name)))
    text = name[first : rng.randint(first, len(name))]
    if rng.random() < 0.3 and text:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(["..", ".", "[ab]", "a+", "\\.", "(a|b)", "1?"]) + text[at:]
    return rng.choice(["", "", "^"]) + text + rng.choice(["", "", "$"])


@pytest.mark.parametrize("seed", range(60))
def test_sorted_lists_find_what_regular_expressions_do(seed: int) -> None:
    rng = random.Random(seed)
    names = sorted({random_name(rng) for _ in range(40)})
    patterns = [random_pattern(rng, names) for _ in range(30)]
    for understand, matches in ((at_start, re.match), (anywhere, re.search)):
        found = hits(patterns, understand, Names(names))
        assert not found.untried
        for pattern in patterns:
            if pattern not in found.invalid:
                wanted = [name for name in names if matches(pattern, name)]
                assert found.of(pattern) == wanted, pattern


# -- how files are read ------------------------------------------------------------------------

LAYOUTS = {
    "safe": f"# c\nunfrozen_parameters:\n# - x\n- {LAYER}.weight\n",
    "CRLF": f"unfrozen_parameters:\r\n- {LAYER}.weight\r\n",
    "byte order mark": f"\ufeffunfrozen_parameters:\n- {LAYER}.weight\n",
    "document start": f"---\nunfrozen_parameters:\n- {LAYER}.weight\n",
    "comment": f"unfrozen_parameters:\n- {LAYER}.weight # snr=1.0\n",
    "quoted": f"unfrozen_parameters:\n- '{LAYER}.weight'\n",
    "flow": f"unfrozen_parameters: [{LAYER}.weight]\n",
    "indented": f"unfrozen_parameters:\n  - {LAYER}.weight\n",
    "trailing space": f"unfrozen_parameters:\n- {LAYER}.weight \n",
    "two spaces": f"unfrozen_parameters:\n-  {LAYER}.weight\n",
    "second list": f"unfrozen_parameters:\n- {LAYER}.weight\nmeta:\n- lm_head.weight\n",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read_as_the_trainer_reads_it(layout: str) -> None:
    text = LAYOUTS[layout]
    found = by_name(text, [f"{LAYER}.weight"])
    for name, (read, matches) in ORACLES.items():
        trains = {n for n in NAMES if any(matches(pattern, n) for pattern in read(text))}
        assert found[name].trains == trains, name
    harmless = layout in ("safe", "CRLF", "byte order mark", "document start")
    assert all(one.exact for one in found.values()) == harmless


PLAIN = ["a: b", "a:b", "x #y", "x#y", "true", "No", "1.5", "(a+)+$", "^a.*", "a - b", "x:", "y"]


@pytest.mark.parametrize("item", PLAIN)
def test_the_quick_reader_agrees_with_pyyaml(item: str) -> None:
    text = recipe("lm_head.weight", item)
    whole = yaml.safe_load(text)["unfrozen_parameters"]
    document = RecipeText(text)
    if all(isinstance(value, str) for value in whole):
        assert list(with_pyyaml(document)) == whole
    else:
        with pytest.raises(StopsError, match="not text"):
            with_pyyaml(document)


def test_an_empty_list_trains_everything_in_axolotl_and_stops_others() -> None:
    found = by_name("unfrozen_parameters:\n", [])
    assert found["axolotl"].trains == set(NAMES)
    assert found["TRL tutorial"].trains == set()
    assert found["DistillKit"].problem == "stops: unfrozen_parameters is empty"


def test_soup_reads_the_list_below_training() -> None:
    found = by_name(f"training:\n  unfrozen_parameters:\n  - {LAYER}.weight\n", [f"{LAYER}.weight"])
    assert found["Soup"].exact
    assert found["DistillKit"].problem == "stops: there is no unfrozen_parameters"


def test_axolotl_limits_rows() -> None:
    experts = "model.layers.1.mlp.experts.down_proj"
    lines = (f"{experts}$[2:3]", f"{experts}$[3]", f"{experts}$[6:]")
    assert by_name(recipe(*lines), [experts])["axolotl"].exact
    assert [axolotl_rows(line)[1] for line in lines] == [(2, 3), (3, 4), (6, None)]
    over = by_name(recipe(f"{experts}$[2:9]"), [experts])["axolotl"]
    assert over.problem == f"stops: {experts} has 8 rows, but 2 to 9 are asked for"
    turned = by_name(recipe(f"{experts}[5:2]"), [experts])["axolotl"]
    assert "end before they start" in turned.problem


# -- hostile recipes ---------------------------------------------------------------------------

FOREVER = ["(a+)+$", "(a|a)*$", "(?:a*)*b", "(.*.*)*x", "((ab)*)*c", ".*" * 9, "(a?){9}" * 9]


@pytest.mark.parametrize("pattern", FOREVER)
def test_a_pattern_that_would_take_forever_is_not_tried(pattern: str) -> None:
    with pytest.raises(HazardError):
        worst_steps(pattern, 60)
    names = [Parameter("a" * 60 + "!", ())]
    for one in report(recipe(pattern), ["x"], names):
        if one.problem:
            assert "was not tried" in one.problem
        assert not one.trains
    tried = {one.trainer.name for one in report(recipe(pattern), ["x"], names) if one.problem}
    assert "DistillKit" not in tried
    assert {"TRL tutorial", "AWS sft.py", "Soup"} <= tried


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?P<x>a)(?P=x)", "(a)(?(1)b|c)", "a" * 1001])
def test_what_cannot_be_judged_is_not_tried(pattern: str) -> None:
    with pytest.raises(HazardError):
        worst_steps(pattern, 60)


@pytest.mark.parametrize(
    "pattern",
    [
        "^model.language_model.*",
        ".*layers.(1|2|3).*q_proj.*weight",
        "(?:.+[.])?model.layers.1$",
        "model.layers.([0-9]|1[0-9]|2[0-7]).(self_attn|mlp).+",
        "^(?!.*visual).*mlp.*weight$",
    ],
)
def test_what_people_write_is_tried(pattern: str) -> None:
    assert worst_steps(pattern, 70, anywhere=True) > 0


def test_no_regular_expression_is_an_end_with_an_error() -> None:
    found = by_name(recipe("model.(layers"), [])
    assert found["axolotl"].problem.startswith("stops: at 'model.(layers', it is not a regular")
    assert found["DistillKit"].problem == ""


def test_fifty_thousand_lines() -> None:
    lines = [f"model.layers.{number}.mlp.gate.weight" for number in range(50_001)]
    found = by_name(recipe(*lines), [n for n in NAMES if ".mlp.gate.weight" in n])
    assert found["Soup"].problem == "stops: 50,001 lines, more than the 50,000 it accepts"
    assert all(one.exact for name, one in found.items() if name != "Soup")


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [("MOST_REGEXES", 20, "there are more than 20"), ("SECONDS_FOR_REGEXES", 0.0, "too long")],
)
def test_too_many_regular_expressions_are_given_up(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: float, words: str
) -> None:
    monkeypatch.setattr(f"spectrum_tui.core.trainers.matching.{limit}", value)
    lines = [f"model.layers.{number}.(mlp|attn).gate" for number in range(1000)]
    found = report(recipe(*lines), [], PARAMETERS, [trainer_named("TRL tutorial")])[0]
    assert words in found.problem
    assert "\n" not in found.problem


@pytest.mark.parametrize(
    "text", ["", "[", "- a\n- b\n", "just text", "unfrozen_parameters: text\n", "a: " + "[" * 5000]
)
def test_a_file_that_is_no_recipe_is_said_in_one_line(text: str) -> None:
    for one in report(text, ["lm_head.weight"], PARAMETERS):
        assert "\n" not in one.problem
        assert not one.exact
