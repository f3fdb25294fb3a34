"""Start the server: python tcp_server.py --workplace /workspace --port 8000"""

import os
import sys

# -I leaves this file's folder out of sys.path.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from docker_kernel_server.__main__ import main

sys.exit(main())
