"""`python -m headgate.cli` does what `headgate` does."""

from headgate.cli.app import main

main()
