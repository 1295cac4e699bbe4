"""Writes: one act, one function; HTML, API, sockets, tasks and commands all call these."""

from containers.services.create import NewContainer, PortWish, create_container
from containers.services.edit import update_container
from containers.services.install import reinstall
from containers.services.power import act
from containers.services.remove import delete_container, purge_container, restore_container
from containers.services.rollout import preview_rollout, revert, roll_out

__all__ = [
    "NewContainer",
    "PortWish",
    "act",
    "create_container",
    "delete_container",
    "preview_rollout",
    "purge_container",
    "reinstall",
    "restore_container",
    "revert",
    "roll_out",
    "update_container",
]
