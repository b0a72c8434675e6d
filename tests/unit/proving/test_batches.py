"""What texts become: windows, exchanges, conversations, masks; and the order they are drawn in."""

from __future__ import annotations

from itertools import islice

import pytest

from spectrum_tui.core.dataset.examples import Example, Message
from spectrum_tui.core.errors import CheckpointError, InputError
from spectrum_tui.proving.batches import Encoder, Tokens, drawn, endless, learned, tensors
from tests.unit.proving.texts import document
from tests.unit.proving.tiny_language import BEGIN, END, MASK, PAD, ids, tokenizer

CHAT = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}[{{ m['role'] }}] "
    "{% if m['role'] == 'user' or loop.last %}{{ m['content'] }}{% endif %}</s>{% endfor %}"
)
TURNS = tuple(
    Message(role=role, content=content)
    for role, content in (
        ("user", "one?"), ("assistant", "1"), ("user", "two?"), ("assistant", "2"),
    )
)  # fmt: skip


def texts(*said: str) -> list[Example]:
    return [Example(text=text) for text in said]


def words(tokens: Tokens) -> tuple[str, str]:
    """What is read, and what is learned of it, as text; special tokens as their numbers."""

    def text(numbers: list[int]) -> str:
        return "".join(chr(n - 5 + 32) if n >= 5 else str(n) for n in numbers if n >= 0)

    return text(tokens.inputs), text(tokens.labels)


# -- plain text -----------------------------------------------------------------------------------


def test_documents_follow_each_other_with_the_end_token_between() -> None:
    encoder = Encoder(tokenizer(), "causal", 8)
    made = list(encoder.sequences(texts("abcde", "fghijklm")))
    assert [one.inputs for one in made] == [
        [*ids("abcde"), END, *ids("fg")],
        [*ids("hijklm"), END],
    ]
    assert all(one.labels == one.inputs for one in made)
    assert learned("causal", made) == 7 + 6


def test_a_long_document_is_read_as_far_as_it_is_needed() -> None:
    class Counting:
        def __init__(self) -> None:
            self.real, self.read = tokenizer(), 0

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def __call__(self, text: str, **options: object) -> object:
            self.read += len(text)
            return self.real(text, **options)

    counting = Counting()
    encoder = Encoder(counting, "causal", 64)
    assert len(list(islice(encoder.sequences(texts("a" * 10**6)), 9))) == 9
    assert counting.read < 10**5


def test_a_tokenizer_that_puts_tokens_around_puts_them_around_each_masked_window() -> None:
    encoder = Encoder(tokenizer(around=True), "masked", 10)
    made = list(encoder.sequences(texts("abcdefgh", "ijkl")))
    assert [len(one.inputs) for one in made] == [10, 8]
    for one, text in zip(made, ("abcdefgh", "2ijkl2"), strict=True):
        assert (one.inputs[0], one.inputs[-1]) == (BEGIN, END)
        guessed = [at for at, label in enumerate(one.labels) if label >= 0]
        assert guessed and not {0, len(one.labels) - 1} & set(guessed)
        pairs = zip(one.inputs, one.labels, strict=True)
        whole = [label if label >= 0 else seen for seen, label in pairs]
        assert words(Tokens(whole[1:-1], []))[0] == text


def test_masks_are_the_same_in_every_row_and_about_a_seventh() -> None:
    encoder = Encoder(tokenizer(around=True), "masked", 64)
    examples = texts(*(document(n, 200) for n in range(20)))
    made = list(encoder.sequences(examples))
    assert made == list(Encoder(tokenizer(around=True), "masked", 64).sequences(examples))
    guessed = learned("masked", made)
    assert 0.12 < guessed / sum(len(one.inputs) - 2 for one in made) < 0.18
    shown = sum(seen == MASK for one in made for seen in one.inputs)
    assert 0.75 < shown / guessed < 0.85


def test_masks_need_a_mask_token() -> None:
    with pytest.raises(CheckpointError, match="no mask token"):
        Encoder(tokenizer(mask=False), "masked", 64)


