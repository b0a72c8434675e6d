"""Which columns make an example, and what is no example."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spectrum_tui.core.dataset.columns import LAYOUTS, BlankError, layout_of
from spectrum_tui.core.dataset.examples import Example, Message


def example(**row: Any) -> Example:
    layout = layout_of(row)
    assert layout is not None
    return layout.example(row)


CHAT = (Message(role="user", content="Hi"), Message(role="assistant", content="Hello"))


@pytest.mark.parametrize(
    ("row", "made"),
    [
        ({"text": " A text. "}, Example(text=" A text. ")),
        ({"prompt": "2+2=", "completion": "4"}, Example(prompt="2+2=", completion="4")),
        (
            {"instruction": "Add.", "input": "1 2", "output": "3"},
            Example(
                prompt="### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n",
                completion="3",
            ),
        ),
        *(
            (
                {"instruction": "Go.", **more, "output": "Gone"},
                Example(prompt="### Instruction:\nGo.\n\n### Response:\n", completion="Gone"),
            )
            for more in ({}, {"input": ""}, {"input": None})
        ),
        (
            {"question": "Why?", "answer": "So."},
            Example(prompt="Question: Why?\nAnswer:", completion=" So."),
        ),
        *(
            (
                {"context": "It is 3.", "question": "What is it?", "answers": answers},
                Example(prompt="It is 3.\n\nQuestion: What is it?\nAnswer:", completion=f" {said}"),
            )
            for answers, said in (
                ([{"text": "3", "answer_start": 6}, {"text": "4"}], "3"),
                ({"text": ["3"], "answer_start": [6]}, "3"),
                ('{"text": ["3"], "answer_start": [6]}', "3"),
                ("3", "3"),
                ([], "unanswerable"),
                ({"text": [], "answer_start": []}, "unanswerable"),
            )
        ),
        *(
            ({"messages": turns}, Example(messages=CHAT))
            for turns in (
                [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
                [
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                    {"role": "assistant", "content": "Hello"},
                ],
                json.dumps(
                    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
                ),
            )
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Hello"},
                ]
            },
            Example(messages=CHAT),
        ),
    ],
)  # fmt: skip
def test_known_columns_make_an_example(row: dict[str, Any], made: Example) -> None:
    assert example(**row) == made


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": None}, "its text is missing$"),
        ({"text": float("nan")}, "its text is a number, not text"),
        ({"text": ["a"]}, "its text is a list, not text"),
        ({"text": "a\0b"}, "its text holds a NUL character"),
        ({"text": "\ud83d"}, "its text holds half a surrogate pair"),
        ({"prompt": "", "completion": "4"}, "its prompt is blank"),
        ({"prompt": "2", "completion": "\n"}, "its completion is blank"),
        ({"prompt": "2", "completion": True}, "its completion is true or false, not text"),
        ({"instruction": "a", "output": "b", "input": 1}, "its input is a number, not text"),
        ({"context": "a", "question": "b", "answers": None}, "its answers are missing"),
        ({"context": "a", "question": "b", "answers": [3]}, "its answer is a number, not text"),
        ({"context": "a", "question": "b", "answers": "{'text': array()}"}, "not readable JSON"),
        ({"messages": []}, "its messages is empty"),
        ({"messages": "Hi"}, "its messages is text"),
        ({"messages": ["Hi"]}, "a turn of it is text, not an object"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "no turn of it is the assistant's"),
        ({"messages": [{"role": "assistant", "content": None}]}, "its content is missing"),
        ({"messages": [{"content": "Hi"}]}, "it has no role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]},
            "a turn of it holds something else than text",
        ),
    ],
)  # fmt: skip
def test_a_row_that_is_no_example_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("(", r"\(")):
        example(**row)


def test_a_blank_text_is_no_damage() -> None:
    with pytest.raises(BlankError):
        example(text=" \n\u3000")


def test_what_is_to_be_learned_goes_before_a_text_that_repeats_it() -> None:
    every = {name: "x" for one in LAYOUTS for name in one.needed}
    forms = []
    while (layout := layout_of(every)) is not None:
        forms.append(layout.needed[0])
        for name in layout.needed:
            del every[name]
    assert forms == ["messages", "conversations", "prompt", "instruction", "context", "text"]
