"""Files on disk: written whole, read strictly, checked against their digests."""
