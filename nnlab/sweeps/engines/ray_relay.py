"""The command that `RayLauncher` puts before a worker's: it runs its arguments in an actor of Ray.

What comes in, out and as errors passes between this process and the actor's. An address at which no cluster
answers, or none with GPUs where one is asked for, is told as a worker tells what it cannot work with. The
process in the actor ends with its input, and so with the actor, this relay, the cluster or the sweep.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

POLL_SECONDS = 1.0
READ_BYTES = 2**16
THREADS = 4  # of the actor: three streams, and its end

Refuse = Callable[[str], NoReturn]


class Process:
    """A process on a node, and its three streams; an actor."""

    def start(self, command: Sequence[str]) -> None:
        """Start it; raises OSError."""
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)  # noqa: S603 - a worker's

    def write(self, received: bytes) -> None:
        """Pass bytes on to its input; none end it."""
        stream = self._process.stdin
        assert stream is not None  # noqa: S101 - a pipe
        with contextlib.suppress(OSError):  # it has ended, which is noticed at its output
            if not received:
                stream.close()
            while received:
                received = received[stream.write(received) :]

    def read(self, name: str) -> bytes | None:
        """What has come from its `stdout` or `stderr`; empty at the end, None where nothing comes for now.

        An actor whose node is lost ends after the calls that it is at, so that none may last.
        """
        descriptor = getattr(self._process, name).fileno()
        if not select.select([descriptor], [], [], POLL_SECONDS)[0]:
            return None
        return os.read(descriptor, READ_BYTES)

    def wait(self) -> int:
        """Its exit code, as a shell has it."""
        code = self._process.wait()
        return code if code >= 0 else 128 - code


def main() -> None:
    """Run a command in an actor until it ends: the arguments are address, GPUs, seconds, and its words."""
    address, gpus, seconds, *command = sys.argv[1:]
    output = os.dup(1)
    os.dup2(2, 1)  # what Ray prints is no message

    def refuse(reason: str) -> NoReturn:
        message = json.dumps({"error": f"--engine ray://{address}: {reason}", "usage": True})
        os.write(output, message.encode() + b"\n")
        os._exit(2)

    ray = _connect(address, float(seconds), refuse)
    if int(gpus) and not ray.cluster_resources().get("GPU"):
        refuse("no node of this cluster has a GPU")
    actor_class = ray.remote(num_cpus=1, num_gpus=int(gpus), max_concurrency=THREADS)(Process)
    actor = actor_class.remote()
    setup = b""
    while not setup.endswith(b"\n"):
        received = os.read(0, READ_BYTES)
        if not received:
            return
        setup += received
    started = actor.start.remote(command)
    while not ray.wait([started], timeout=POLL_SECONDS)[0]:
        if select.select([0], [], [], 0)[0]:  # to leave: nothing else is said to who has not answered yet
            return
    try:
        ray.get([started, actor.write.remote(setup)])
        threading.Thread(target=_pass_input, args=(ray, actor), daemon=True).start()
        errors = threading.Thread(target=_pass_errors, args=(ray, actor), daemon=True)
        errors.start()
        _pass_output(ray, actor, "stdout", output)
        errors.join()
        code = ray.get(actor.wait.remote())
    except ray.exceptions.RayError as error:
        print(f"an actor of Ray has ended: {_first_line(error)}", file=sys.stderr)
        code = 1
    sys.exit(code)


def _connect(address: str, seconds: float, refuse: Refuse) -> Any:
    """The package Ray, once it is connected to a cluster."""
    reason = f"no cluster of Ray answers there; 'ray status --address {address}' shows whether one does"
    timer = threading.Timer(seconds, refuse, [reason])
    timer.daemon = True
    timer.start()
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (Exception, SystemExit) as error:  # Ray leaves where it gives up
        refuse(_first_line(error) if isinstance(error, Exception) else reason)
    timer.cancel()
    return ray


def _pass_input(ray: Any, actor: Any) -> None:
    received = b"first"
    with contextlib.suppress(ray.exceptions.RayError):  # noticed at its output
        while received:
            received = os.read(0, READ_BYTES)
            ray.get(actor.write.remote(received))  # calls of an actor with threads may overtake one another


def _pass_errors(ray: Any, actor: Any) -> None:
    with contextlib.suppress(ray.exceptions.RayError):
        _pass_output(ray, actor, "stderr", 2)


def _pass_output(ray: Any, actor: Any, name: str, descriptor: int) -> None:
    while (received := ray.get(actor.read.remote(name))) != b"":
        while received:
            received = received[os.write(descriptor, received) :]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    main()
