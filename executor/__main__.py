"""`python3 -m executor`, and the entry of executor.pyz."""

import sys

from executor.cli import main

sys.exit(main(sys.argv[1:]))
