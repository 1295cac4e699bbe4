"""Tables of the machine pool."""

from reservations.models.grants import MachineRoleGrant, MachineUserGrant
from reservations.models.limit import Limit
from reservations.models.machine import Machine
from reservations.models.reservation import Allocation, Reservation

__all__ = ["Allocation", "Limit", "Machine", "MachineRoleGrant", "MachineUserGrant", "Reservation"]
