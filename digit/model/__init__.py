"""The network of DIGIT, its losses, and its checkpoints."""
