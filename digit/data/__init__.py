"""InterHand2.6M and data sets of its layout: reading, writing, indexing, sampling."""
