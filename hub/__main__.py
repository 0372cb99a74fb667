"""``python -m hub`` in a checkout."""

import sys

from hub.cli import main

sys.exit(main())
