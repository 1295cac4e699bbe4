"""What a panel may ask about the node itself: its images, volumes and networks, and the agent's own upgrade. Part of `agent.protocol.commands`."""

from __future__ import annotations

from agent.protocol.parts import Part, RegistryAuth


class ImagePull(Part, frozen=True):
    """`node.image_pull`: get an image, with progress. Data: {"image"}."""

    image: str
    registry_auth: RegistryAuth | None = None
    timeout_seconds: float = 900


class Prune(Part, frozen=True):
    """`node.prune`: remove exactly these images, volumes or networks; what is in use stays. Data: {"removed": [...], "kept": [[id, why], ...]}."""

    kind: str
    """images | volumes | networks"""
    ids: list[str]


class Upgrade(Part, frozen=True):
    """`node.upgrade`: fetch the agent's wheel from the panel, check it, start anew with it, and go back if that does not come up. Data: {"version"}.

    `path` is one of the panel's own paths: an agent never fetches a program from anywhere else.
    """

    path: str
    version: str
    sha256: str
    size_bytes: int = 0


NODE_COMMANDS: dict[str, type[Part]] = {"node.image_pull": ImagePull, "node.prune": Prune, "node.upgrade": Upgrade}


class StockList(Part, frozen=True):
    """`stock.list` -> {"items": [...]}: what the engine has. Each has `id`, `name`, `in_use`, `ours`, and `size_bytes`, `created_at` where known;
    images also `tags`, volumes and networks `driver`, our own `container_id`."""

    kind: str
    """images | volumes | networks"""


class StockRemove(Part, frozen=True):
    """`stock.remove` -> {"removed": [...]}: one image, volume or network. `force` removes an image that has several names, never one in use."""

    kind: str
    name: str
    force: bool = False


class Tidy(Part, frozen=True):
    """`node.tidy` -> {}: forget what is no longer needed."""


class CommandCancel(Part, frozen=True):
    """`node.cancel` -> {"found": bool}: give up a `node.image_pull` that waits or goes on; its result says `cancelled`."""

    command_id: str


NODE_RPCS: dict[str, type[Part]] = {"node.tidy": Tidy, "stock.list": StockList, "stock.remove": StockRemove, "node.cancel": CommandCancel}
