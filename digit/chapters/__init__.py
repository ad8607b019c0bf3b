"""What the chapters of the lab book compute and show, one module per chapter.

The notebooks call these functions and nothing else calls them; each returns a figure, a
table or a small record, so that a cell of a notebook is a line or two.
"""
