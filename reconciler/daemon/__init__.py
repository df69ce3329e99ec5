"""The long-running process: watch, reload, wire the parts, drain, stop."""
