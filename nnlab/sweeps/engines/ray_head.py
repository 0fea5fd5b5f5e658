"""A cluster of Ray on this machine alone, for as long as this process has an input: `RayLauncher` starts it.

Its argument is the number of CPUs that are to be given away; it writes the cluster's address on a line. The
environment says that the cluster listens on the loopback device, and which token it asks for.
"""

from __future__ import annotations

import os
import sys
import tempfile

OBJECT_STORE_BYTES = 80 * 2**20  # about the least that Ray takes; only lines of text pass


def main() -> None:
    """Start the cluster, and end it when the input ends."""
    output = os.dup(1)
    os.dup2(2, 1)  # what Ray prints is no address
    import ray

    with tempfile.TemporaryDirectory(prefix="nnlab-ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=int(sys.argv[1]),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            _temp_dir=folder,
        )
        os.write(output, ray.get_runtime_context().gcs_address.encode() + b"\n")
        sys.stdin.buffer.read()
        ray.shutdown()


if __name__ == "__main__":
    main()
