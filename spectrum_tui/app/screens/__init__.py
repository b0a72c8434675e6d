"""The screens and dialogs of the app, and what only one of them needs beside it."""
