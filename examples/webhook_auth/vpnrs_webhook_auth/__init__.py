"""Asks a web service who a client is."""
