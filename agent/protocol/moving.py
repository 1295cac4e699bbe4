"""Moving a container to another node: what each end is asked. Part of `agent.protocol.commands` and `agent.protocol.bulk`.

The panel leads; the ends know nothing of each other. A tree travels as records (`agent.migrate.records`) from `tree.read` of the old node to
`tree.write` of the new one. A point in it is (path as hex, offset): offset -1 = that entry is wholly there; else a file that is there so far.
"""

from __future__ import annotations

from agent.protocol.messages import ContainerSpec
from agent.protocol.parts import Part, RegistryAuth


class ReceivePayload(Part, frozen=True):
    """`container.receive`: have image and folder ready for a container that comes from elsewhere. Data: {"free_bytes"}.

    Error `in_use` if a container or files of this id are here already (an old copy that was kept), `unsupported` if its folder can't be reached.
    """

    spec: ContainerSpec
    move: str
    """Names this move: what an earlier one left half-way is thrown away."""
    registry_auth: RegistryAuth | None = None
    pull_timeout_seconds: float = 900
    log_seq: int = 0
    """The numbers of its log go on behind this one."""


class DigestPayload(Part, frozen=True):
    """`container.digest`: read all of its files. Data: {"digest", "entries", "bytes"}. Error `running` if it runs: then they don't hold still."""

    owners: bool = True
    """Users and groups count (not where all is the agent's own user's)."""


class FencePayload(Part, frozen=True):
    """`container.fence`: stop it now and keep it stopped, whoever starts it, until a command of a higher epoch wants it running."""


MOVING_COMMANDS: dict[str, type[Part]] = {
    "container.receive": ReceivePayload,
    "container.digest": DigestPayload,
    "container.fence": FencePayload,
}


class TreeRead(Part, frozen=True):
    """Bulk `tree.read`: records from a point on. Head {"bytes", "entries"} of the whole tree. Errors `running`, `changed`."""

    path: str = ""
    offset: int = -1


class TreeWrite(Part, frozen=True):
    """Bulk `tree.write`: records into the folder that `container.receive` made. Head {"path", "offset", "bytes"}: from where on, how much is there.

    End {"bytes", "entries"}. `fresh`: throw away what came before.
    """

    move: str
    fresh: bool = False
