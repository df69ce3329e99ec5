"""The commands: parse, call, print. Nothing is decided here that a lower floor could decide."""
