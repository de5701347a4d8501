"""The command line, one file a command: what it can be asked, and its answer. `rggan.cli.main` is the way in."""
