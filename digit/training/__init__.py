"""Training: settings, data, the loop, and the folders that runs are kept in."""

import digit.model  # noqa: F401  # makes torchvision load, which Lightning imports
