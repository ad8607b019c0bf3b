"""Settings, data, loop and folders of trainings."""

import digit.model  # noqa: F401  # makes torchvision load, which Lightning imports
