"""What joins plan and store: reconciling, rotating, resolving references, building snapshots.

The law of this floor: the only code that opens secrets. Everything above gets resolved values or fingerprints.
"""
