"""The ways to train, as they are typed."""

from __future__ import annotations

import pytest

from spectrum_tui.core.errors import InputError
from spectrum_tui.core.proof.methods import Method, parse_methods


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
