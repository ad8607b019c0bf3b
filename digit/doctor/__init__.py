"""The doctor: what is wrong with data, predictions, runs, weights and the environment.

`digit doctor` prints its findings. Each module looks at one area and returns rows of
one table, see `digit.doctor.findings`.
"""
