"""Running a data source's sync: an HTTP request or a command, one at a time per data source.

The law of this floor: a sync is asked for once and judged once; nothing is retried. It may run twice only when the
daemon died while it ran. Whatever it says is bounded and scrubbed before anything keeps it.
"""
