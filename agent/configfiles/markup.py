"""Parser `xml`: a dotted path of elements from the root. Entities are never resolved, nothing is fetched (SECURITY C09).

A step is a name, `*` for all children, `name[2]` for the second of that name, `name[@attr='v']` for those with an attribute. Missing elements
are made. The value `[attr='v']` sets an attribute, any other is the element's text.
"""

from __future__ import annotations

import re
from typing import Any

from agent.configfiles.values import UNCHANGED, ConfigProblem, text_of, wanted

_STEP = re.compile(r"(\*|[A-Za-z_][\w-]*)(?:\[(?:(\d{1,5})|@([A-Za-z_][\w-]*)=(?:'([^']*)'|\"([^\"]*)\"))\])?\Z")
_ATTRIBUTE = re.compile(r"\[([A-Za-z_][\w:-]*)='(.*)'\]\Z", re.DOTALL)
_DIVIDE = re.compile(r"\.(?![^\[]*\])")
_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<\?(?:[^?]|\?(?!>))*\?>|<!--(?:[^-]|-(?!->))*-->|<!DOCTYPE[^\[>]*>)*(?=<[A-Za-z_])")
DEEPEST = 64


def apply(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_blank_text=False, strip_cdata=False)
    root: Any = None
    if data.strip():
        try:
            root = etree.fromstring(data, parser)
        except (etree.XMLSyntaxError, ValueError) as error:
            raise ConfigProblem(f"it is not XML: {error}") from None
        if root.getroottree().docinfo.internalDTD is not None and root.getroottree().docinfo.internalDTD.entities():
            raise ConfigProblem("it declares entities of its own")
    for path, find in finds:
        steps = _DIVIDE.split(path)
        if len(steps) > DEEPEST:
            raise ConfigProblem(f"the path {path[:60]!r} is too deep")
        matches = [_STEP.match(step) for step in steps]
        if not all(matches):
            raise ConfigProblem(f"the path {path[:60]!r} can't be read")
        try:
            root = _change(root, [match for match in matches if match], find)
        except ValueError:
            raise ConfigProblem(f"the value for {path[:60]!r} has characters that XML does not know") from None
    return data if root is None else _written(root, data)


def _written(root: Any, data: bytes) -> bytes:
    """What stands before the root (declaration, comments, doctype) comes from the file as it is: the library would lose its line ends."""
    from lxml import etree

    tree = root.getroottree()
    encoding = tree.docinfo.encoding or "UTF-8"
    if not data.strip():
        made: bytes = etree.tostring(tree, encoding="UTF-8", xml_declaration=True, pretty_print=True)
        return made
    before = _PROLOG.match(data)
    if before is None or encoding.upper().startswith(("UTF-16", "UTF-32", "UCS")):
        made = etree.tostring(tree, encoding=encoding, xml_declaration=True)
    else:
        after = [b"\n" + etree.tostring(node, encoding=encoding) for node in root.itersiblings()]
        body = etree.tostring(root, encoding=encoding, xml_declaration=False, with_tail=False)
        made = b"".join([before[0].replace(b"\r\n", b"\n"), body, *after])
    if data.endswith(b"\n") and not made.endswith(b"\n"):
        made += b"\n"
    return made.replace(b"&#13;\n", b"\n").replace(b"\n", b"\r\n") if b"\r\n" in data else made


def _change(root: Any, steps: list[re.Match[str]], find: Any) -> Any:
    from lxml import etree

    first = steps[0]
    if root is None:
        if isinstance(find, dict) or first[1] == "*":
            return None
        root = etree.Element(first[1])
    elif first[1] not in ("*", etree.QName(root).localname):
        raise ConfigProblem(f"its root is {etree.QName(root).localname!r}, not {first[1]!r}")
    nodes = [root]
    for step in steps[1:]:
        nodes = [below for node in nodes for below in _below(node, step, may_grow=not isinstance(find, dict))]
    for node in nodes:
        _set(node, find)
    return root


def _below(node: Any, step: re.Match[str], *, may_grow: bool) -> list[Any]:
    from lxml import etree

    name, number, attribute = step[1], step[2], step[3]
    value = step[4] if step[4] is not None else step[5]
    children = list(node.iterchildren(tag=etree.Element if name == "*" else f"{{*}}{name}"))  # the library looks, 50 times faster than we
    if attribute:
        children = [child for child in children if child.get(attribute) == value]
    if number:
        children = children[int(number) - 1 : int(number)] if int(number) else []
    if children or name == "*" or not may_grow:
        return children
    namespace = etree.QName(node).namespace
    made = etree.SubElement(node, f"{{{namespace}}}{name}" if namespace else name)
    if attribute:
        made.set(attribute, value or "")
    if made.getprevious() is not None:
        made.tail, made.getprevious().tail = made.getprevious().tail, node.text  # indented as its neighbours are
    return [made]


def _set(node: Any, find: Any) -> None:
    attribute = _ATTRIBUTE.match(find) if isinstance(find, str) else None
    if attribute:
        node.set(attribute[1], attribute[2])
        return
    new = wanted(find, node.text or "")
    if new is UNCHANGED or text_of(new) == (node.text or ""):
        return
    if len(node):
        raise ConfigProblem(f"{node.tag} holds other elements, not a text")
    node.text = text_of(new)
