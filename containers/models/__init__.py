from containers.models.backups import Backup, BackupDestination, BackupPolicy, BackupWork
from containers.models.container import Container
from containers.models.execs import ExecRecord, RecordingPolicy
from containers.models.grants import ContainerRoleGrant, ContainerUserGrant
from containers.models.idleness import Idleness
from containers.models.logbook import KeptLog, LogAlert, LogFilter
from containers.models.moving import LeftCopy, Migration
from containers.models.port import Port
from containers.models.revision import Revision
from containers.models.rollout import Rollout, RolloutItem
from containers.models.sample import StatsClaim, StatsMinute, StatsSample
from containers.models.schedules import Schedule, ScheduleRun
from containers.models.settings import ContainerSettings
from containers.models.tunnel import ContainerTunnel

__all__ = [
    "Backup",
    "BackupDestination",
    "BackupPolicy",
    "BackupWork",
    "Container",
    "ContainerRoleGrant",
    "ContainerSettings",
    "ContainerTunnel",
    "ContainerUserGrant",
    "ExecRecord",
    "Idleness",
    "KeptLog",
    "LeftCopy",
    "LogAlert",
    "LogFilter",
    "Migration",
    "Port",
    "RecordingPolicy",
    "Revision",
    "Rollout",
    "RolloutItem",
    "Schedule",
    "ScheduleRun",
    "StatsClaim",
    "StatsMinute",
    "StatsSample",
]
