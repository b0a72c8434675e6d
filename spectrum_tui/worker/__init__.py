"""The scan as a process of its own, and the thread of the app that owns it."""
