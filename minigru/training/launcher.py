"""Whether an mpiexec has started this process, or only a shell that has passed its variables on."""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
from collections.abc import Mapping, MutableMapping

SECONDS = 2.0  # to answer a connection


def launched(environment: Mapping[str, str]) -> dict[str, int]:
    """Return how many processes each launcher of several has started, by the prefix of its variables; 0 is unknown.

    A shell within a job (`srun --pty bash`) passes the variables of its launcher on to every program. MPI aborts a
    program that follows them to a launcher that is gone, or that it does not know. So MPI may be asked only if a
    launcher of several processes answers.
    """
    sizes = {}
    if "OMPI_COMM_WORLD_SIZE" in environment and _pmix_answers(environment):  # Open MPI
        sizes["PMIX_"] = _number(environment["OMPI_COMM_WORLD_SIZE"])
    elif "PMIX_RANK" in environment and _pmix_answers(environment):  # srun --mpi=pmix
        sizes["PMIX_"] = _number(environment.get("SLURM_STEP_NUM_TASKS", ""))
    if "PMI_SIZE" in environment and _pmi_answers(environment):  # MPICH, Intel MPI, srun --mpi=pmi2
        sizes["PMI_"] = _number(environment["PMI_SIZE"])
    return {prefix: size for prefix, size in sizes.items() if size != 1}


def forget(environment: MutableMapping[str, str], *launchers: str) -> None:
    """Delete the variables of all but these launchers: MPI aborts where it finds two."""
    for name in [*environment]:
        if name.startswith(("PMI_", "PMIX_")) and not name.startswith(launchers):
            del environment[name]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _pmi_answers(environment: Mapping[str, str]) -> bool:
    """Return whether the socket that a PMI launcher has handed to its process is there."""
    if sys.platform == "win32":
        return True  # another PMI, without this descriptor
    if "PMI_FD" in environment:
        try:
            return stat.S_ISSOCK(os.fstat(int(environment["PMI_FD"])).st_mode)
        except (ValueError, OSError, OverflowError):
            return False
    host, _, port = environment.get("PMI_PORT", "").rpartition(":")
    return _accepts(host, port)


def _pmix_answers(environment: Mapping[str, str]) -> bool:
    """Return whether a PMIx server accepts connections at one of the addresses in the variables."""
    found = [value for name, value in environment.items() if name.startswith("PMIX_SERVER_URI")]
    addresses = {re.search(r"tcp[46]://\[?([^\]]+?)\]?:(\d+)", value) for value in found}
    return any(_accepts(*address.groups()) for address in addresses if address)


def _accepts(host: str, port: str) -> bool:
    try:
        socket.create_connection((host, int(port)), SECONDS).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True
