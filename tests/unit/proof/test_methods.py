"""The ways to train, as they are typed."""

from __future__ import annotations

from typing import get_args

import pytest

from spectrum_tui.app.widgets.proof_words import what_of
from spectrum_tui.core.errors import InputError
from spectrum_tui.core.proof.methods import (
    ADAPTERS,
    EXAMPLES,
    OTHERS,
    SELECTIONS,
    Kind,
    Method,
    parse_method,
    parse_methods,
)


def test_every_kind_is_listed_once_and_said_in_words_of_its_own() -> None:
    typed = [text.replace("NAME", "calibrated") for text in EXAMPLES]
    methods = [parse_method(text) for text in typed]
    assert sorted(method.kind for method in methods) == sorted(get_args(Kind))
    assert sorted(("full", *SELECTIONS, *ADAPTERS)) == sorted(get_args(Kind))
    assert set(OTHERS) < set(SELECTIONS)
    assert len({what_of(text) for text in typed}) == len(typed)
    with pytest.raises(InputError) as caught:
        parse_method("nothing")
    assert all(text in caught.value.hint for text in EXAMPLES)


def test_every_way_is_read_and_written_as_it_is_typed() -> None:
    typed = (
        "full,top:25,bottom:12.5,random:50,metric:calibrated:10,policy:a:b.yaml,lora:100,"
        "qlora:25,tiers:25,hybrid:25,groups:25,dynamic:25"
    )
    methods = parse_methods(typed)
    assert ",".join(method.text for method in methods) == typed
    assert [m.percent for m in methods[:4]] == [0, 25, 12.5, 50]
    assert methods[5] == Method(kind="policy", file="a:b.yaml")


def test_what_is_usual_need_not_be_typed_and_nothing_counts_twice() -> None:
    assert parse_methods(" top, top:25 ,lora") == (
        Method(kind="top", percent=25),
        Method(kind="lora", percent=100),
    )


@pytest.mark.parametrize(
    "text", ["", " , ", "best:25", "top:0", "top:101", "top:25:3", "full:3", "metric", "metric::25",
             "metric:nothing:25", "policy"]
)  # fmt: skip
def test_what_is_no_way_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_methods(text)
    assert caught.value.field == "methods"
