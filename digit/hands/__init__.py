"""Hand models, their skinning, and part masks rendered from fits."""
