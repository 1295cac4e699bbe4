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
    """With this tag, however it is written: strangers' eggs say `Minecraft` and `minecraft`. It is the quoted word in the list's text, as the
    database stores that; SQLite knows only ASCII's capitals."""
    return eggs.filter(tags__icontains=json.dumps(tag, ensure_ascii=connection.vendor != "postgresql"))


def shelves(eggs: QuerySet[Egg]) -> dict[str, Any]:
    """Categories and the most used tags, each with how many eggs it has; two light columns of all rows. Tags that differ in case are one, spelt as
    most eggs spell it."""
    categories, tags = Counter[str](), Counter[str]()
    spellings: dict[str, Counter[str]] = {}
    for category, words in eggs.order_by().values_list("category", "tags"):
        if category:
            categories[category] += 1
        written = {word for word in words if isinstance(word, str)} if isinstance(words, list) else set()
        tags.update({word.casefold() for word in written})
        for word in written:
            spellings.setdefault(word.casefold(), Counter())[word] += 1
    listed = [(min(spellings[word].items(), key=lambda one: (-one[1], one[0]))[0], count) for word, count in tags.most_common(MAX_TAGS)]
    return {"categories": sorted(categories.items(), key=lambda one: one[0].lower()), "tags": listed}
