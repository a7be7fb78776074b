"""`python -m geomreg_mini.course` is `geomreg-course`."""

import sys

from . import main

sys.exit(main())
