"""Fine-tuning: the training set encoded once, the losses of a batch, and the loop over them."""
