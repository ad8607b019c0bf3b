"""Figures: arrays in, pictures out, for notebooks, widgets and `digit predict`."""
