"""HTTP out: the egress guard, the sender, the dispatcher.

The law of this floor: every outbound byte of the program leaves through delivery/egress.py's guard.
"""
