"""Predictions against annotations: metrics, error table and the paper's protocol.

Data flow: `predictions` and the index's `ground_truth` → `metrics` → `error_table`
(one row a frame) → `protocol` (the paper's averages). Nothing here runs a network.
"""
