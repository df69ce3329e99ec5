"""Text to Desired, or problems that point at the character.

The law of this floor: pure but for reading the files it is told to. No store, no clock, no network.
"""
