"""Commands with parsers of their own; `digit.cli` lists them beside its own."""
