"""`python -m geomreg_course` is `geomreg-course`."""

import sys

from . import main

sys.exit(main())
