import sys

from caffe_compat.cli import main

sys.exit(main())
