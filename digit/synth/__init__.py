"""Synthetic people with two hands, written as InterHand2.6M lays out its own files."""
