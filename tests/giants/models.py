"""The ten models by the ids that they have on a fake hub."""

from __future__ import annotations

from collections.abc import Callable

from tests.giants.deepseek import deepseek_v3, kimi_k2
from tests.giants.others import (
    glm_4_6,
    gpt_oss_120b,
    llama_4_maverick,
    llama_405b,
    minimax_m2,
    mixtral_8x22b,
)
from tests.giants.parts import Giant
from tests.giants.qwen import qwen3_235b, qwen3_next

GIANTS: dict[str, Callable[[], Giant]] = {
    "giants/Llama-3.1-405B": llama_405b,
    "giants/Mixtral-8x22B": mixtral_8x22b,
    "giants/gpt-oss-120b": gpt_oss_120b,
    "giants/Llama-4-Maverick": llama_4_maverick,
    "giants/GLM-4.6": glm_4_6,
    "giants/MiniMax-M2": minimax_m2,
    "giants/Qwen3-235B-A22B": qwen3_235b,
    "giants/Qwen3-Next-80B-A3B": qwen3_next,
    "giants/DeepSeek-V3": deepseek_v3,
    "giants/Kimi-K2": kimi_k2,
}
