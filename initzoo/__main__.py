"""`python -m initzoo` is `initzoo`."""

from initzoo.cli import main

main(prog_name="initzoo")
