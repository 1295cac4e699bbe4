"""Titles of jobs, marked for translation: `lormas.wiring`, where they are given, imports nothing. A test compares the two."""

from __future__ import annotations

from django.utils.translation import gettext_noop as _

TITLES: frozenset[str] = frozenset(
    {
        _("Restarts, stuck states, trash, old stats"),
        _("Schedules of containers that are due"),
        _("Containers that nobody uses: warn, then stop"),
        _("Backups: what lost its worker, what waits, archives that are to go"),
        _("Ask all agents for a full listing"),
        _("Look at the health of all nodes"),
        _("Report and remove containers that nobody knows"),
        _("Enforce NoExecute taints"),
        _("Begin and end maintenance windows"),
        _("Have agents rotate and tidy what they keep"),
        _("Forget old events, runs, commands and operations"),
        _("Logs of containers begin new files"),
        _("Logs of containers older than LOG_RETENTION_DAYS"),
        _("Patterns that people want to hear of"),
        _("The panel's own log begins a new file"),
        _("Encrypted columns move to the newest key"),
        _("Mail that is due"),
        _("Old letters and sessions"),
        _("Rights on objects that have ended"),
        _("Seals of journal rows that have none"),
        _("Journal rows older than AUDIT_RETENTION_DAYS"),
        _("Hours of usage older than USAGE_RETENTION_DAYS"),
        _("Reservations: ends, starts, cleaning, queue, checks"),
        _("Reservations: old rows"),
        _("Stored answers of repeated requests"),
    }
)
