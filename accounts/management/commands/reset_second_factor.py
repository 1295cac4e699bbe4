"""`manage.py reset_second_factor EMAIL`: for somebody who lost the device and the recovery codes."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from accounts import second_factor
from accounts.models import User
from audit.services import SYSTEM


class Command(BaseCommand):
    help = "Removes all second factors and recovery codes of an account. See first that it is its owner who asks."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("account", help="e-mail address or username")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["account"]
        user = User.objects.filter(Q(email__iexact=name) | Q(username__iexact=name)).first()
        if user is None:
            raise CommandError(f"There is no account {name}.")
        gone = second_factor.reset(user, actor=SYSTEM, message="from the command line")
        self.stdout.write(f"{gone} removed; {user.email} signs in with the password alone now.")
