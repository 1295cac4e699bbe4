"""The Startup tab of a container made of an egg: its command, image and variables, and which version of the egg it is of."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts.access import has
from containers import services
from containers.access import get_container, rights
from containers.models import Container
from containers.services.create import bindings
from containers.services.wish import startup_of
from containers.validation import check_image
from containers.variables import as_told, shown_variables
from containers.views import frame
from eggs.controls import controls_of, posted_values
from eggs.definition import EggDefinition
from eggs.rendering import preview_line
from lormas.common.errors import FieldError, Invalid, NotFound, Problem
from lormas.common.pages import Toast, answer, person, signed_in


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def startup(request: HttpRequest, container_id: UUID) -> HttpResponse:
    user = person(request)
    container = get_container(user, container_id, "containers.edit" if request.method == "POST" else "containers.view")
    version = container.egg_version
    if version is None:
        raise NotFound(_("This container is made of an image: it has no startup page."))
    definition = EggDefinition.from_json(version.definition)
    manager, editable = has(user, "eggs.manage"), "containers.edit" in rights(user, container)
    values, problem = as_told({"variables": shown_variables(container, user)}, to_editor=editable)["variables"], None
    image, command = container.image, container.startup
    if request.method == "POST":
        settable = {control.name for control in controls_of(definition, {}, manager=manager) if control.editable}
        given = {name: value for name, value in posted_values(request.POST).items() if name in settable}
        image, command = request.POST.get("image", image).strip(), request.POST.get("startup", command)
        values = {**{name: value for name, value in values.items() if name in settable}, **given}
        try:
            changes = {"variables": values, "image": _checked(image), "startup": command}
            _container, needs_restart = services.update_container(container, user=user, actor=user.as_actor(), changes=changes)
        except Problem as refused:
            problem = refused
            container = get_container(user, container_id)
        else:
            toast = Toast(_("Saved"), _("It counts from the next start.") if needs_restart else "")
            return answer(request, toast, to=reverse("containers:startup", args=[container.pk]))
    wrong = {error.field.removeprefix("variables.").upper(): error.message for error in problem.errors} if problem else {}
    controls = [replace(control, error=wrong.get(control.name.upper(), "")) for control in controls_of(definition, values, manager=manager)]
    line, missing = _line(container, definition)
    context = {
        **frame(user, container, "startup"),
        "definition": definition,
        "version": version,
        "newer": container.egg.current if container.egg is not None and container.egg.current_id != version.pk else None,
        "controls": controls if editable else [replace(control, editable=False) for control in controls],
        "editable": editable,
        "chosen_image": image,
        "chosen_startup": command,
        "own_image": image not in [reference.removeprefix("~") for _label, reference in definition.docker_images],
        "images": [(reference.removeprefix("~"), label) for label, reference in definition.docker_images],
        "line": line,
        "missing": missing,
        "problem": problem,
        "wrong": wrong,
    }
    return render(request, "containers/startup.html", context, status=problem.status if problem else 200)


def _checked(image: str) -> str:
    try:
        return check_image(image)
    except ValueError as error:
        raise Invalid(_("Some values don't fit the egg."), errors=[FieldError("image", str(error), "invalid")]) from None


def _line(container: Container, definition: EggDefinition) -> tuple[str, str]:
    """(the startup line as people read it, why there is none)."""
    try:
        rendered, _wishes = startup_of(container, ports=bindings(container))
    except Problem as problem:
        return "", problem.detail
    env = dict(rendered.startup.env or {})
    text = dict(definition.startup_commands).get(container.startup, definition.default_startup)
    return preview_line(definition, text, env), ""
