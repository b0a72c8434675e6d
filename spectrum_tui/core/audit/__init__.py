"""What is wrong with a recipe that somebody already has, and what it should be instead."""

from __future__ import annotations

from spectrum_tui.core.audit.audit import Audit, audit
from spectrum_tui.core.audit.entries import open_recipe
from spectrum_tui.core.audit.findings import Finding, Severity

__all__ = ["Audit", "Finding", "Severity", "audit", "open_recipe"]
