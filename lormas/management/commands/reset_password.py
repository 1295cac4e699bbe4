"""`lormas admin reset-password [E-MAIL]`: for whoever can log in to the machine but not to the panel."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from accounts.models import User
from accounts.services import reset_password
from audit.services import SYSTEM


class Command(BaseCommand):
    help = "Gives an account a new random password, shown once, to be changed at the next sign-in; ends all its sessions and tokens."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="?", default="", help="e-mail address or username; unset: SUPERUSER_EMAIL")

    def handle(self, *args: Any, **options: Any) -> None:
        name = (options["email"] or settings.SUPERUSER_EMAIL).strip()
        user = User.objects.filter(Q(email__iexact=name) | Q(username__iexact=name)).order_by("created_at").first()
        if user is None:
            raise CommandError(f"there is no account {name}")
        password = reset_password(user, actor=SYSTEM, message="by command on the panel's machine")
        self.stdout.write(f"{user.email}  password: {password}  (shown this once, to be changed at the next sign-in)")
