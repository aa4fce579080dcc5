"""The weight generator: from words to the weight blocks of an adapter."""
