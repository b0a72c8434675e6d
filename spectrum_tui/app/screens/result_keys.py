"""The keys of the results screen: footer, help and palette are made from them."""

from __future__ import annotations

from textual.binding import Binding, BindingType

RESULT_KEYS: list[BindingType] = [
    Binding("right", "percent(1)", "Percent", key_display="←→", tooltip="One percent less or more"),
    Binding("plus", "percent(1)", "1 % more", show=False, tooltip="One percent more"),
    Binding("left,minus", "percent(-1)", "1 % less", show=False, tooltip="One percent less"),
    Binding("shift+right", "percent(10)", "10 % more", show=False, tooltip="Ten percent more"),
    Binding("shift+left", "percent(-10)", "10 % less", show=False, tooltip="Ten percent less"),
    Binding("w,ctrl+s", "save", "Save", tooltip="Write the YAML and the scores to a folder"),
    Binding("c", "copy", "Copy", tooltip="Put the YAML on the clipboard, over SSH too"),
    Binding("e", "head", "Embeddings", tooltip="Train or freeze embeddings and head"),
    Binding("f", "memory", "Memory", tooltip="What it takes to train; fit into N GiB"),
    Binding("slash", "filter", "Filter", key_display="/", tooltip="Show some layers or types"),
    Binding("s", "sort", "Sort", show=False, tooltip="Sort by file order, SNR, layer or type"),
    Binding("S", "reverse", "Reverse", show=False, tooltip="Turn the order around"),
    Binding("n", "jump(1)", "Next selected", show=False, tooltip="To the next selected layer"),
    Binding("N", "jump(-1)", "Previous", show=False, tooltip="To the selected layer before"),
    Binding("v", "metric", "Metric", show=False, tooltip="Rank by another metric"),
    Binding("d", "spectrum", "Details", show=False, tooltip="Singular values of this layer"),
    Binding("x", "experts", "Experts", show=False, tooltip="List every expert of this layer"),
    Binding("a", "tiers", "Adapters", show=False, tooltip="LoRA by tiers, and what it trains"),
    Binding("o", "compare", "Compare", show=False, tooltip="With another file of scores"),
    Binding("t", "view('Table')", "Table", show=False, tooltip="Show the table of layers"),
    Binding("m", "view('Heat map')", "Heat map", show=False, tooltip="Show the heat map"),
    Binding("y", "view('YAML')", "YAML", show=False, tooltip="Show the file as it is saved"),
    Binding("escape", "back", "Back", show=False, tooltip="Clear the filter, or go back"),
]
