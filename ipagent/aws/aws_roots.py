"""The roots of Amazon Trust Services, which EC2's servers have (https://www.amazontrust.com/repository/).

OpenSSL reads them for each process in a fraction of the time that a whole CA bundle takes. The file has those
of botocore's bundle, and a test compares them.
"""

from __future__ import annotations

import os

AWS_ROOTS = os.path.join(os.path.dirname(__file__), "aws-roots.pem")  # noqa: PTH118, PTH120 - pathlib costs more
