"""The plugin `trace`: one session's packets, live or as a capture."""
