from containers.models.container import Container
from containers.models.execs import ExecRecord, RecordingPolicy
from containers.models.grants import ContainerRoleGrant, ContainerUserGrant
from containers.models.port import Port
from containers.models.rollout import Rollout, RolloutItem
from containers.models.sample import StatsMinute, StatsSample

__all__ = [
    "Container",
    "ContainerRoleGrant",
    "ContainerUserGrant",
    "ExecRecord",
    "Port",
    "RecordingPolicy",
    "Rollout",
    "RolloutItem",
    "StatsMinute",
    "StatsSample",
]
