"""The checker of shapes and types that the tests put around every function."""

from beartype import BeartypeConf, beartype

# A whole number serves as a float, as type checkers have it (PEP 484).
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
