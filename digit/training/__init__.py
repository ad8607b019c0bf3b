"""Training: settings, data, the loop, and the folders that runs are kept in."""

from digit.model.torchvision_on_cpu import make_torchvision_importable

make_torchvision_importable()  # for Lightning and timm
