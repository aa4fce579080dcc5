"""Training: harvests of whole zoos, fine-tunes, and the weight generator."""