def test_of_a_text_the_second_half_answers_the_first() -> None:
    (one,) = Encoder(tokenizer(), "seq2seq", 32).sequences(texts("abcdef"))
    assert words(one) == ("abc2", "def22")


# -- exchanges ------------------------------------------------------------------------------------


def test_of_an_exchange_the_completion_alone_is_learned() -> None:
    example = Example(prompt="2+2=", completion="four")
    (one,) = Encoder(tokenizer(), "causal", 32).sequences([example])
    assert words(one) == ("2+2=four2", "four2")
    (one,) = Encoder(tokenizer(), "seq2seq", 32).sequences([example])
    assert words(one) == ("2+2=2", "four2")


def test_a_long_prompt_is_cut_at_its_beginning_and_a_long_completion_at_its_end() -> None:
    encoder = Encoder(tokenizer(), "causal", 8)
    made = encoder.sequences(
        [Example(prompt="abcdefghij", completion="xy"), Example(prompt="ab", completion="x" * 20)]
    )
    assert [words(one) for one in made] == [("fghijxy2", "xy2"), ("bxxxxxxx", "xxxxxxx")]


def test_an_exchange_without_an_answer_is_left_out() -> None:
    encoder = Encoder(tokenizer(), "seq2seq", 8)
    assert not list(encoder.sequences([Example(messages=TURNS[:1])]))
    assert not list(Encoder(tokenizer(), "causal", 8).sequences([Example(messages=TURNS[:1])]))


def test_the_turns_of_the_assistant_are_learned_in_the_template_of_the_model() -> None:
    encoder = Encoder(tokenizer(template=CHAT), "causal", 99)
    (one,) = encoder.sequences([Example(messages=TURNS)])
    assert words(one) == (
        "[user] one?2[assistant] 12[user] two?2[assistant] 22",
        "1222",
    )


def test_a_template_that_shortens_earlier_turns_lets_the_last_one_be_learned() -> None:
    encoder = Encoder(tokenizer(template=FORGETFUL), "causal", 99)
    (one,) = encoder.sequences([Example(messages=TURNS)])
    assert words(one) == (
        "[user] one?2[assistant] 2[user] two?2[assistant] 22",
        "[assistant] 22",
    )


def test_without_a_template_a_conversation_is_told_plainly() -> None:
    (one,) = Encoder(tokenizer(), "causal", 99).sequences([Example(messages=TURNS[:2])])
    unknown = "3"  # a line's end is no character of this tokenizer
    assert words(one) == (f"user: one?{unknown}assistant: 1{unknown}", f"1{unknown}")
    (one,) = Encoder(tokenizer(), "seq2seq", 99).sequences([Example(messages=TURNS)])
    assert words(one)[1] == "22"


def test_a_template_that_refuses_is_said_in_one_line() -> None:
    encoder = Encoder(
        tokenizer(template="{{ raise_exception('roles\nmust alternate') }}"), "causal", 9
    )
    with pytest.raises(InputError, match="refuses a conversation"):
        list(encoder.sequences([Example(messages=TURNS)]))


# -- which, in which order ------------------------------------------------------------------------


def test_a_seed_draws_the_same_sequences_and_another_one_others() -> None:
    examples = texts(*(document(n) for n in range(30)))

    def made(seed: int, count: int = 8) -> list[Tokens]:
        return drawn(Encoder(tokenizer(), "causal", 16), examples, count, seed)

    assert made(1) == made(1) != made(2)
    assert len(made(1)) == 8
    assert len(made(1, 10**6)) > 8


def test_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="long enough"):
        drawn(Encoder(tokenizer(), "causal", 16), [Example(messages=TURNS[:1])], 4, 0)


def test_batches_begin_again_where_the_text_ends() -> None:
    one, two, three = (Tokens([n], [n]) for n in (1, 2, 3))
    assert list(islice(endless([one, two, three], 2), 3)) == [
        [one, two],
        [three, one],
        [two, three],
    ]


def test_a_batch_is_filled_on_the_right() -> None:
    batch = tensors([Tokens([5, 6, 7], [-100, 6, 7]), Tokens([8], [8])], PAD, "cpu")
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 7], [8, PAD, PAD]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[-100, 6, 7], [8, -100, -100]],
    }
