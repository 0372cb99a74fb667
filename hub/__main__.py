"""``python -m hub`` in a checkout."""

import sys

from hub.launcher import main

sys.exit(main())
