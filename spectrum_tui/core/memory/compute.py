"""What a training step costs in computation, relative to one that trains everything."""

from __future__ import annotations


def step_cost(*, reached: float, trained: float, checkpointing: bool) -> float:
    """Return the cost of a step, training every parameter in the same way being 1.

    A step is three passes that cost the same, each one multiplication and addition per weight and
    token (Kaplan et al. 2020, arXiv:2001.08361, section 2.1): forward; backward for the gradients
    of activations, through the `reached` share of the blocks; backward for the gradients of
    weights, for the `trained` share of the parameters. Gradient checkpointing does the forward
    pass a second time, and transformers has gradients flow through all blocks then.

    Assumed: all blocks cost the same. Left aside: embeddings and head, attention's products of
    activations, the optimizer, and what adapters and dequantising add.
    """
    again, back = (1.0, 1.0) if checkpointing else (0.0, reached)
    return (1.0 + again + back + trained) / (3.0 + again)
