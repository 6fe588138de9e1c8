"""Read the HTTP routes that a JavaScript or TypeScript file declares, with tree-sitter's grammar.

Express, Fastify and Hono declare routes by calls, Nest by decorators, Next.js by the file's place and its exports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

UNKNOWN = "${…}"  # what stands before a path where the source has an expression: PREFIX + '/x'
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_VERBS = _METHODS | {"ALL"}
_DECORATORS = {verb.title(): verb for verb in _VERBS}

# Callers of routes, not declarers: axios.post('/x', body).
_CLIENTS = ("axios", "http", "https", "client", "httpservice", "fetch", "got", "ky", "superagent", "nock")
_MAX_RECEIVER_LINKS = 8
_LITERALS = ("string", "template_string")
_PLAIN_VALUES = (*_LITERALS, "number", "true", "false", "null", "undefined")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One declared route; the path begins with `UNKNOWN` where an expression stands before it."""

    method: str
    path: str
    line: int


def declared_routes(text: str, file: PurePosixPath) -> tuple[list[Declared], bool]:
    """Return the routes that a source text declares, and whether the grammar understood all of it.

    `file` is the text's path in its tree: its suffix chooses the grammar, its folders are a route of Next.js.
    """
    typed = file.suffix in (".ts", ".mts", ".cts")
    grammar = tree_sitter_typescript.language_typescript if typed else tree_sitter_typescript.language_tsx
    root = Parser(Language(grammar())).parse(text.encode()).root_node
    nodes: dict[str, list[Node]] = defaultdict(list)
    for node in _inner_first(root):
        nodes[node.type].append(node)
    awaited = {call for node in nodes["await_expression"] for call in node.named_children}
    called = _called([call for call in nodes["call_expression"] if call not in awaited])
    decorated = _decorated([*nodes["class_declaration"], *nodes["export_statement"]])
    exported = _exported([*nodes["export_statement"], *nodes["export_specifier"]], file)
    return [*called, *decorated, *exported], not root.has_error


def _inner_first(root: Node) -> Iterator[Node]:
    """Yield all nodes of a tree, in a time that is linear however deep they nest: tree-sitter's queries are not."""
    cursor = root.walk()
    while True:
        if cursor.goto_first_child():
            continue
        while True:
            if node := cursor.node:
                yield node
            if cursor.goto_next_sibling():
                break
            if not cursor.goto_parent():
                return


def _declared(method: str, path: str, node: Node) -> Declared:
    return Declared(method=method.upper(), path=path, line=node.start_point.row + 1)


def _called(calls: Sequence[Node]) -> Iterator[Declared]:
    """Yield `app.get('/x', handler)`, `app.route({ method, url })` and `app.route('/x').get(handler)`."""
    chains: dict[Node | None, str] = {}  # `.route('/x')` and the calls behind it
    for call in calls:
        function, arguments = _field(call, "function"), _items(_field(call, "arguments"))
        receiver, name = _field(function, "object"), _field(function, "property") or function
        verb = _text(name).upper()
        if verb in ("ROUTE", "CREATEROUTE"):
            yield from (
                route for argument in arguments for item in _each(argument) for route in _options(item)
            )
            if len(arguments) == 1 and (paths := _paths(arguments[0])):
                chains[call] = paths[0]
        elif receiver in chains and verb in _VERBS:
            chains[call] = chains[receiver]
            yield _declared(verb, chains[call], name or call)
        elif len(arguments) > 1 and receiver and not _is_client(receiver) and _handles(arguments[-1]):
            yield from _direct(verb, arguments, name or call)


def _direct(verb: str, arguments: list[Node], name: Node) -> Iterator[Declared]:
    """Yield `app.get('/x', handler)`, and Hono's `app.on('GET', '/x', handler)`."""
    if verb in _VERBS:
        yield from (_declared(verb, path, name) for path in _paths(arguments[0]))
    elif verb == "ON" and len(arguments) > 2:
        for method, path in product(_paths(arguments[0]), _paths(arguments[1])):
            yield _declared(method, path, name)


def _options(node: Node) -> Iterator[Declared]:
    """Yield the routes of `{ method: ['GET', 'POST'], url: '/x' }`."""
    values = _values(node)
    for method, path in product(_paths(values.get("method")), _paths(values.get("url", values.get("path")))):
        yield _declared("ALL" if method == "*" else method, path, node)


def _decorated(classes: Sequence[Node]) -> Iterator[Declared]:
    """Yield Nest's `@Get('x')` in a class below `@Controller('y')`; an exported one's is at its `export`."""
    for node in classes:
        body = _field(_field(node, "declaration") or node, "body")
        for above in _decorators(node, {"Controller"}):
            for decorator in _decorators(body, _DECORATORS.keys()):
                for prefix, path in product(_decorator_paths(above), _decorator_paths(decorator)):
                    whole = f"{prefix.rstrip('/')}/{path.lstrip('/')}"
                    yield _declared(_DECORATORS[_decorator_name(decorator)], whole, decorator)


