"""The ``mlhub`` command: thin, each subcommand calls the room that does the work."""
