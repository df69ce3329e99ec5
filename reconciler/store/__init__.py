"""Durable state, queue and log.

The law of this floor: the only code that touches disk for good. Time and ids come in as arguments; nothing here
reads a clock or draws chance, and nothing above knows which backend it has.
"""
