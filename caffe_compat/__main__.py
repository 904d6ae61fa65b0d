"""`python -m caffe_compat`."""

import sys

from caffe_compat.tools.cli import main

sys.exit(main())
