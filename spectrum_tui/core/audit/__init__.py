"""What is wrong with a recipe that somebody already has, and what it should be instead."""

from __future__ import annotations

from spectrum_tui.core.audit.audit import Audit, audit
from spectrum_tui.core.audit.findings import Finding, Severity
from spectrum_tui.core.audit.source import read_recipe

__all__ = ["Audit", "Finding", "Severity", "audit", "read_recipe"]
