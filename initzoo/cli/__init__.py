"""The commands of `initzoo`: each parses, calls one public function and prints."""
