"""Docker Swarm as a manager's engine tells of it, and what may be done with it. Part of `agent.protocol.commands`.

Every question and command names the swarm it means (`swarm_id`; "" in a question: whichever this is), so that an engine that has joined another one
since is asked for nothing there. Errors of all: `not_a_manager`, `other_swarm`, `no_quorum`, `engine_down`, `timeout`.
"""

from __future__ import annotations

from agent.protocol.parts import Part, RegistryAuth

AVAILABILITIES = ("active", "pause", "drain")


class SwarmLook(Part, frozen=True):
    """`swarm.look` -> {"swarm": SwarmView}."""

    swarm_id: str = ""


class SwarmTasks(Part, frozen=True):
    """`swarm.tasks` -> {"tasks": [SwarmTask]}: of one service, newest first, those that have ended too. Error `not_found`."""

    service_id: str
    swarm_id: str = ""


class SwarmNode(Part, frozen=True):
    """One machine of the swarm. `tasks` counts what is to run there."""

    id: str
    hostname: str
    role: str
    availability: str
    state: str
    is_leader: bool = False
    address: str = ""
    message: str = ""
    engine_version: str = ""
    cpus: float = 0
    memory_bytes: int = 0
    tasks: int = 0


class SwarmPort(Part, frozen=True):
    """`mode` host: on each node that runs a task; ingress: on every node, through the swarm's own balancing."""

    container_port: int
    published_port: int
    protocol: str = "tcp"
    mode: str = "host"


class SwarmService(Part, frozen=True):
    """`ours`: it was made by this panel. Others are shown and never changed. Of the environment only names are told."""

    id: str
    name: str
    image: str
    mode: str
    wanted: int
    running: int
    ours: bool
    update_state: str = ""
    update_message: str = ""
    ports: list[SwarmPort] = []
    command: list[str] = []
    env_names: list[str] = []
    cpus: float = 0
    memory_bytes: int = 0
    operation_id: str = ""
    created_at: str = ""
    updated_at: str = ""


class SwarmView(Part, frozen=True):
    """`node_id` is the engine that answers."""

    swarm_id: str
    node_id: str
    nodes: list[SwarmNode] = []
    services: list[SwarmService] = []


class SwarmTask(Part, frozen=True):
    """One attempt to run one replica. `slot` 0: of a service that runs once on each node."""

    id: str
    slot: int
    node_id: str
    node: str
    state: str
    desired: str
    image: str = ""
    error: str = ""
    exit_code: int | None = None
    since: str = ""


class SwarmCreate(Part, frozen=True):
    """`node.swarm_create`. One that this command has made before is found again. Data: {"service_id"}. Error `name_taken`.

    `mode`: replicated, or global (one task on each node that takes tasks, `replicas` says nothing). Global, and what `SwarmUpdate` marks,
    only to agents with the capability `swarm_change`: older ones would leave it out and say that all is well.
    """

    swarm_id: str
    name: str
    image: str
    mode: str = "replicated"
    replicas: int = 1
    command: list[str] = []
    env: dict[str, str] = {}
    cpus: float = 0
    memory_bytes: int = 0
    ports: list[SwarmPort] = []
    registry_auth: RegistryAuth | None = None


class SwarmUpdate(Part, frozen=True):
    """`node.swarm_update`: what is None stays. Data: {"service_id"}. Errors `not_found`, `foreign`, `invalid_spec`.

    Capability `swarm_change`: `env` sets variables, and takes those off whose value is None; all others stay (their values are
    known to the swarm alone). `ports` are all there will be.
    """

    swarm_id: str
    service_id: str
    replicas: int | None = None
    image: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    env: dict[str, str | None] | None = None
    ports: list[SwarmPort] | None = None
    registry_auth: RegistryAuth | None = None


class SwarmRemove(Part, frozen=True):
    """`node.swarm_remove`: the service and its tasks; gone already is success. Data: {"service_id"}. Error `foreign`."""

    swarm_id: str
    service_id: str


class SwarmAvailability(Part, frozen=True):
    """`node.swarm_availability`: active, pause (no new tasks) or drain (its tasks go elsewhere). Data: {"availability"}. Error `not_found`."""

    swarm_id: str
    node_id: str
    availability: str


SWARM_RPCS: dict[str, type[Part]] = {"swarm.look": SwarmLook, "swarm.tasks": SwarmTasks}
SWARM_COMMANDS: dict[str, type[Part]] = {
    "node.swarm_create": SwarmCreate,
    "node.swarm_update": SwarmUpdate,
    "node.swarm_remove": SwarmRemove,
    "node.swarm_availability": SwarmAvailability,
}
