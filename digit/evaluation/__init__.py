"""Predictions against annotations: the error table and the protocol."""
