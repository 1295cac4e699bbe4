"""Pages of what lies on a node beside containers: images, volumes, networks; pulling and pruning."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from lormas.common import clock
from lormas.common.errors import NotFound, Problem
from lormas.common.pages import Toast, answer, person, signed_in
from nodes import stock
from nodes.access import get_node
from nodes.api.fleet_shapes import PullSerializer
from nodes.models import Node, Operation
from nodes.states import OPERATION_OPEN
from nodes.views import frame_of


def _kind(text: str) -> stock.Kind:
    if text not in stock.KINDS:
        raise NotFound(_("Only images, volumes and networks are shown."))
    return text


def _operation_toast(title: str, operation: Operation) -> Toast:
    return Toast(title, link=reverse("operations:detail", args=[operation.pk]), link_text=_("Show"))


def _shown(node: Node, kind: stock.Kind, *, search: str) -> dict[str, Any]:
    """Read from the node now; a node that does not answer is told in place."""
    try:
        items = stock.listing(node, kind)
    except Problem as problem:
        return {"items": [], "trouble": problem.detail, "read_at": clock.now()}
    found = [item for item in items if search.lower() in f"{item.get('name', '')} {' '.join(item.get('tags') or ())}".lower()]
    size = sum(int(item.get("size_bytes") or 0) for item in items)
    return {"items": found, "total": len(items), "size": size, "trouble": "", "read_at": clock.now()}


@require_GET
@signed_in
def stock_page(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id)
    kind = _kind(request.GET.get("kind", "images"))
    search = request.GET.get("search", "").strip()
    pulls = Operation.objects.filter(kind="node.image_pull", target_id=node.pk, status__in=OPERATION_OPEN)
    context = {
        **frame_of(user, node),
        **_shown(node, kind, search=search),
        "tab": "stock",
        "kind": kind,
        "kinds": stock.KINDS,
        "search": search,
        "pulls": pulls,
        "image": request.GET.get("image", ""),
    }
    return render(request, "nodes/stock.html", context)


def _back(node: Node, kind: str) -> str:
    return f"{reverse('nodes:stock', args=[node.pk])}?kind={kind}"


@require_POST
@signed_in
def pull(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    checked = PullSerializer(data={"image": request.POST.get("image", "").strip()})
    checked.is_valid(raise_exception=False)
    if checked.errors:
        return answer(
            request,
            Toast(_("That is no image name"), _("It looks like nginx:1.27 or registry.example.org/team/app:2."), tone="red"),
            to=_back(node, "images"),
        )
    operation = stock.pull(node, checked.validated_data["image"], user=user, actor=user.as_actor())
    return answer(request, _operation_toast(_("Pulling %(image)s") % {"image": checked.validated_data["image"]}, operation), to=_back(node, "images"))


@require_POST
@signed_in
def remove(request: HttpRequest, node_id: UUID) -> HttpResponse:
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    kind = _kind(request.POST.get("kind", ""))
    name = request.POST.get("name", "")[:512]
    stock.remove(node, kind, name, actor=user.as_actor())
    return answer(request, Toast(_("%(name)s is removed") % {"name": name}), to=_back(node, kind))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def prune(request: HttpRequest, node_id: UUID) -> HttpResponse:
    """What would go, with a box at each; then exactly those."""
    user = person(request)
    node = get_node(user, node_id, "nodes.edit")
    kind = _kind(request.POST.get("kind") or request.GET.get("kind", "images"))
    if request.method == "POST":
        operation = stock.prune(node, kind, request.POST.getlist("id"), user=user, actor=user.as_actor())
        return answer(request, _operation_toast(_("Removing what you chose"), operation), to=_back(node, kind))
    items = stock.prune_preview(node, kind)
    size = sum(int(item.get("size_bytes") or 0) for item in items)
    return render(request, "nodes/prune.html", {**frame_of(user, node), "kind": kind, "items": items[: stock.MOST_PRUNED], "size": size})
