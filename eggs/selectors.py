"""Reads for the library page."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Left

from eggs.models import Egg

MAX_TAGS = 24


def for_list(eggs: QuerySet[Egg]) -> QuerySet[Egg]:
    """All that a card needs, without what makes rows heavy: definitions, and pictures but for their beginning."""
    return eggs.defer("icon", "current__definition", "current__warnings").annotate(icon_head=Left("icon", 64))


def matching(eggs: QuerySet[Egg], text: str) -> QuerySet[Egg]:
    """By words: each must be in the name, the description, the author, the category or a tag."""
    for word in text.split()[:8]:
        found = Q(name__icontains=word) | Q(description__icontains=word) | Q(category__icontains=word) | Q(author__icontains=word)
        eggs = eggs.filter(found | Q(tags__icontains=word.replace('"', "")))
    return eggs


def tagged(eggs: QuerySet[Egg], tag: str) -> QuerySet[Egg]:
    """With exactly this tag. SQLite has no look-up inside of JSON lists: there it is the quoted word in the list's text, as it is stored."""
    if connection.vendor == "postgresql":
        return eggs.filter(tags__contains=[tag])
    return eggs.filter(tags__icontains=json.dumps(tag))


def shelves(eggs: QuerySet[Egg]) -> dict[str, Any]:
    """Categories and the most used tags, each with how many eggs it has; two light columns of all rows."""
    categories, tags = Counter[str](), Counter[str]()
    for category, words in eggs.order_by().values_list("category", "tags"):
        if category:
            categories[category] += 1
        tags.update({word for word in words if isinstance(word, str)} if isinstance(words, list) else ())
    return {"categories": sorted(categories.items(), key=lambda one: one[0].lower()), "tags": tags.most_common(MAX_TAGS)}
