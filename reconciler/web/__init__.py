"""HTTP in: triggers, ingest, operations, health and metrics.

The law of this floor: secrets and tokens are compared as digests, before any body is read.
"""
