"""What things are and the rules of their lives.

The law of this floor: pure, standard library only, no I/O, no clock, no chance. Values are frozen; a change is
a new value; a decision is returned, never carried out.
"""
