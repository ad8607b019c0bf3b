"""InterHand2.6M and what has its layout: files, index, pictures, masks, batches."""
