from containers.models.container import Container
from containers.models.grants import ContainerRoleGrant, ContainerUserGrant
from containers.models.port import Port
from containers.models.rollout import Rollout, RolloutItem
from containers.models.sample import StatsMinute, StatsSample

__all__ = ["Container", "ContainerRoleGrant", "ContainerUserGrant", "Port", "Rollout", "RolloutItem", "StatsMinute", "StatsSample"]
