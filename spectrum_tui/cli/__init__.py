"""The command line: `main`, and each command in a file with a `run(arguments)`."""
