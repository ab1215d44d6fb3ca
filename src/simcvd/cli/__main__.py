"""``python -m simcvd.cli``."""

from simcvd.cli import main

main()
