"""Hand models, their fitting to joints, meshes, and part masks rendered from fits.

A walk through: `model` poses a hand; `fitting` finds the pose for given joints, by way of
`kinematics` and `solver`; `part_rendering` and `rasterizer` draw hands; `part_masks` and
`fit_dataset` do so for data sets, `meshes` for one image.
"""
