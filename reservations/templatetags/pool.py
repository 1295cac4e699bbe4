"""What the pool's templates use: moments in the person's zone, lengths, ends to come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from lormas.common import clock
from lormas.templatetags.console import span_word

register = template.Library()


@register.simple_tag
def until_or_over(value: datetime | None) -> SafeString | str:
    """`in 3h 2m`, or `over` where that time has come."""
    if value is None:
        return "–"
    left = (value - clock.now()).total_seconds()
    word = _("in %(span)s") % {"span": span_word(left)} if left > 0 else _("over")
    return format_html('<time datetime="{}" title="{}">{}</time>', clock.rfc3339(value), clock.rfc3339(value), word)


@register.simple_tag(takes_context=True)
def moment(context: dict[str, Any], value: datetime | None) -> SafeString | str:
    """A day and a time of day in the person's zone, the exact moment on hover: `Thu 26 Nov 14:00`."""
    if value is None:
        return "–"
    return format_html('<time datetime="{}" title="{}">{}</time>', clock.rfc3339(value), clock.rfc3339(value), moment_text(value, _zone(context)))


def _zone(context: dict[str, Any]) -> str:
    return str(getattr(context.get("user"), "time_zone", "") or "UTC")


@register.simple_tag
def moment_text(value: datetime, zone: str) -> str:
    """`Thu 26 Nov 14:00`, in a zone; one that is not known is UTC."""
    try:
        local = value.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        local = value.astimezone(UTC)
    return f"{local:%a} {local.day} {local:%b %H:%M}"


@register.filter
def plain(value: datetime, form: str) -> str:
    """A local moment by a strftime form, without turning it into another zone."""
    return value.strftime(form)


@register.filter
def rfc(value: datetime) -> str:
    return str(clock.rfc3339(value))


@register.filter
def span(seconds: Any) -> str:
    """`2h 0m` of seconds."""
    return span_word(float(seconds))


@register.filter
def minutes_word(minutes: Any) -> str:
    """`15 min`, `4 h`, `7 d` of whole minutes."""
    whole = int(minutes)
    for size, unit in ((1440, "d"), (60, "h")):
        if whole and whole % size == 0:
            return f"{whole // size}\u202f{unit}"
    return f"{whole}\u202fmin"
