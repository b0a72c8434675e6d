"""The two house themes: every screen takes its colours from here, by variable, never by value."""

from __future__ import annotations

from textual.theme import Theme

MUTED = "$foreground 60%"
"""What stands beside the text that matters."""

DARK = Theme(
    name="spectrum-dark",
    dark=True,
    primary="#2fb5a5",
    secondary="#6c9bd2",
    accent="#c3d94e",
    foreground="#d9e2ec",
    background="#10161d",
    surface="#161e27",
    panel="#223040",
    boost="#1c2733",
    success="#7cc36a",
    warning="#e8b04a",
    error="#ef6b73",
    variables={
        "border": "#2fb5a5",
        "border-blurred": "#223040",
        "boost": "#1c2733",
        "footer-background": "#1c2733",
        "footer-key-foreground": "#c3d94e",
        "footer-description-foreground": "#a9b8c6",
        "block-cursor-background": "#2fb5a5",
        "block-cursor-foreground": "#10161d",
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": "#223040",
        "block-cursor-blurred-foreground": "#d9e2ec",
        "button-focus-text-style": "bold underline",
        "input-selection-background": "#2fb5a5 35%",
        "scrollbar": "#2b3c4f",
        "scrollbar-hover": "#3a5068",
        "scrollbar-active": "#2fb5a5",
        "scrollbar-background": "#161e27",
        "scrollbar-background-hover": "#161e27",
        "scrollbar-background-active": "#161e27",
        "scrollbar-corner-color": "#161e27",
    },
)
"""The default: deep blue-grey, teal, and the yellow-green end of the heat map's ramp."""

LIGHT = Theme(
    name="spectrum-light",
    dark=False,
    primary="#0b7a70",
    secondary="#2f5f9e",
    accent="#5b6f00",
    foreground="#1c2733",
    background="#f4f7f9",
    surface="#eaeff3",
    panel="#cfd9e1",
    boost="#dfe7ed",
    success="#2e7d32",
    warning="#9a6200",
    error="#b3261e",
    variables={
        "border": "#0b7a70",
        "border-blurred": "#b4c2cd",
        "boost": "#dfe7ed",
        "footer-background": "#dfe7ed",
        "footer-key-foreground": "#0b7a70",
        "footer-description-foreground": "#3c4c5b",
        "block-cursor-background": "#0b7a70",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": "#cfd9e1",
        "block-cursor-blurred-foreground": "#1c2733",
        "button-focus-text-style": "bold underline",
        "input-selection-background": "#0b7a70 30%",
        "scrollbar": "#b4c2cd",
        "scrollbar-hover": "#95a7b5",
        "scrollbar-active": "#0b7a70",
        "scrollbar-background": "#eaeff3",
        "scrollbar-background-hover": "#eaeff3",
        "scrollbar-background-active": "#eaeff3",
        "scrollbar-corner-color": "#eaeff3",
    },
)
"""For bright rooms; the same roles with enough contrast on a light ground."""

THEMES = (DARK, LIGHT)


def opposite(name: str) -> str:
    """Return the other house theme: light for anything but the light one."""
    return DARK.name if name == LIGHT.name else LIGHT.name