def _decorators(node: Node | None, names: Set[str]) -> list[Node]:
    found = node.children_by_field_name("decorator") if node else []
    return [decorator for decorator in found if _decorator_name(decorator) in names]


def _decorator_name(decorator: Node) -> str:
    return _text(_field(decorator.named_children[0], "function"))


def _decorator_paths(decorator: Node) -> list[str]:
    """Return the paths of `('x')`, `(['x', 'y'])`, `({ path: 'x' })` and `()`, which is the empty one."""
    given = _items(_field(decorator.named_children[0], "arguments"))
    if given and given[0].type == "object":
        given = [value for key, value in _values(given[0]).items() if key == "path"]
    return (_paths(given[0]) or [UNKNOWN]) if given else [""]


def _exported(exports: Sequence[Node], file: PurePosixPath) -> Iterator[Declared]:
    """Yield the routes of a file of Next.js: methods in `app/x/route.ts`, one handler in `pages/api/x.ts`."""
    path, methods = _next_path(file)
    for node in exports if path else ():
        declaration = _field(node, "declaration")
        variables = [
            _field(item, "name") for item in _items(declaration) if item.type == "variable_declarator"
        ]
        names = [_field(node, "alias") or _field(node, "name"), _field(declaration, "name"), *variables]
        words = [child.type for child in node.children if child.type == "default"]
        for name in (*map(_text, names), *words):
            if name in methods:
                yield _declared(methods[name], path or "", node)


def _next_path(file: PurePosixPath) -> tuple[str | None, dict[str, str]]:
    """Return the path that Next.js gives a file, and what exports of it are which method.

    `(group)` and `@slot` are not in the path, `[id]` is a parameter, and a private `_folder` is no route.
    `[...all]` isn't either: it does not tell which paths it answers.
    """
    parts = file.parent.parts
    if "app" in parts and file.stem == "route":
        folders, methods = parts[parts.index("app") + 1 :], {method: method for method in _METHODS}
    elif "pages" in parts and parts[parts.index("pages") + 1 :][:1] == ("api",):
        page = () if file.stem == "index" else (file.stem,)
        folders, methods = (*parts[parts.index("pages") + 1 :], *page), {"default": "ALL"}
    else:
        return None, {}
    if any(name.startswith(("_", "[...", "[[")) for name in folders):
        return None, {}
    named = [name for name in folders if not name.startswith(("(", "@"))]
    return "/" + "/".join(f":{name[1:-1]}" if name[0] == "[" else name for name in named), methods


def _handles(argument: Node) -> bool:
    """Tell whether a call's last argument may answer requests: `api.get('/x', { headers })` has no handler."""
    if argument.type == "object":
        return "handler" in map(_key, _items(argument))
    return argument.type not in _PLAIN_VALUES


def _is_client(receiver: Node) -> bool:
    """Tell whether requests are sent with it: `this.http`, `axios.create()`, `nock('http://host')`."""
    node: Node | None = receiver
    for _ in range(_MAX_RECEIVER_LINKS):
        name = _field(node, "property") or node
        if name and name.child_count == 0 and _text(name).lower().endswith(_CLIENTS):
            return True
        node = _field(node, "object") or _field(node, "function")
    return False


def _field(node: Node | None, name: str) -> Node | None:
    return node.child_by_field_name(name) if node else None


def _items(node: Node | None) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"] if node else []


def _each(node: Node) -> list[Node]:
    return _items(node) if node.type == "array" else [node]


def _values(node: Node) -> dict[str, Node]:
    """Return the values of an object's pairs by their keys; of anything else none."""
    pairs = [member for member in _items(node) if member.type == "pair"] if node.type == "object" else []
    return {_key(pair): value for pair in pairs if (value := _field(pair, "value"))}


def _key(member: Node) -> str:
    """Return the name of an object's member: of `a: 1`, `'a': 1`, `a() {}` and `a` alike."""
    name = _field(member, "key") or _field(member, "name") or member
    return "" if name.type == "spread_element" else _text(name).strip("'\"")


def _paths(node: Node | None) -> list[str]:
    return [path for item in (_each(node) if node else ()) if (path := _path(item)) is not None]


def _path(node: Node) -> str | None:
    end = _field(node, "right") if node.type == "binary_expression" else node
    if end is None or end.type not in _LITERALS:
        return None
    return ("" if end is node else UNKNOWN) + _text(end)[1:-1]


def _text(node: Node | None) -> str:
    return (node.text or b"").decode() if node else ""
