"""`python -m initzoo` is `initzoo`."""

from initzoo.cli.main import main

main(prog_name="initzoo")
