"""Other data in InterHand2.6M's layout: COCO-WholeBody, FreiHAND, plain arrays.

`digit import` calls `tree.import_data`; each module beside it reads one kind of data.
"""
